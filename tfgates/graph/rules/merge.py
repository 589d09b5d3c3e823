"""Merges, position by position: products, quotients, maximum, minimum; sums are in `sums`."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.masks import why_masked
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.rules.arrays import along_channels, is_array, narrowed
from tfgates.graph.rules.read_in_part import as_far_as_needed
from tfgates.graph.values import combine_constants, is_known
from tfgates.graph.walk import Walk
from tfgates.layers.weight import Weight

layers = keras.layers

KEEPS_ITS_OWN = "it joins the channels with a tensor that keeps its own"


class MergeRule(Rule):
    """`f(x1, x2, ...)` position by position, smaller tensors broadcast.

    Constant operands that are numbers take part; a constant tensor of an addition is dropped when
    something else is left to carry the shape.
    """

    reason = "its tensors carry their channels on different axes"
    multiplies = False

    # Whether where one operand is 0 the others do not matter: one with channels on another axis then stays whole.
    zero_wins = False

    def mask_reason(self, walk: Walk, node: Node) -> str | None:
        """Why masks of steps keep the operands whole, or None."""
        return None

    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        """f of a list of arrays of numbers."""
        raise NotImplementedError

    def combined(self, walk: Walk, node: Node, values: list[np.ndarray]) -> np.ndarray:
        """f of a list of arrays of constants, not all of them numbers."""
        return combine_constants(lambda known: self.combine(node, known), values)

    def operands(self, node: Node) -> list[Any]:
        """The operands in order: `Ref`s and numbers."""
        first = node.args[0]
        return list(first) if isinstance(first, (list, tuple)) else list(node.args[:2])

    def forward(self, walk: Walk, node: Node) -> None:
        reason = self.mask_reason(walk, node)
        if reason is not None:
            return self.refuse(walk, node, reason)
        shape = walk.shape(node.outputs[0])
        operands = self.operands(node)
        known = [walk.channels[o.tensor] if isinstance(o, Ref) else None for o in operands]
        axes = {
            c.axis - len(walk.shape(o.tensor))
            for o, c in zip(operands, known, strict=True)
            if c is not None and len(c) > 1
        }
        if not axes:
            walk.set(node, None)
            return self.keep_single(walk, known, node)
        if len(axes) > 1:
            # Those on other axes stay whole, such as a weight for each of the numbers of a head.
            kept = {axis for axis in axes if self.all_broadcast(walk, operands, known, axis)}
            axes = kept or ({max(axes)} if self.zero_wins else axes)
        if len(axes) != 1 or not all(isinstance(o, (Ref, int, float)) or is_array(o) for o in operands):
            return self.refuse(walk, node)
        axis = axes.pop() % len(shape)
        if shape[axis] is None:
            return self.refuse(walk, node)
        size = shape[axis]
        parts: list[Any] = []
        for operand, channels in zip(operands, known, strict=True):
            parts.append(self.part(walk, node, operand, channels, axis, size, len(shape)))
        if any(p is None for p in parts):
            return self.refuse(walk, node)
        dropped = self.droppable(walk, node, operands, parts, shape, axis)
        rest = [p for i, p in enumerate(parts) if i not in dropped]
        tied = [p.group for p in rest if p.group is not None]
        if not tied and walk.notes(node).read_in_part:
            # The others are dropped, and channels of the one that stays whole are read.
            tied = [walk.groups.new(size)]
        if not tied:
            return self.refuse(walk, node)
        walk.notes(node).parts = (axis, parts, dropped)
        for group in tied[1:]:
            walk.groups.tie(tied[0], group)
        value = self.combined(walk, node, [p.value for p in parts])
        y = walk.fresh(axis, size, self.liveness(walk, node, parts), value)
        y.group = tied[0]
        walk.set(node, y)
        self.say_what_is_infinite(walk, node, parts, y)

    def all_broadcast(self, walk: Walk, operands: list[Any], known: list[Channels | None], axis: int) -> bool:
        """Whether all operands with channels elsewhere are the same all along `axis`, from behind, or weights."""
        for operand, channels in zip(operands, known, strict=True):
            if channels is None or len(channels) < 2 or is_weight(walk, operand):
                continue
            shape = walk.shape(operand.tensor)
            if channels.axis - len(shape) != axis and len(shape) + axis >= 0 and shape[axis] != 1:
                return False
        return True

    def say_what_is_infinite(self, walk: Walk, node: Node, parts: "list[Part]", y: Channels) -> None:
        """Gives the reason for channels that stay because of what a constant becomes, a logarithm of 0 say."""
        infinite = np.all([is_known(part.value) for part in parts], axis=0) & ~is_known(y.value)
        if walk.symbolic and infinite.any():
            reason = f"{node.name}: what a closed channel becomes is no finite number"
            walk.infinite.update(dict.fromkeys(y.group[infinite].tolist(), reason))

    def keep_single(self, walk: Walk, known: list[Channels | None], node: Node) -> None:
        for channels in known:
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: broadcast along the channels")

    def part(
        self, walk: Walk, node: Node, operand: Any, channels: Channels | None, axis: int, size: int, rank: int
    ) -> "Part | None":
        """What an operand says of each of the output's positions; None where it cannot be said."""
        if is_array(operand):
            return Part(None, np.full(size, FALSE, np.int64), along_channels(operand, axis, size, rank))
        if not isinstance(operand, Ref):
            return Part(None, np.full(size, FALSE, np.int64), np.full(size, float(operand)))
        if operand.tensor in walk.numbers:
            return Part(None, np.full(size, FALSE, np.int64), np.full(size, walk.numbers[operand.tensor]))
        shape, weight = walk.shape(operand.tensor), is_weight(walk, operand)
        place = axis - (rank - len(shape))
        # A tensor of lower rank gets its new axes in front, where others have their batch.
        if place < 0 or shape[place] == 1 or (place == 0 and shape[0] is None):
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: broadcast along the channels")
            return Part(None, np.full(size, TRUE, np.int64), np.full(size, np.nan))
        if channels is not None and channels.axis == place:
            return Part(channels.group, channels.live, channels.value, weight)
        if channels is not None and not weight and not self.zero_wins:
            return None
        if channels is not None:
            walk.groups.lock(channels.group, f"{node.name}: its tensors carry other channels")
        if walk.network.masks[operand.tensor] is None:
            # What is left of the others takes its positions of it; a mask would be lost by that.
            walk.notes(node).read_in_part[operand.tensor] = place
            return Part(None, np.full(size, TRUE, np.int64), np.full(size, np.nan))
        channels = walk.local(place, size)
        walk.need(channels, TRUE)
        walk.groups.lock(channels.group, f"{node.name}: {KEEPS_ITS_OWN}")
        return Part(channels.group, channels.live, channels.value)

    def droppable(
        self, walk: Walk, node: Node, operands: list[Any], parts: "list[Part]", shape: tuple[Any, ...], axis: int
    ) -> dict[int, np.ndarray]:
        return {}

    def liveness(self, walk: Walk, node: Node, parts: "list[Part]") -> np.ndarray:
        live = parts[0].live
        for part in parts[1:]:
            live = walk.formulas.either(live, part.live)
        return live

    def demand(self, walk: Walk, index: int, parts: "list[Part]", need: np.ndarray) -> np.ndarray:
        """What of operand `index` is needed when `need` of the output is."""
        return need

    def backward(self, walk: Walk, node: Node) -> None:
        state = walk.notes(node).parts
        if state is None:
            return super().backward(walk, node)
        _, parts, dropped = state
        y, need = walk.output(node), walk.output(node).need
        if walk.notes(node).read_in_part:
            # Where nothing else makes it needless, what is left of a tensor that stays whole is read.
            walk.groups.lock(y.group[(need == TRUE) & (y.live == TRUE)], f"{node.name}: {KEEPS_ITS_OWN}")
        for i, operand in enumerate(self.operands(node)):
            channels = walk.channels[operand.tensor] if isinstance(operand, Ref) else None
            if channels is None or i in dropped:
                continue
            if parts[i].group is None:
                walk.need(channels, walk.formulas.any(need))
            else:
                walk.need(channels, self.demand(walk, i, parts, need))

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        state = walk.notes(node).parts
        if state is None or not state[2]:
            return node.inputs
        operands = self.operands(node)
        return [o.tensor for i, o in enumerate(operands) if isinstance(o, Ref) and i not in state[2]]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        state = surgery.walk.notes(node).parts
        if state is not None:
            y, rank = surgery.walk.output(node), len(surgery.walk.shape(node.outputs[0]))
            args = tuple(narrowed(x, surgery.keep(y.group), y.axis, rank) if is_array(x) else x for x in args)
            args, kwargs = as_far_as_needed(surgery, node, args, kwargs)
        if state is None or not state[2]:
            return super().emit(surgery, node, args, kwargs)
        axis, _, dropped = state
        rest = [x for i, x in enumerate(self.operands_of(args)) if i not in dropped]
        result = rest[0] if len(rest) == 1 else surgery.copy(node)(rest)
        offset = sum(dropped.values())
        keep = surgery.keep(surgery.walk.output(node).group)
        return surgery.shift(result, offset[keep], axis, node)

    def operands_of(self, args: Any) -> list[Any]:
        return list(args[0]) if isinstance(args[0], (list, tuple)) else list(args[:2])


def is_weight(walk: Walk, operand: Ref) -> bool:
    """Whether an operand is a weight of a layer of a user's."""
    return isinstance(getattr(walk.network.producer[operand.tensor], "op", None), Weight)


class Part:
    """An operand as the output's positions see it; `group` is None if it is broadcast, or stays whole.

    Constants that are a `weight` stay where they are, to be trained.
    """

    def __init__(self, group: np.ndarray | None, live: np.ndarray, value: np.ndarray, weight: bool = False) -> None:
        self.group, self.live, self.value, self.weight = group, live, value, weight


class StepwiseRule(MergeRule):
    """Merges of which Keras's layers leave out what is masked."""

    leaves_masked_out = True

    def mask_reason(self, walk: Walk, node: Node) -> str | None:
        return None if node.layer is None else why_masked(walk.network, node)


@register_rule(layers.Maximum, "Maximum")
class MaximumRule(StepwiseRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.max(values, axis=0)


@register_rule(layers.Minimum, "Minimum")
class MinimumRule(StepwiseRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.min(values, axis=0)
