"""Dense layers over places, channel by channel."""

import math
from typing import Any

from tfgates.graph.network import Node
from tfgates.graph.rule import NODE_RULES, Rule, Term
from tfgates.graph.rules import activations
from tfgates.graph.sizes import counted, entries_per_example
from tfgates.graph.walk import Walk


class OverPlacesRule(Rule):
    """Each channel by itself, all alike: see `tfgates.graph.over_places`."""

    known = True
    reason = "it mixes another axis than the one that carries the channels"

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is None:
            return walk.set(node, None)
        if x.axis == len(walk.shape(node.inputs[0])) - 1:
            return self.refuse(walk, node)
        y = walk.fresh(x.axis, len(x))
        y.group = x.group
        return walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is None or y is None:
            return super().backward(walk, node)
        return walk.need(x, y.need)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        y = walk.output(node)
        if y is None:
            return super().terms(walk, node)
        read, made = (counted(walk.network, tensor) for tensor in (node.inputs[0], node.outputs[0]))
        sizes = [read[-1], *(size for axis, size in enumerate(made) if axis not in (0, y.axis))]
        macs = math.nan if None in sizes else math.prod(sizes) * entries_per_example(walk.network, node.outputs[0])
        return [Term(node.name, node.op.count_params(), 0.0), Term(node.name, 0, macs, (y.group,))]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        y = surgery.walk.output(node)
        if y is not None and not surgery.keep(y.group).any():
            surgery.nothing_left(node)
        return super().emit(surgery, node, args, kwargs)


_RULE = OverPlacesRule()


def find(node: Node) -> Rule | None:
    """The rule for a dense layer that is read channel by channel, else None."""
    plain = activations.obstacle_of(getattr(node.op, "activation", None), -1) is None
    return _RULE if node.by_channel and hasattr(node.op, "units") and plain else None


NODE_RULES.append(find)
