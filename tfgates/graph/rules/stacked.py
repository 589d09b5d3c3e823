"""Dense layers whose kernels are stacked in one weight."""

from tfgates.anatomy.stacked import StackedDenseAnatomy
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.dense import DenseRule
from tfgates.graph.walk import Walk


@register_rule(StackedDenseAnatomy)
class StackedDenseRule(DenseRule):
    """Each kernel makes another constant of a constant, unless that is 0."""

    stuck = "what it makes of a closed channel's constant differs from kernel to kernel"

    def places(self, walk: Walk, node: Node, name: str) -> float:
        # Each weight multiplies once where the axes of the kernels, which what is read has too, do not count.
        return super().places(walk, node, name) / self.anatomy(node).stacked(node.op)
