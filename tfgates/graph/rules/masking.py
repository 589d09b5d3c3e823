"""Masks of sequences: which steps count."""

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.walk import Walk


@register_rule(keras.layers.Masking)
class MaskingRule(ElementwiseRule):
    """`x * any(x != mask_value)`, over the last axis: a step counts if any of its features says so.

    A feature that is the constant 0 says nothing where `mask_value` is 0, and can go; where it is another
    number, a closed feature makes every step count, and has to stay. Each feature that is not constant
    decides what becomes of the others.
    """

    def runs_over(self, walk: Walk, node: Node, x: Channels) -> bool:
        """Whether the mask is made from the channels."""
        return x.axis == len(walk.shape(node.inputs[0])) - 1

    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is None:
            return
        y.live = np.where(x.value == 0.0, x.live, TRUE)
        if self.runs_over(walk, node, x) and node.op.mask_value != 0.0:
            closed = x.live != TRUE
            walk.groups.lock(
                x.group[closed], f"{node.name}: a closed channel is not its mask_value, so no step is masked"
            )

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return np.where(x.value == 0.0, 0.0, np.nan)

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is None:
            return
        over = self.runs_over(walk, node, x)
        walk.need(x, np.full(len(x), walk.formulas.any(y.need), np.int64) if over else y.need)
