"""What layers of users add to the loss."""

import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.walk import Walk
from tfgates.layers.added_loss import AddedLoss


@register_rule(AddedLoss)
class AddedLossRule(ElementwiseRule):
    """Its first tensor, as it is; the channels of the losses stay."""

    beside = "what is added to the loss is kept whole"

    def apply_in_training(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return x.value
