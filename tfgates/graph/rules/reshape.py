"""Layers that move places around: flatten, reshape, permute, crop, pad, up-sample, repeat."""

import math
from typing import Any

import keras
import numpy as np

from tfgates.gates import Gate
from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.moving import EntriesRule
from tfgates.graph.spread import follow
from tfgates.graph.walk import Walk

layers = keras.layers


def trace(shape: tuple[int, ...], axis: int, new_shape: tuple[int, ...]) -> tuple[int, np.ndarray] | None:
    """Which channel each position of a reshaped tensor holds.

    Args:
        shape, new_shape: shapes without the batch axis.
        axis: int, the channels' axis in `shape`.

    Returns:
        Pair of the axis of `new_shape` that tells the channels apart and the channel of each
        position along it; None if no single axis does.
    """
    index = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    index = np.broadcast_to(index, shape).reshape(new_shape)
    axes = list(range(len(new_shape)))
    if shape[axis] == 1:
        # One channel would be told by each of them, places too.
        axes = sorted(axes, key=lambda i: (new_shape[i] != 1, -i))
    for new_axis in axes:
        first = index[tuple(slice(None) if i == new_axis else slice(0, 1) for i in range(len(new_shape)))]
        if np.array_equal(np.broadcast_to(first, new_shape), index):
            return new_axis, first.reshape(-1)
    return None


def heads_axis(shape: tuple[int, ...], axis: int, new_shape: tuple[int, ...]) -> int | None:
    """The axis of `new_shape` on which stretches of channels are when one axis is split in two: the first of the two.

    Args:
        shape, new_shape: shapes without the batch axis.
        axis: int, the channels' axis in `shape`.

    Returns:
        The axis; None if it is not split, with the others as they were.
    """
    before, behind = shape[:axis], shape[axis + 1 :]
    kept = new_shape[:axis] == before and new_shape[axis + 2 :] == behind
    return axis if kept and math.prod(new_shape[axis : axis + 2]) == shape[axis] else None


