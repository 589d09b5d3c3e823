"""Layers of users whose weights are single numbers: elementwise if they prove to be so, with other weights too."""

import math
from typing import Any

import numpy as np

from tfgates.graph import rule as rules
from tfgates.graph.network import Network, Node
from tfgates.graph.observed import other_weights
from tfgates.graph.rule import Term
from tfgates.graph.rules.probed import ProbedRule
from tfgates.graph.values import through_weights
from tfgates.graph.walk import Walk
from tfgates.keras_internals import holds_layers, tells_training


class ScalarsRule(ProbedRule):
    """`f(x; w)` with numbers w for all channels, such as `scale * x + bias`: it stays as it is, of fewer channels."""

    multiplies = False

    def obstacle(self, network: Network, node: Node) -> str | None:
        found = super().obstacle(network, node)
        if found is None:
            with other_weights(node.op):
                found = super().obstacle(network, node)
        return found

    def follow_along(self, walk: Walk, node: Node) -> bool:
        # What is told apart for the weights of the moment may not be for others.
        return False

    def combined(self, walk: Walk, node: Node, values: list[np.ndarray]) -> np.ndarray:
        if not walk.symbolic:
            return super().combined(walk, node, values)
        # What training makes of the weights may make any constant of one.
        return through_weights(super().combined(walk, node, values), keeps_zero=False)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        count = 0 if walk.seen_before(node) else sum(math.prod(w.shape) for w in node.op.weights)
        return [Term(node.name, count, 0.0)] if count else []


_SCALARS = ScalarsRule()
_SCALARS.known = True


def find(op: Any) -> ScalarsRule | None:
    """The rule for a layer of its own whose weights are single numbers, else None."""
    weights = getattr(op, "weights", None)
    if not weights or any(np.prod(w.shape) != 1 for w in weights) or "float" not in str(weights[0].dtype):
        return None
    return None if holds_layers(op) or tells_training(op) else _SCALARS


rules.FALLBACKS.append(find)
