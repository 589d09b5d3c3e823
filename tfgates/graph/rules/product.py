"""Products and quotients, position by position."""

import keras
import numpy as np

from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.merge import MergeRule, Part, StepwiseRule
from tfgates.graph.walk import Walk

layers = keras.layers


@register_rule(layers.Multiply, "Multiply")
class MultiplyRule(StepwiseRule):
    """A product is constant where one factor is the constant 0, or where all are constant."""

    zero_wins = True

    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.prod(values, axis=0)

    def combined(self, walk: Walk, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.where(np.any(np.asarray(values) == 0.0, axis=0), 0.0, super().combined(walk, node, values))

    def liveness(self, walk: Walk, node: Node, parts: list[Part]) -> np.ndarray:
        live = super().liveness(walk, node, parts)
        for part in parts:
            zero = np.where(part.value == 0.0, part.live, TRUE)
            live = walk.formulas.both(live, zero)
        return live

    def demand(self, walk: Walk, index: int, parts: list[Part], need: np.ndarray) -> np.ndarray:
        for i, part in enumerate(parts):
            if i != index:
                need = walk.formulas.both(need, np.where(part.value == 0.0, part.live, TRUE))
        return need


@register_rule("Divide", "TrueDivide")
class DivideRule(MergeRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return values[0] / values[1]