def known_alike(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Shapes with some size in place of the one that both leave open; as they are where it is not at one place."""
    if old.count(None) != 1 or new.count(None) != 1 or old.index(None) != new.index(None):
        return old, new
    place = old.index(None)
    if old[:place] != new[:place]:
        return old, new
    return (*old[:place], 7, *old[place + 1 :]), (*new[:place], 7, *new[place + 1 :])


@register_rule(layers.Reshape, "Reshape")
class ReshapeRule(EntriesRule):
    """Positions are traced through; where one channel becomes several positions (flattening behind a
    convolution), each of them can go by itself, and the channel when all of them do."""

    reason = "it splits the channels over several axes, or its shape is not known"
    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        if walk.is_spread(node) and walk.inputs(node)[0] is None:
            if follow(walk, node):
                return
            walk.settle(node.inputs)
        x = walk.inputs(node)[0]
        old, new = walk.shape(node.inputs[0])[1:], walk.shape(node.outputs[0])[1:]
        if x is None:
            walk.set(node, None)
            return
        if self.keeps_last(walk, node, x):
            walk.notes(node).keeps_last = True
            return walk.set(node, walk.like(x, axis=len(new)))
        old, new = known_alike(old, new)
        if None in old or None in new or getattr(node.op, "data_format", None) == "channels_first":
            return self.refuse(walk, node)
        if math.prod(old) != math.prod(new):
            return self.refuse(walk, node, f"{node.name}: it folds other axes into that of the batch, or splits it")
        traced = trace(old, x.axis - 1, new)
        if traced is None:
            place = heads_axis(old, x.axis - 1, new)
            if place is None or not into_products(walk.network, node):
                return self.refuse(walk, node)
            if heads_folded(walk.network, node, place + 1):
                return self.into_width(walk, node, x, place + 2, new[place])
            return self.into_heads(walk, node, x, place + 1, new[place])
        axis, channel = traced
        walk.notes(node).channel = channel
        y = walk.like(x, axis=axis + 1)
        if len(channel) > len(x):
            y = walk.fresh(axis + 1, len(channel), x.live[channel], x.value[channel])
            walk.imply(y.group, x.group[channel])
        walk.set(node, y)

    def into_heads(self, walk: Walk, node: Node, x: Channels, axis: int, count: int) -> None:
        """Stretches of channels become the positions of an axis, the heads of attention: each goes as a whole."""
        rows = x.group.reshape(count, -1)
        walk.groups.tie(np.repeat(rows[:, 0], rows.shape[1]), x.group)
        live = [walk.formulas.some([*np.unique(row)]) for row in x.live.reshape(count, -1)]
        values = x.value.reshape(count, -1)
        same = (values == values[:, :1]).all(axis=1)
        y = walk.fresh(axis, count, np.array(live, np.int64), np.where(same, values[:, 0], np.nan))
        y.group = rows[:, 0]
        walk.notes(node).width = rows.shape[1]
        walk.set(node, y)

    def keeps_last(self, walk: Walk, node: Node, x: Channels) -> bool:
        """Whether channels on the last axis stay there while the others are joined with the batch, or split from it."""
        old, new = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
        if x.axis != len(old) - 1 or len(new) < 2 or old[-1] is None or old[-1] != new[-1]:
            return False
        asked: Any = getattr(node.op, "newshape", None)
        given = isinstance(asked, (tuple, list)) and all(isinstance(size, int) for size in asked)
        # A layer keeps the batch; it can have asked for the last size, or for all that is left.
        if node.layer is None and not (given and asked[-1] == new[-1]):
            return False
        sizes = known_alike(old[1:], new[1:])
        return any(None in each for each in sizes) or math.prod(sizes[0]) != math.prod(sizes[1])

    def into_width(self, walk: Walk, node: Node, x: Channels, axis: int, heads: int) -> None:
        """Channels at one position of the width, of all heads, go together, where heads are folded into the batch."""
        rows = x.group.reshape(heads, -1)
        walk.groups.tie(np.tile(rows[0], heads), x.group)
        live = [walk.formulas.some([*np.unique(column)]) for column in x.live.reshape(heads, -1).T]
        values = x.value.reshape(heads, -1)
        same = (values == values[:1]).all(axis=0)
        y = walk.fresh(axis, rows.shape[1], np.array(live, np.int64), np.where(same, values[0], np.nan))
        y.group = rows[0]
        walk.notes(node).across = heads
        walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if node.index in walk.refused or x is None or node.outputs[0] in walk.spread:
            return super().backward(walk, node)
        if walk.notes(node).keeps_last:
            return walk.need(x, y.need)
        if walk.notes(node).across:
            return walk.need(x, np.tile(y.need, walk.notes(node).across))
        if walk.notes(node).width:
            return walk.need(x, np.repeat(y.need, walk.notes(node).width))
        channel = walk.notes(node).channel
        order = np.argsort(channel, kind="stable").reshape(len(x), -1)
        # Most places need the same of all channels.
        for need in np.unique(y.need[order].T, axis=0):
            walk.need(x, need)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk = surgery.walk
        x, y = walk.inputs(node)[0], walk.output(node)
        if y is None or node.outputs[0] in walk.spread:
            return super().emit(surgery, node, args, kwargs)
        if walk.notes(node).keeps_last:
            left = int(surgery.keep(y.group).sum())
            if node.layer is not None:
                sizes = [-1 if size is None else size for size in walk.shape(node.outputs[0])[1:-1]]
                return self.reshaped(surgery, node, [*sizes, left])(args[0])
            return keras.ops.reshape(args[0], (*node.op.newshape[:-1], left))
        shape = [-1 if size is None else size for size in walk.shape(node.outputs[0])[1:]]
        if walk.notes(node).width or walk.notes(node).across:
            shape[y.axis - 1] = int(surgery.keep(y.group).sum())
            return self.reshaped(surgery, node, shape)(args[0])
        channel = walk.notes(node).channel
        # What is left when whole channels are gone; single positions are picked out of it.
        whole = surgery.keep(x.group)[channel]
        keep = surgery.keep(y.group)
        shape[y.axis - 1] = int(whole.sum())
        return surgery.pick(self.reshaped(surgery, node, shape)(args[0]), keep[whole], y.axis)

    def reshaped(self, surgery: Any, node: Node, shape: list[int]) -> Any:
        """The layer that makes `shape` of what is left."""
        return surgery.reshaped(node, shape)


def into_products(network: Network, node: Node) -> bool:
    """Whether what a call makes is multiplied with other tensors, as heads are: matrices, einsums, attention."""
    seen, stack = set[int](), [node]
    while stack:
        for reader in network.consumers[stack.pop().outputs[0]]:
            if type(reader.op).__name__ in ("Matmul", "Einsum", "DotProductAttention"):
                return True
            # Numbers are moved, scaled or rotated before, and gates may be on them.
            passes = isinstance(reader.op, Gate) or not getattr(reader.op, "weights", ())
            if reader.index not in seen and passes and len(seen) < 50:
                seen.add(reader.index)
                stack.append(reader)
    return False


def heads_folded(network: Network, node: Node, axis: int) -> bool:
    """Whether an axis of what a call makes is joined with the batch once it has been brought behind it."""
    while True:
        readers = network.consumers[node.outputs[0]]
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            return False
        node = readers[0]
        before, behind = (network.shapes[each] for each in (node.inputs[0], node.outputs[0]))
        if isinstance(node.op, Gate):
            continue
        if type(node.op).__name__ == "Transpose" and node.op.axes:
            axis = [each % len(before) for each in node.op.axes].index(axis)
        elif type(node.op).__name__ == "Reshape":
            return axis == 1 and len(behind) == len(before) - 1 and behind[1:] == before[2:]
        else:
            return False


@register_rule(layers.Flatten)
class FlattenRule(ReshapeRule):
    def reshaped(self, surgery: Any, node: Node, shape: list[int]) -> Any:
        return surgery.copy(node)


@register_rule(layers.Permute)
class PermuteRule(EntriesRule, ElementwiseRule):
    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        x, y = walk.inputs(node)[0], walk.output(node)
        if y is not None:
            y.axis = node.op.dims.index(x.axis) + 1


class PlacesRule(ElementwiseRule):
    """Moves places along other axes than the channels'."""

    reason = "it runs along the axis that carries the channels"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        before, after = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
        rank = len(before)
        channels = 1 if getattr(node.op, "data_format", None) == "channels_first" else rank - 1
        return len(after) == rank and x.axis == channels


@register_rule(
    layers.Cropping1D, layers.Cropping2D, layers.Cropping3D,
    layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D,
)  # fmt: skip
class CopyingRule(PlacesRule):
    """Leaves out or repeats places: a constant stays what it is."""


@register_rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
class ZeroPaddingRule(PlacesRule):
    """A constant other than 0 differs from the zeros at the border: no constant any more."""

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return np.where(x.value == 0.0, 0.0, np.nan)


@register_rule(layers.RepeatVector)
class RepeatVectorRule(ElementwiseRule):
    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        y = walk.output(node)
        if y is not None:
            y.axis = 2
