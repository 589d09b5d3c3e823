"""What attention and recurrent layers have in common."""

import keras
import numpy as np

from tfgates.graph.formula import FALSE, TRUE

layers = keras.layers


class InputFeatures:
    """What both kinds have in common: input features that a kernel `(features, ...)` reads."""

    def take_input(self, walk, node, x, name, size, axis):
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

    def demand(self, walk, x, used):
        if x is not None:
            walk.need(x, np.where(used, TRUE, FALSE))
