"""Products of two tensors, as in attention written out."""

import math
from typing import Any

import numpy as np

from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.sizes import counted


@register_rule("Matmul")
class MatmulRule(Rule):
    """`a @ b`: the last axis of b is that of the product; what is summed over stays whole."""

    reason = "channels that a product of tensors sums over stay whole"

    def factors(self, node: Node) -> list[int] | None:
        """The two tensors, None if one is an array."""
        refs = [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, Ref)]
        return [ref.tensor for ref in refs] if len(refs) == 2 else None

    def forward(self, walk, node):
        factors = self.factors(node)
        if all(channels is None for channels in walk.inputs(node)):
            return walk.set(node, None)
        second = None if factors is None else walk.channels[factors[1]]
        if second is None or second.axis != len(walk.shape(factors[1])) - 1 or second.axis < 2:
            return self.refuse(walk, node)
        first = walk.channels[factors[0]]
        if first is not None:
            walk.groups.lock(first.group, self.why(node))
        # A sum of a constant over the rows of the other tensor is none, unless it is 0.
        zero = np.where(second.value == 0.0, 0.0, np.nan)
        return walk.set(node, walk.like(second, axis=len(walk.shape(node.outputs[0])) - 1, value=zero))

    def backward(self, walk, node):
        y, factors = walk.output(node), self.factors(node)
        if node.index in walk.refused or y is None:
            return super().backward(walk, node)
        walk.need(walk.channels[factors[1]], y.need)
        if walk.channels[factors[0]] is not None:
            walk.need(walk.channels[factors[0]], np.ones(len(walk.channels[factors[0]]), np.int64))
        return None

    def terms(self, walk: Any, node: Node) -> list[Term]:
        y, factors = walk.output(node), self.factors(node)
        if node.index in walk.refused or y is None or factors is None:
            return super().terms(walk, node)
        made, read = (counted(walk.network, tensor) for tensor in (node.outputs[0], factors[0]))
        sizes = [*made[1:-1], read[-1]]
        return [Term(node.name, 0, math.nan if None in sizes else math.prod(sizes), (y.group,))]
