"""A function of Keras or TensorFlow that no graph of Keras holds by itself."""

from typing import Any

from keras import tree

from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.probed import ProbedRule
from tfgates.graph.walk import Walk
from tfgates.layers.operator import Operator


@register_rule(Operator)
class OperatorRule(ProbedRule):
    """What it proves to be when it is tried; of tensors of which it takes the sizes alone the channels may go."""

    def forward(self, walk: Walk, node: Node) -> None:
        if len(node.args) > 1:
            # Tried on other sizes than those it takes it says nothing.
            return self.refuse(walk, node)
        return super().forward(walk, node)

    def refuse(self, walk: Walk, node: Node, reason: str | None = None) -> None:
        reason = reason or self.why(node)
        for tensor in computed_with(node):
            channels = walk.channels[tensor]
            if channels is not None:
                walk.groups.lock(channels.group, reason)
        for tensor in node.outputs:
            walk.channels[tensor] = None
        walk.refused[node.index] = reason

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index not in walk.refused:
            return super().backward(walk, node)
        for tensor in computed_with(node):
            channels = walk.channels[tensor]
            if channels is not None:
                walk.need(channels, TRUE)
        return None

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if any(x is None for x in tree.flatten(args[1:])):
            surgery.nothing_left(node)
        return super().emit(surgery, node, args, kwargs)


def computed_with(node: Node) -> list[int]:
    """The tensors whose entries a call reads."""
    return [x.tensor for x in tree.flatten(node.args[:1]) if isinstance(x, Ref)]
