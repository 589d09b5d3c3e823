"""Sums of products over channels, `sum_i a_i b_i`: of a pair of which one is 0, neither is read."""

import dataclasses
import math
from typing import Any

import numpy as np
from keras import layers, tree

from tfgates.graph.channels import Channels
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.sizes import counted, entries_per_example
from tfgates.graph.walk import Walk


@dataclasses.dataclass
class Summed:
    """What is summed over.

    Attributes:
        tensors: the numbers of the two factors.
        axes: the axis of each that is summed over.
        factors: what is known of each there; None for one that stays whole, of which it is read what is needed.
        pairs: the pairs of channels, which stay where both are read.
    """

    tensors: list[int]
    axes: list[int]
    factors: list[Channels | None]
    pairs: Channels


def not_zero(part: Channels | None, size: int) -> np.ndarray:
    """Under which gates each channel of a factor can be anything but 0."""
    return np.full(size, TRUE, np.int64) if part is None else np.where(part.value == 0.0, part.live, TRUE)


def follow_sum(walk: Walk, node: Node, tensors: list[int], axes: list[int]) -> bool:
    """Notes that a call sums products over an axis of two tensors; False where that is not along known channels."""
    known = [walk.channels[tensor] for tensor in tensors]
    sizes = {walk.shape(tensor)[axis] for tensor, axis in zip(tensors, axes, strict=True)}
    elsewhere = any(x is not None and x.axis != axis for x, axis in zip(known, axes, strict=True))
    if elsewhere or min(axes) < 1 or len(sizes) != 1 or None in sizes or known == [None, None]:
        return False
    (size,) = sizes
    pairs = walk.local(axes[0], size)
    pairs.live = walk.formulas.both(*(not_zero(x, size) for x in known))
    for x in known:
        if x is not None:
            walk.imply(pairs.group, x.group)
    # So that a plan says where none is left.
    walk.slot(node, f"pairs of {node.index}", pairs.group)
    walk.notes(node).summed = Summed(tensors, axes, known, pairs)
    walk.set(node, None)
    return True


def need_of_sum(walk: Walk, node: Node) -> None:
    """Of a pair one is needed where the other is not 0."""
    summed = walk.notes(node).summed
    size = len(summed.pairs)
    walk.need(summed.pairs, TRUE)
    for x, other in zip(summed.factors, reversed(summed.factors), strict=True):
        if x is not None:
            walk.need(x, not_zero(other, size))


def smaller_sum(surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
    """The arguments of a call with the pairs that stay of each factor."""
    summed = surgery.walk.notes(node).summed
    keep = surgery.keep(summed.pairs.group)
    if not keep.any():
        surgery.nothing_left(node)
    left = list(zip(summed.tensors, summed.axes, summed.factors, strict=True))

    def pick(ref: Any, x: Any) -> Any:
        if not isinstance(ref, Ref) or not left or left[0][0] != ref.tensor:
            return x
        _, axis, factor = left.pop(0)
        return surgery.pick(x, keep if factor is None else keep[surgery.keep(factor.group)], axis)

    return tree.map_structure(pick, (node.args, node.kwargs), (args, kwargs))


def terms_of_sum(walk: Walk, node: Node) -> list[Term]:
    """One product for each pair and number that is made."""
    sizes = counted(walk.network, node.outputs[0])[1:]
    examples = entries_per_example(walk.network, node.outputs[0])
    macs = math.nan if None in sizes else math.prod(sizes) * examples
    return [Term(node.name, 0, macs, (walk.notes(node).summed.pairs.group,))]


class SummingRule(Rule):
    """Mixin for calls that may be such sums: what `follow_sum` noted is needed, counted and picked."""

    def backward(self, walk: Walk, node: Node) -> None:
        if walk.notes(node).summed is None:
            return super().backward(walk, node)
        return need_of_sum(walk, node)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        return super().terms(walk, node) if walk.notes(node).summed is None else terms_of_sum(walk, node)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if surgery.walk.notes(node).summed is not None:
            args, kwargs = smaller_sum(surgery, node, args, kwargs)
        return super().emit(surgery, node, args, kwargs)


@register_rule(layers.Dot)
class DotRule(SummingRule):
    """`Dot`: the pairs along the axes that it sums over, unless it normalises them."""

    reason = "channels that a product of tensors sums over stay whole"

    def forward(self, walk: Walk, node: Node) -> None:
        axes = node.op.axes
        axes = [axes, axes] if isinstance(axes, int) else list(axes)
        ranks = [len(walk.shape(tensor)) for tensor in node.inputs]
        found = [axis % rank for axis, rank in zip(axes, ranks, strict=True)]
        if all(x is None for x in walk.inputs(node)):
            return walk.set(node, None)
        if node.op.normalize or not follow_sum(walk, node, list(node.inputs), found):
            return self.refuse(walk, node)
        return None
