"""Dense layers."""

from typing import Any

import numpy as np

from tfgates.anatomy.dense import DenseAnatomy
from tfgates.anatomy.einsum import EinsumDenseAnatomy
from tfgates.graph.channels import Channels
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.values import is_generic
from tfgates.graph.walk import Walk


@register_rule(DenseAnatomy)
class DenseRule(LinearRule):
    """Inputs that nothing produces channel by channel can still be picked from."""

    def unknown_input(self, walk: Walk, node: Node, axis: int, size: int) -> Channels:
        # Picking would lose the mask of the steps.
        masked = walk.network.masks[node.inputs[0]] is not None
        return super().unknown_input(walk, node, axis, size) if masked else walk.local(axis, size)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk, tensor = surgery.walk, args[0]
        if node.index not in walk.refused and walk.inputs(node)[0] is not walk.notes(node).x:
            keep = surgery.keep(walk.slots[id(node.op)]["inputs"])
            tensor = surgery.pick(tensor, keep, self.axes(walk, node)[0])
        return super().emit(surgery, node, (tensor, *args[1:]), kwargs)


@register_rule(EinsumDenseAnatomy)
class EinsumDenseRule(DenseRule):
    """Into heads: what a head is without its inputs differs along its width, unless it is 0."""

    stuck = "what it makes of a closed channel's constant differs along the width of a head"

    def spreads(self, node: Node) -> bool:
        return not self.anatomy(node).uniform(node.op)

    def mix(
        self, walk: Walk, node: Node, live: np.ndarray, value: np.ndarray, outputs: int
    ) -> tuple[np.ndarray, np.ndarray]:
        live, value = super().mix(walk, node, live, value, outputs)
        if walk.symbolic and self.spreads(node):
            # With a bias: a number for each of the width.
            value = np.where(is_generic(value), np.nan, value)
        return live, value

    def bias(self, walk: Walk, node: Node, outputs: int) -> np.ndarray:
        bias = super().bias(walk, node, outputs)
        if not self.spreads(node) or node.op.bias is None:
            return bias.reshape(-1)
        axes = self.anatomy(node).axes(node.op)["bias"]
        of_units = "outputs" in axes
        rows = np.moveaxis(bias, axes.index("outputs"), 0) if of_units else np.stack([bias] * outputs)
        rows = rows.reshape(outputs, -1)
        return np.where((rows == rows[:, :1]).all(axis=1), rows[:, 0], np.nan)

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        # A bias may be the same for all heads.
        bias = self.anatomy(node).axes(node.op).get("bias")
        return (bias is None or "outputs" in bias) and super().scales_outputs(node, factor)
