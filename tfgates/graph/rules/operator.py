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
        if self.keeps_last(walk, node):
            walk.notes(node).keeps_last = True
            return walk.set(node, walk.like(walk.inputs(node)[0], axis=len(walk.shape(node.outputs[0])) - 1))
        if len(node.args) > 1:
            # Tried on other sizes than those it takes it says nothing.
            return self.refuse(walk, node)
        return super().forward(walk, node)

    def keeps_last(self, walk: Walk, node: Node) -> bool:
        """Whether it is a reshape to open sizes that leaves the last axis as it is, which has the channels."""
        if node.op.function != "keras.ops.reshape" or len(computed_with(node)) != 1:
            return False
        given: list[Any] = [*node.op.arguments, *node.op.keywords.values()]
        x, sizes = walk.inputs(node)[0], given[1]
        if x is None or not isinstance(sizes, list) or not sizes:
            return False
        old, new = walk.shape(node.inputs[0]), walk.shape(node.outputs[0])
        return x.axis == len(old) - 1 and len(new) > 1 and old[-1] == new[-1] == sizes[-1]

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
        if walk.notes(node).keeps_last:
            return walk.need(walk.inputs(node)[0], walk.output(node).need)
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
        if surgery.walk.notes(node).keeps_last:
            left = int(surgery.keep(surgery.walk.output(node).group).sum())
            given: list[Any] = [*node.op.arguments, *node.op.keywords.values()]
            smaller = Operator(node.op.function, [given[0], [*given[1][:-1], left]], name=surgery.name(node))
            return smaller(*args)
        return super().emit(surgery, node, args, kwargs)


def computed_with(node: Node) -> list[int]:
    """The tensors whose entries a call reads."""
    return [x.tensor for x in tree.flatten(node.args[:1]) if isinstance(x, Ref)]
