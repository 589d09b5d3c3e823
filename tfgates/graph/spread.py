"""Channels that lie along several axes of a tensor at once: between reshapes that split them up and join them.

Channel shuffles, pixel shuffles, and the maps that a dense layer makes do so. What is done in between moves entries
and nothing else, so that it is followed entry by entry, until something else reads the result: there its channels are
told again, and units are what falls together.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph.channels import Channels
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import rule_of

if TYPE_CHECKING:
    from tfgates.graph.walk import Walk


@dataclasses.dataclass
class Spread:
    """Where the entries of a tensor come from, the batch left out.

    Attributes:
        source: the number of the tensor whose channels are spread.
        channel: int array of the tensor's shape, the channel of each entry.
        place: the same for the place in the source, its other axes counted through.
        before: what is known of the tensor that this one was made of, None for the source itself.
    """

    source: int
    channel: np.ndarray
    place: np.ndarray
    before: "Spread | None" = None


@dataclasses.dataclass
class Joined:
    """The channels of a tensor that is spread, told along one axis.

    Attributes:
        axis: the axis, the batch being 0.
        position: for each channel of the source the position that it is at, of several of which one is made;
            None where one channel is at each position.
        channel: for each position the channel at it; None where there are several.
        only_order: whether nothing is changed but the order of the channels.
    """

    axis: int
    position: np.ndarray | None
    channel: np.ndarray | None
    only_order: bool = False


def as_function(node: Node) -> Callable[..., Any]:
    """The call as a function from one array to a list of arrays."""

    def call(array: np.ndarray) -> list[np.ndarray]:
        tensor = keras.ops.convert_to_tensor(array)
        args, kwargs = tree.map_structure(lambda v: tensor if isinstance(v, Ref) else v, (node.args, node.kwargs))
        return [np.asarray(keras.ops.convert_to_numpy(y)) for y in tree.flatten(node.op(*args, **kwargs))]

    return call


def of_source(tensor: int, shape: tuple[Any, ...], axis: int) -> Spread:
    """A tensor whose channels are along one axis, its batch left out."""
    channel = np.arange(shape[axis - 1]).reshape([-1 if i == axis - 1 else 1 for i in range(len(shape))])
    others = math.prod(shape) // max(shape[axis - 1], 1)
    place = np.arange(others).reshape([1 if i == axis - 1 else size for i, size in enumerate(shape)])
    return Spread(tensor, np.broadcast_to(channel, shape), np.broadcast_to(place, shape))


def spread_over(walk: "Walk", node: Node) -> Spread | None:
    """What is known of the output of a call that moves entries; None where it does more, or that is not known."""
    tensor, old = node.inputs[0], walk.shape(node.inputs[0])
    before, x = walk.spread.get(tensor), walk.channels[tensor]
    if None in old[1:] or None in walk.shape(node.outputs[0])[1:] or len(node.outputs) > 1:
        return None
    if before is None:
        if x is None:
            return None
        before = of_source(tensor, old[1:], x.axis)
    examples, entries = old[0] or 2, math.prod(old[1:])
    numbers = np.arange(examples * entries, dtype="int32").reshape(examples, *old[1:])
    try:
        (found,) = as_function(node)(numbers)
    except Exception:
        # Operators complain in many ways of sizes that they cannot take.
        return None
    by_example = found.shape[0] == examples and found[0].size == entries
    if not by_example or not np.array_equal(
        found, found[:1] + numbers.reshape(examples, -1)[:, :1].reshape(-1, *(1,) * (found.ndim - 1))
    ):
        return None
    channel, place = (each.reshape(-1)[found[0]] for each in (before.channel, before.place))
    return Spread(before.source, channel, place, before)


def follow(walk: "Walk", node: Node) -> bool:
    """Notes how the channels are spread in what a call makes; False where that is not known."""
    found = spread_over(walk, node)
    if found is None:
        return False
    walk.set(node, None)
    walk.spread[node.outputs[0]] = found
    return True


def settle(walk: "Walk", tensor: int) -> None:
    """Tells the channels of a tensor that is spread, for what reads it."""
    spread = walk.spread[tensor]
    node: Any = walk.network.producer[tensor]
    if walk.channels[tensor] is not None or node.index in walk.refused:
        return
    x = walk.channels[spread.source]
    joined, before = joined_along(spread), node.inputs[0]
    if joined is None and before in walk.spread:
        # In two steps: told before the call, they may be followed through it.
        settle(walk, before)
        if walk.channels[before] is not None:
            del walk.spread[tensor]
            rule_of(node).forward(walk, node)
            walk.settle([tensor])
            return
    if joined is None:
        reason = f"{node.name}: its channels lie along several axes, none of which tells them apart"
        walk.groups.lock(x.group, reason)
        walk.need(x, TRUE)
        walk.refused[node.index] = reason
        return
    walk.notes(node).joined = joined
    walk.channels[tensor] = told(walk, x, joined, spread.channel.shape[joined.axis - 1])
    walk.imagine(node)


def told(walk: "Walk", x: Channels, joined: Joined, size: int) -> Channels:
    """What is known of the channels of a tensor that they are joined in."""
    if joined.channel is not None:
        channel = joined.channel
        y = walk.fresh(joined.axis, size, x.live[channel], x.value[channel])
        if len(np.unique(channel)) == size:
            y.group = x.group[channel]
        else:
            walk.imply(y.group, x.group[channel])
        return y
    live: np.ndarray = np.zeros(size, np.int64)
    value: np.ndarray = np.full(size, np.nan)
    for position in range(size):
        parts = joined.position == position
        values = x.value[parts]
        # Some constants, of which no number is known, may be several.
        alike = np.all(values == values[0]) and (len(values) == 1 or np.isfinite(values[0]))
        live[position] = walk.formulas.some(x.live[parts].tolist())
        value[position] = values[0] if alike else np.nan
    y = walk.fresh(joined.axis, size, live, value)
    walk.groups.tie(x.group, y.group[joined.position])
    return y


def joined_along(spread: Spread) -> Joined | None:
    """The last axis that tells the channels apart; None where there is none, or fewer of them could not be made."""
    rank = spread.channel.ndim
    for axis in reversed(range(rank)):
        rows = np.moveaxis(spread.channel, axis, 0).reshape(spread.channel.shape[axis], -1)
        if np.all(rows == rows[:, :1]):
            channel = rows[:, 0]
            joined = Joined(axis + 1, None, channel, only_order=is_order(spread, axis, channel))
            if joined.only_order or is_aligned(spread, np.arange(channel.max() + 1)):
                return joined
            continue
        position = positions_of(rows)
        if position is not None and is_aligned(spread, position):
            return Joined(axis + 1, position, None)
    return None


def positions_of(rows: np.ndarray) -> np.ndarray | None:
    """For each channel the row that it is in, or None if one is in several."""
    position = np.full(rows.max() + 1, -1)
    for number, row in enumerate(rows):
        channels = np.unique(row)
        if np.any(position[channels] >= 0):
            return None
        position[channels] = number
    return position


def is_aligned(spread: Spread | None, unit: np.ndarray) -> bool:
    """Whether without the channels of a unit each tensor on the way is one with fewer positions along an axis."""
    while spread is not None:
        units = unit[spread.channel]
        rows = (np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1) for axis in range(units.ndim))
        if not any(np.all(each == each[:, :1]) for each in rows):
            return False
        spread = spread.before
    return True


def is_order(spread: Spread, axis: int, channel: np.ndarray) -> bool:
    """Whether a tensor is its source with its channels in another order."""
    first = spread
    while first.before is not None:
        first = first.before
    same = first.channel.shape == spread.channel.shape and np.array_equal(first.place, spread.place)
    return same and np.array_equal(np.take(first.channel, channel, axis=axis), spread.channel)


def demand(walk: "Walk", node: Node) -> None:
    """What of the source is needed for what a call makes."""
    joined, y = walk.notes(node).joined, walk.output(node)
    if joined is None or y is None:
        return
    x = walk.channels[walk.spread[node.outputs[0]].source]
    if joined.position is not None:
        walk.need(x, y.need[joined.position])
        return
    need: np.ndarray = np.zeros(len(x), np.int64)
    walk._mark(need, joined.channel, y.need)
    walk.need(x, need)


def emitted(surgery: Any, node: Node, tensor: Any) -> Any:
    """What a call makes of fewer channels."""
    walk = surgery.walk
    spread, joined = walk.spread[node.outputs[0]], walk.notes(node).joined
    left = surgery.keep(walk.channels[spread.source].group)
    if left.all():
        result = surgery.copy(node)(tensor)
    elif is_grid(spread, left):
        shape = sizes_left(left[spread.channel])
        reshapes = type(node.op).__name__ == "Reshape"
        result = surgery.reshaped(node, shape)(tensor) if reshapes else surgery.copy(node)(tensor)
    elif joined is None:
        # On the way to another order of the channels, which then is made at once.
        return tensor
    else:
        there = left[joined.channel]
        order = (np.cumsum(left) - 1)[joined.channel[there]]
        return ops.take(tensor, order.astype("int32"), axis=joined.axis)
    if joined is None or joined.channel is None:
        return result
    there = left[joined.channel]
    return surgery.pick(result, surgery.keep(walk.output(node).group)[there], joined.axis)


def sizes_left(kept: np.ndarray) -> list[int]:
    """How many positions along each axis have anything that is left."""
    axes = range(kept.ndim)
    return [int(kept.any(axis=tuple(other for other in axes if other != axis)).sum()) for axis in axes]


def is_grid(spread: Spread | None, left: np.ndarray) -> bool:
    """Whether what is left of a tensor, and of those that it is made of, is all that is left along each axis."""
    while spread is not None:
        kept = left[spread.channel]
        if kept.sum() != math.prod(sizes_left(kept)):
            return False
        spread = spread.before
    return True
