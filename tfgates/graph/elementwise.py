"""The rule of layers that treat each channel by itself."""

from typing import TYPE_CHECKING

import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.phase import heeds, trains
from tfgates.graph.rule import Rule
from tfgates.graph.values import through_weights

if TYPE_CHECKING:
    from tfgates.graph.walk import Walk


class ElementwiseRule(Rule):
    """A layer that treats each channel separately, in the same way at all places: y = f(x).

    A subclass overrides `apply` where f changes constants, and `emit` where the layer has weights or
    arguments per channel. For a layer with weights, a symbolic walk uses what holds for any weights,
    whatever `apply` says: that constants stay constants, and that 0 stays 0 where the class says so.

    Attributes:
        keeps_zero: bool, whether f(0) = 0 whatever the layer's weights are. Defaults to False.
    """

    multiplies = False
    keeps_zero: bool = False

    # Why the channels of other tensors that it reads stay.
    beside = "its mask is kept whole"

    def forward(self, walk: "Walk", node: Node) -> None:
        x, *others = walk.inputs(node)
        for channels in others:
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: {self.beside}")
                walk.need(channels, TRUE)
        if x is None:
            walk.set(node, None)
        elif not self.keeps_axis(walk, node, x):
            self.refuse(walk, node)
        else:
            symbolic = walk.symbolic and node.layer is not None and node.layer.weights
            if trains(node) or (walk.both_modes and heeds(node.op)):
                value = self.apply_in_training(walk, node, x)
            else:
                value = through_weights(x.value, self.zero_stays(node)) if symbolic else self.apply(walk, node, x)
            walk.set(node, walk.like(x, value=value))

    def zero_stays(self, node: Node) -> bool:
        """Whether f(0) = 0 whatever the weights of this layer are."""
        return self.keeps_zero

    def keeps_axis(self, walk: "Walk", node: Node, x: Channels) -> bool:
        """Whether f treats each position along `x.axis` separately."""
        return True

    def apply(self, walk: "Walk", node: Node, x: Channels) -> np.ndarray:
        """The constants after f; nan where f turns a constant into something else."""
        return x.value

    def apply_in_training(self, walk: "Walk", node: Node, x: Channels) -> np.ndarray:
        """The constants that are the same as in training (as which this call runs where the model is called without
        `training`) and at inference; none by default."""
        return np.full(len(x), np.nan)

    def backward(self, walk: "Walk", node: Node) -> None:
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.inputs(node)[0], walk.output(node)
        if x is not None and y is not None:
            walk.need(x, y.need)
