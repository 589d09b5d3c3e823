"""What attention and recurrent layers have in common."""

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node
from tfgates.graph.walk import Walk

layers = keras.layers


class InputFeatures:
    """What both kinds have in common: input features that a kernel `(features, ...)` reads."""

    def take_input(self, walk: Walk, node: Node, x: Channels | None, name: str, size: int, axis: int) -> Channels:
        """Channels of one input; features that are the constant 0 can go, others cannot."""
        if x is None or x.axis != axis:
            if x is not None:
                walk.groups.lock(x.group, f"{node.name}: reads another axis")
                walk.need(x, TRUE)
            x = walk.local(axis, size)
            walk.groups.lock(x.group, f"input of {node.name}")
        walk.slot(node, name, x.group)
        stuck = (x.live != TRUE) & (x.value != 0.0)
        walk.groups.lock(x.group[stuck], f"{node.name}: reads a constant other than 0")
        return x

    def demand(self, walk: Walk, x: Channels | None, used: np.ndarray) -> None:
        if x is not None:
            walk.need(x, np.where(used, TRUE, FALSE))
