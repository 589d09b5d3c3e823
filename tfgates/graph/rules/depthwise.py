"""Depthwise convolutions, in one and two dimensions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfgates.anatomy.convolution import DepthwiseAnatomy
from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules import activations
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.slices import Fold
from tfgates.graph.values import through_weights
from tfgates.graph.walk import Walk


@register_rule(DepthwiseAnatomy)
class DepthwiseRule(LinearRule):
    """Kernel `(*window, inputs, multiplier)`: an output belongs to its one input."""

    def sizes(self, walk: Walk, node: Node) -> tuple[int, int]:
        inputs = self.counts(walk, node)["channels"]
        return inputs, inputs * node.op.depth_multiplier

    def mix(
        self, walk: Walk, node: Node, live: np.ndarray, value: np.ndarray, outputs: int
    ) -> tuple[np.ndarray, np.ndarray]:
        kernel = walk.weight(node.op.kernel)
        window = tuple(range(kernel.ndim - 2))
        live, value = (np.repeat(v, node.op.depth_multiplier) for v in (live, value))
        constant = self.passes(node, value)
        if walk.symbolic:
            keeps_zero = getattr(node.op, "bias", None) is None
            return live, np.where(constant, through_weights(value, keeps_zero), np.nan)
        reaches = walk.nonzero(kernel, window).reshape(-1)
        total = value * kernel.sum(axis=window, dtype=np.float64).reshape(-1)
        total = np.where(reaches, np.where(constant, total, np.nan), 0.0) + self.bias(walk, node, outputs)
        live = np.where(reaches, np.where(constant | (live == TRUE), live, TRUE), FALSE)
        return live, total

    def output_groups(self, walk: Walk, node: Node, x: Channels, outputs: int) -> np.ndarray:
        return walk.slot(node, "outputs", np.repeat(x.group, node.op.depth_multiplier))

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.notes(node).x, walk.output(node)
        demand = y.need
        if not activations.is_elementwise(node.op.activation, y.axis):
            demand = np.full(len(y), walk.formulas.any(demand), np.int64)
        demand = demand.reshape(-1, node.op.depth_multiplier)
        for column in demand.T:
            walk.need(x, column)

    def constants_left(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, bool]:
        # With an input goes its output: nothing is left to fold a constant into.
        return np.zeros(self.sizes(walk, node)[1]), False

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        return False

    def scales_inputs(self, walk: Walk, node: Node) -> bool:
        return False

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        return {}
