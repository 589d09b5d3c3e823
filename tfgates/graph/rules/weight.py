"""Weights that layers of users compute with themselves."""

import numpy as np

from tfgates.anatomy.weight import WeightAnatomy
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule, rule_of
from tfgates.graph.rules.as_many import AsManyRule
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.merge import MergeRule
from tfgates.graph.rules.moving import MovingRule
from tfgates.graph.rules.probed import ProbedRule
from tfgates.graph.values import GENERIC
from tfgates.graph.walk import Walk


@register_rule(WeightAnatomy)
class WeightRule(DeclaredRule):
    """A weight as a tensor without a batch, its channels along the last axis, if that is longer than 1.

    One that is the same at all places, such as a bias, is a constant where it is joined with what depends on inputs.
    """

    keeps = "no gates are placed on single weights"
    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        value = walk.weight(node.op.value)
        even = self.only_joined(walk, node) and value.size == (value.shape[-1] if value.shape else 1)
        floats = "float" in walk.network.dtypes[node.outputs[0]]
        if not value.shape or value.shape[-1] < 2 or not floats or not self.followed(walk, node.outputs[0]):
            walk.refused[node.index] = self.keeps
            if even and value.size == 1:
                walk.numbers[node.outputs[0]] = GENERIC if walk.symbolic else float(value.reshape(-1)[0])
            return walk.set(node, None)
        axis, size = value.ndim - 1, value.shape[-1]
        if even:
            y = walk.fresh(axis, size, FALSE, np.full(size, GENERIC) if walk.symbolic else value.reshape(-1))
        else:
            dead = ~walk.nonzero(value, range(axis))
            y = walk.fresh(axis, size, np.where(dead, FALSE, TRUE), np.where(dead, 0.0, np.nan))
        y.group = walk.slot(node, "outputs", size)
        return walk.set(node, y)

    def followed(self, walk: Walk, tensor: int) -> bool:
        """Whether what is made of the weight is followed, up to where it meets a batch, by rules that need none."""
        for reader in walk.network.consumers[tensor]:
            rule = rule_of(reader)
            if isinstance(rule, AsManyRule) or (isinstance(rule, MergeRule) and self.has_batch(walk, reader)):
                continue
            known = isinstance(rule, (MergeRule, ElementwiseRule)) and not isinstance(rule, ProbedRule)
            known = known or (isinstance(rule, MovingRule) and self.adds_axes(walk, reader))
            if not known or tensor in walk.network.outputs or not self.followed(walk, reader.outputs[0]):
                return False
        return True

    def adds_axes(self, walk: Walk, node: Node) -> bool:
        """Whether all that a call does is to add axes of 1."""
        shapes = [walk.shape(tensor) for tensor in (node.inputs[0], node.outputs[0])]
        read, made = ([size for size in shape if size != 1] for shape in shapes)
        return read == made and len(shapes[0]) <= len(shapes[1])

    def has_batch(self, walk: Walk, node: Node) -> bool:
        # Kernels that are stacked may come before it.
        return None in walk.shape(node.outputs[0])

    def only_joined(self, walk: Walk, node: Node) -> bool:
        """Whether all that reads the weight joins it, number by number, with tensors that have a batch."""
        readers = walk.network.consumers[node.outputs[0]]
        return all(self.has_batch(walk, reader) and isinstance(rule_of(reader), MergeRule) for reader in readers)

    def backward(self, walk: Walk, node: Node) -> None:
        pass
