"""One example for all."""

from typing import Any

from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.walk import Walk
from tfgates.layers.as_many import AsMany


@register_rule(AsMany)
class AsManyRule(Rule):
    """The channels of what is repeated; of the other tensor only the number of examples counts."""

    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is not None and x.axis == 0:
            return self.refuse(walk, node)
        return walk.set(node, None if x is None else walk.like(x))

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is not None and y is not None:
            walk.need(x, y.need)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if any(x is None for x in args):
            surgery.nothing_left(node)
        return super().emit(surgery, node, args, kwargs)
