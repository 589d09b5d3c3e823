"""The mask of another tensor."""

from typing import Any

import numpy as np

from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.walk import Walk
from tfgates.layers.with_mask import WithMask


@register_rule(WithMask)
class WithMaskRule(ElementwiseRule):
    """The first tensor, as it is; of the other one its steps count, not its channels: some of them have to be left."""

    def forward(self, walk: Walk, node: Node) -> None:
        x, masked = walk.inputs(node)
        if masked is not None:
            walk.slot(node, "masked", masked.group)
        walk.set(node, None if x is None else walk.like(x))

    def backward(self, walk: Walk, node: Node) -> None:
        x, masked = walk.inputs(node)
        y = walk.output(node)
        if x is not None and y is not None:
            walk.need(x, y.need)
        if masked is not None:
            needed = TRUE if y is None else walk.formulas.any(y.need)
            walk.need(masked, np.full(len(masked), needed, np.int64))

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if any(x is None for x in args[0]):
            surgery.nothing_left(node)
        return super().emit(surgery, node, args, kwargs)
