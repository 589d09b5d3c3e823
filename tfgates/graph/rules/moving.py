"""Operators that only move numbers: slices, splits, transposed and repeated axes, padding.

What they do to the channels is read off what they do to an array that holds the number of its channel in
each place, so that one rule serves them all.
"""

import dataclasses
from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.spread import as_function, demand, emitted, follow
from tfgates.graph.walk import Walk

# Far from what anybody pads with.
OFFSET = 1e5


@dataclasses.dataclass
class Moved:
    """Where the channels of a tensor are after an operator.

    Attributes:
        axis: the axis that tells them apart.
        channel: int array, the channel at each position of it; -1 for positions that are all padding.
        padded: boolean array: whether other numbers are among those of the position.
        filler: what these are.
    """

    axis: int
    channel: np.ndarray
    padded: np.ndarray
    filler: float


def read_off(result: np.ndarray, channels: int, preferred: int) -> Moved | None:
    """Finds the channels in what became of an array of their numbers; None if no single axis tells them apart."""
    number = result - OFFSET
    inside = (number >= 0) & (number < channels) & (number == np.round(number))
    fillers = np.unique(result[~inside])
    if len(fillers) > 1:
        return None
    axes = sorted(range(1, result.ndim), key=lambda axis: axis != preferred)
    # One channel at one place is taken to stand where it stood.
    if len(np.unique(number[inside])) < 2:
        axes = [axis for axis in axes if result.shape[axis] == 1]
    for axis in axes:
        others = tuple(i for i in range(result.ndim) if i != axis)
        lowest = np.where(inside, number, np.inf).min(axis=others)
        highest = np.where(inside, number, -np.inf).max(axis=others)
        empty = ~inside.any(axis=others)
        if np.all((lowest == highest) | empty):
            channel = np.where(empty, -1.0, lowest).astype(np.int64)
            return Moved(axis, channel, ~inside.all(axis=others), float(fillers[0]) if len(fillers) else 0.0)
    return None


