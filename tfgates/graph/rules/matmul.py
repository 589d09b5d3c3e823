"""Products of two tensors, as in attention written out."""

import math
from typing import Any

import numpy as np

from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.rules.contraction import ContractionRule
from tfgates.graph.rules.summed import follow_sum, need_of_sum, smaller_sum, terms_of_sum
from tfgates.graph.sizes import counted, entries_per_example
from tfgates.graph.walk import Walk


class BatchProductRule(ContractionRule):
    """`a @ b` where the channels are on an axis of matrices, one product for each of them."""

    def tensors(self, node: Node) -> list[int]:
        return [x.tensor for x in (*node.args, *node.kwargs.values()) if isinstance(x, Ref)]

    def common(self, walk: Walk, node: Node) -> tuple[list[int | None], int] | None:
        tensors = self.tensors(node)
        ranks = [len(walk.shape(tensor)) for tensor in tensors]
        known = {walk.channels[t].axis - rank for t, rank in zip(tensors, ranks, strict=True) if walk.channels[t]}
        made = len(walk.shape(node.outputs[0]))
        if len(tensors) != 2 or len(known) != 1 or len({*ranks, made}) != 1:
            return None
        axis = known.pop() + made
        return ([axis, axis], axis) if len({walk.shape(tensor)[axis] for tensor in tensors}) == 1 else None

    def each(self, walk: Walk, node: Node, axis: int) -> float:
        made, read = counted(walk.network, node.outputs[0]), counted(walk.network, self.tensors(node)[0])
        sizes = [size for i, size in enumerate(made) if i not in (0, axis)] + [read[-1]]
        return math.nan if None in sizes else math.prod(sizes) * entries_per_example(walk.network, node.outputs[0])


BY_BATCH = BatchProductRule()


@register_rule("Matmul")
class MatmulRule(Rule):
    """`a @ b`: the last axis of b is that of the product; of what is summed over, pairs can go.

    Where channels are on both axes of b, or of a alone, what is summed over stays whole.
    """

    reason = BatchProductRule.reason

    def by_batch(self, walk: Walk, node: Node) -> bool:
        """Whether what is known of the tensors is on axes of matrices alone."""
        known = [(walk.channels[tensor], len(walk.shape(tensor))) for tensor in node.inputs]
        return any(x is not None for x, _ in known) and all(x is None or 0 < x.axis < rank - 2 for x, rank in known)

    def factors(self, node: Node) -> list[int] | None:
        """The two tensors, None if one is an array."""
        refs = [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, Ref)]
        return [ref.tensor for ref in refs] if len(refs) == 2 else None

    def forward(self, walk: Walk, node: Node) -> None:
        if self.by_batch(walk, node):
            return BY_BATCH.forward(walk, node)
        factors: Any = self.factors(node)
        if all(channels is None for channels in walk.inputs(node)):
            return walk.set(node, None)
        second = None if factors is None else walk.channels[factors[1]]
        if factors is not None and self.follow_sum(walk, node, factors):
            return None
        if second is None or second.axis != len(walk.shape(factors[1])) - 1 or second.axis < 2:
            return self.refuse(walk, node)
        first = walk.channels[factors[0]]
        if first is not None:
            walk.groups.lock(first.group, self.why(node))
        # A sum of a constant over the rows of the other tensor is none, unless it is 0.
        zero = np.where(second.value == 0.0, 0.0, np.nan)
        return walk.set(node, walk.like(second, axis=len(walk.shape(node.outputs[0])) - 1, value=zero))

    def follow_sum(self, walk: Walk, node: Node, factors: list[int]) -> bool:
        """Notes what is known of the axis that is summed over; False where nothing is known of it alone."""
        ranks = [len(walk.shape(tensor)) for tensor in factors]
        return min(ranks) > 1 and follow_sum(walk, node, factors, [ranks[0] - 1, ranks[1] - 2])

    def backward(self, walk: Walk, node: Node) -> None:
        if walk.notes(node).summed is not None:
            return need_of_sum(walk, node)
        if walk.notes(node).factors is not None:
            return BY_BATCH.backward(walk, node)
        y = walk.output(node)
        factors: Any = self.factors(node)
        if node.index in walk.refused or y is None:
            return super().backward(walk, node)
        walk.need(walk.channels[factors[1]], y.need)
        if walk.channels[factors[0]] is not None:
            walk.need(walk.channels[factors[0]], np.ones(len(walk.channels[factors[0]]), np.int64))
        return None

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if surgery.walk.notes(node).summed is not None:
            return super().emit(surgery, node, *smaller_sum(surgery, node, args, kwargs))
        rule: Any = BY_BATCH if surgery.walk.notes(node).factors is not None else super()
        return rule.emit(surgery, node, args, kwargs)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        if walk.notes(node).summed is not None:
            return terms_of_sum(walk, node)
        if walk.notes(node).factors is not None:
            return BY_BATCH.terms(walk, node)
        y, factors = walk.output(node), self.factors(node)
        if node.index in walk.refused or y is None or factors is None:
            return super().terms(walk, node)
        made, read = (counted(walk.network, tensor) for tensor in (node.outputs[0], factors[0]))
        sizes, examples = [*made[1:-1], read[-1]], entries_per_example(walk.network, node.outputs[0])
        return [Term(node.name, 0, math.nan if None in sizes else math.prod(sizes) * examples, (y.group,))]
