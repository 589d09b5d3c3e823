"""Gates that stand alone in the network, and what feeds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfgates.gates import Gate
from tfgates.graph import rule as rules
from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.values import through_gate
from tfgates.graph.walk import Walk
from tfgates.layers import GateGenerator, GateNoise


class GateRule(ElementwiseRule):
    """`z * x`: a closed unit is the constant 0 and needs nothing."""

    remains = False

    def factors(self, walk: Walk, node: Node, x: Channels) -> tuple[np.ndarray, np.ndarray] | None:
        """Formula and factor for each channel of x, or None if the units lie along another axis."""
        gate = node.op
        if gate.axis is None:
            formulas, values = walk.gate(gate)
            return np.repeat(formulas, len(x)), np.repeat(values, len(x))
        if gate.axis % len(walk.shape(node.inputs[0])) != x.axis:
            return None
        return walk.gate_positions(gate, len(x))

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is None:
            walk.set(node, None)
            return
        factors = self.factors(walk, node, x)
        if factors is None:
            walk.set(node, walk.like(x, value=np.where(x.value == 0.0, 0.0, np.nan)))
            return
        live, value = through_gate(walk, x.live, x.value, *factors)
        walk.set(node, walk.like(x, live=live, value=value))

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is None or y is None:
            return
        factors = self.factors(walk, node, x)
        walk.need(x, y.need if factors is None else walk.formulas.both(y.need, factors[0]))

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        return []

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        return node.inputs[:1]

    def slices(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, dict[int, np.ndarray]] | None:
        return {}

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if surgery.is_folded(node):
            return args[0]
        walk, gate = surgery.walk, node.op
        if gate.axis is None:
            # One number for all, whatever sizes are open.
            return surgery.scale(args[0], walk.gate(gate)[1], 0, node)
        axis = gate.axis % len(walk.shape(node.inputs[0]))
        values = walk.gate_positions(gate, walk.shape(node.inputs[0])[axis])[1]
        x = walk.inputs(node)[0]
        if x is not None and x.axis == axis:
            values = values[surgery.keep(x.group)]
        return surgery.scale(args[0], values, axis, node)


class SourceRule(Rule):
    """What makes logits or noise for gates: not part of what is left, and ties nothing."""

    remains = False

    def forward(self, walk: Walk, node: Node) -> None:
        for tensor in node.outputs:
            walk.channels[tensor] = None

    def backward(self, walk: Walk, node: Node) -> None:
        pass

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        return []

    def slices(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, dict[int, np.ndarray]] | None:
        return {}


register_rule(GateGenerator, GateNoise)(SourceRule)
_GATE = GateRule()
_GATE.known = True


def find(op: Any) -> Rule | None:
    """The rule for any subclass of Gate, else None."""
    return _GATE if isinstance(op, Gate) else None


rules.FALLBACKS.append(find)