@register_rule(
    "Squeeze", "ExpandDims", "Flip", "Roll", "Rot90", "Repeat", "Tile", "Take",
    "Split", "ArraySplit", "Unstack",
)  # fmt: skip
class MovingRule(Rule):
    """Numbers are moved, left out, repeated, or padded with a constant."""

    reason = "it moves the channels in a way that cannot be followed"
    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        x: Any = walk.inputs(node)[0] if len(node.inputs) == 1 else None
        if all(channels is None for channels in walk.inputs(node)):
            for tensor in node.outputs:
                walk.channels[tensor] = None
            return None
        moved = None if x is None else self.moved(walk, node, x)
        if moved is None:
            return self.refuse(walk, node)
        walk.notes(node).moved = moved
        for tensor, part in zip(node.outputs, moved, strict=True):
            walk.channels[tensor] = self.channels(walk, x, part)
        return None

    def channels(self, walk: Walk, x: Channels, moved: Moved) -> Channels:
        """What is known of one of the outputs."""
        channel, there = moved.channel, moved.channel >= 0
        value = np.where(moved.padded & (x.value[channel] != moved.filler), np.nan, x.value[channel])
        live = np.where(there, x.live[channel], FALSE)
        y = walk.fresh(moved.axis, len(channel), live, np.where(there, value, moved.filler))
        if len(np.unique(channel[there])) < there.sum():
            # One channel at several positions: each can go by itself, the channel when all of them do.
            walk.imply(y.group[there], x.group[channel[there]])
        else:
            y.group = np.where(there, x.group[channel], y.group)
        return y

    def moved(self, walk: Walk, node: Node, x: Channels) -> list[Moved] | None:
        """Where the channels of each output are, or None where that cannot be followed, or not be done for fewer."""
        shape = tuple(s or i + 2 for i, s in enumerate(walk.shape(node.inputs[0])))
        function, size = as_function(node), len(x)
        try:
            examples = function(numbered(shape, 0))
            channels = function(numbered(shape, x.axis))
        except Exception:
            # Operators complain in many ways of numbers in place of indices.
            return None
        found = []
        for tensor, of_example, of_channel in zip(node.outputs, examples, channels, strict=True):
            moved = read_off(of_channel, size, x.axis)
            known = walk.shape(tensor)[1:]
            if moved is None or known[moved.axis - 1] != len(moved.channel) or not by_example(of_example, shape[0]):
                return None
            found.append(moved)
        whole = all(np.array_equal(part.channel, np.arange(size)) for part in found)
        walk.notes(node).whole = whole
        if not whole and not self.can_pick(node, shape, x, found):
            return None
        return found

    def can_pick(self, node: Node, shape: tuple[Any, ...], x: Channels, found: list[Moved]) -> bool:
        """Whether the call can be made for fewer channels: it does nothing but pick them."""
        if any(part.axis != x.axis or part.padded.any() for part in found):
            return False
        function = as_function(node)
        for axis in set(range(len(shape))) - {x.axis}:
            for result in function(numbered(shape, axis)):
                wanted = list(shape)
                wanted[x.axis] = result.shape[x.axis] if result.ndim == len(shape) else -1
                if result.shape != tuple(wanted) or not np.array_equal(result, numbered(wanted, axis)):
                    return False
        return True

    def backward(self, walk: Walk, node: Node) -> None:
        parts = walk.notes(node).moved
        if parts is None:
            return super().backward(walk, node)
        x = walk.inputs(node)[0]
        need: np.ndarray = np.zeros(len(x), np.int64)
        for tensor, moved in zip(node.outputs, parts, strict=True):
            there = moved.channel >= 0
            walk._mark(need, moved.channel[there], walk.channels[tensor].need[there])
        return walk.need(x, need)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if surgery.walk.notes(node).moved is None or surgery.walk.notes(node).whole:
            return super().emit(surgery, node, args, kwargs)
        return [self.picked(surgery, node, args[0], *each) for each in self.positions(surgery, node)]

    def positions(self, surgery: Any, node: Node) -> list[tuple[np.ndarray, int]]:
        """For each output which of the channels that are left it holds, and its axis."""
        walk = surgery.walk
        left = np.cumsum(surgery.keep(walk.inputs(node)[0].group)) - 1
        found = []
        for tensor, moved in zip(node.outputs, walk.notes(node).moved, strict=True):
            keep = surgery.keep(walk.channels[tensor].group)
            found.append((left[moved.channel[keep]], moved.axis))
        return found

    def picked(self, surgery: Any, node: Node, tensor: Any, positions: np.ndarray, axis: int) -> Any:
        """`tensor` at `positions` along `axis`: a slice where they are next to each other."""
        if np.array_equal(positions, np.arange(tensor.shape[axis])):
            return tensor
        if len(positions) and np.array_equal(positions, np.arange(positions[0], positions[-1] + 1)):
            key = [slice(None)] * len(tensor.shape)
            key[axis] = slice(int(positions[0]), int(positions[-1]) + 1)
            return tensor[tuple(key)]
        return keras.ops.take(tensor, positions.astype("int32"), axis=axis)


class EntriesRule(Rule):
    """Mixin for what moves entries and nothing else: channels that lie along several axes are followed through it."""

    moves_entries = True

    def forward(self, walk: Walk, node: Node) -> None:
        known = any(channels is not None for channels in walk.inputs(node))
        if known or not walk.is_spread(node) or not follow(walk, node):
            walk.settle(node.inputs)
            super().forward(walk, node)

    def refuse(self, walk: Walk, node: Node, reason: str | None = None) -> None:
        if not follow(walk, node):
            super().refuse(walk, node, reason)

    def backward(self, walk: Walk, node: Node) -> None:
        if node.outputs[0] in walk.spread:
            return demand(walk, node)
        return super().backward(walk, node)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if node.outputs[0] in surgery.walk.spread:
            return emitted(surgery, node, args[0])
        return super().emit(surgery, node, args, kwargs)


@register_rule("Transpose", "Moveaxis", "Swapaxes")
class TransposeRule(EntriesRule, MovingRule):
    """The axes of a tensor in another order."""


@register_rule("DepthToSpace", "SpaceToDepth")
class BlocksRule(EntriesRule):
    """Channels that become places, and places that become channels."""

    reason = "it moves channels to places, or places to channels, in a way that cannot be followed"
    multiplies = False


def numbered(shape: Any, axis: int) -> np.ndarray:
    """An array that holds in each place where it is along `axis`."""
    index = np.arange(shape[axis], dtype="float32").reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(index + OFFSET, tuple(shape)).astype("float32")


def by_example(result: np.ndarray, batch: int) -> bool:
    """Whether what became of an array of the numbers of its examples is still example by example."""
    if result.ndim == 0 or result.shape[0] != batch:
        return False
    number = numbered(result.shape, 0)
    return bool(np.all((result == number) | (result < OFFSET)))
