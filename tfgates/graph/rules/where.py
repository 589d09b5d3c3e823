"""One of two tensors, place by place."""

from typing import Any

import numpy as np

from tfgates.graph.formula import FALSE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.merge import Part
from tfgates.graph.rules.probed import ProbedRule
from tfgates.graph.walk import Walk


@register_rule("Where")
class WhereRule(ProbedRule):
    """`where(condition, a, b)`: where both are the same number, that is what is made, whatever the condition says."""

    def choices(self, node: Node, of_operands: list[Any], of_number: Any) -> list[Any] | None:
        """What is known of the two tensors, of those that are numbers by a function of these; None if unknown."""
        given = dict(zip(("condition", "x1", "x2"), node.args, strict=False)) | node.kwargs
        left, found = iter(of_operands), {}
        for name, x in given.items():
            found[name] = next(left) if isinstance(x, Ref) else of_number(x) if isinstance(x, (int, float)) else None
        two = [found.get("x1"), found.get("x2")]
        return None if two[0] is None or two[1] is None else two

    def same(self, node: Node, values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Where both are one number, and these numbers."""
        two = self.choices(node, values, lambda x: np.full_like(values[0], x))
        if two is None:
            return np.zeros(len(values[0]), bool), values[0]
        return np.isfinite(two[0]) & (two[0] == two[1]), two[0]

    def combined(self, walk: Walk, node: Node, values: list[np.ndarray]) -> np.ndarray:
        same, value = self.same(node, values)
        return np.where(same, value, super().combined(walk, node, values))

    def liveness(self, walk: Walk, node: Node, parts: list[Part]) -> np.ndarray:
        live = super().liveness(walk, node, parts)
        same, _ = self.same(node, [part.value for part in parts])
        two = self.choices(node, [part.live for part in parts], lambda x: np.full(len(same), FALSE, np.int64))
        return live if two is None else np.where(same, walk.formulas.either(*two), live)
