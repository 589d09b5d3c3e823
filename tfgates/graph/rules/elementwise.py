"""Layers and operators that treat each number by itself, and those that act only in training."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.configs import config_of
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules import activations
from tfgates.graph.values import is_known, map_constants
from tfgates.graph.walk import Walk

layers = keras.layers


@register_rule(
    layers.ReLU, layers.LeakyReLU, layers.ELU,
    "Relu", "Relu6", "Sigmoid", "Silu", "Gelu", "Tanh", "Elu", "Selu", "HardSigmoid", "HardSilu", "HardTanh",
    "LeakyRelu", "Softplus", "Softsign", "Exp", "Negative", "Absolute", "Square", "Sqrt", "Log1p",
    "Clip", "Sin", "Cos", "Mish",
)  # fmt: skip
class FunctionRule(ElementwiseRule):
    """`f(x)`, one number at a time."""

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return map_constants(lambda v: activations.call_at_inference(self.function(node), v), x.value)

    def function(self, node: Node) -> Callable[..., Any]:
        return node.op


@register_rule(layers.Activation)
class ActivationRule(FunctionRule):
    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        return self.obstacle(node) is None

    def obstacle(self, node: Node) -> str | None:
        # Weights would have to lose channels in the copy.
        return activations.obstacle_of(node.op.activation) or (
            "has weights of its own" if activations.weights_of(node.op.activation) else None
        )

    def function(self, node: Node) -> Callable[..., Any]:
        return activations.as_function(node.op.activation)

    def why(self, node: Node) -> str:
        return f"{node.name}: its activation {self.obstacle(node)}"


@register_rule(layers.Softmax, "Softmax")
class SoftmaxRule(ElementwiseRule):
    """Over another axis than the channels' it mixes none, and makes `1 / places` of a constant."""

    def axes(self, walk: Walk, node: Node) -> list[int]:
        axes = node.op.axis if isinstance(node.op.axis, (list, tuple)) else [node.op.axis]
        return [axis % len(walk.shape(node.inputs[0])) for axis in axes]

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        masks = [walk.shape(tensor) for tensor in node.inputs[1:]]
        rank = len(walk.shape(node.inputs[0]))
        # A mask that is the same for all channels.
        alike = all(len(shape) == rank and shape[x.axis] == 1 for shape in masks)
        return alike and x.axis not in self.axes(walk, node)

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        if len(node.inputs) > 1:
            return np.full(len(x), np.nan)
        sizes = [walk.shape(node.inputs[0])[axis] for axis in self.axes(walk, node)]
        share = np.nan if None in sizes else 1.0 / math.prod(sizes)
        return np.where(is_known(x.value), share, np.nan)

    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        x, y = walk.inputs(node)[0], walk.output(node)
        if y is not None:
            stuck = (x.live != TRUE) & np.isnan(y.value) & (len(node.inputs) == 1)
            walk.groups.lock(y.group[stuck], f"{node.name}: over how many places softmax runs is not known")

    def why(self, node: Node) -> str:
        what = "a mask decides over what softmax runs" if len(node.inputs) > 1 else "softmax runs over the channels"
        return f"{node.name}: {what}"


@register_rule(layers.Rescaling)
class RescalingRule(FunctionRule):
    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        return np.ndim(node.op.scale) == 0 and np.ndim(node.op.offset) == 0

    def function(self, node: Node) -> Callable[..., Any]:
        scale, offset = float(node.op.scale), float(node.op.offset)
        return lambda v: v * scale + offset

    def why(self, node: Node) -> str:
        return f"{node.name}: it rescales each channel differently"


@register_rule(layers.AlphaDropout, layers.GaussianNoise, layers.ActivityRegularization, layers.Identity)
class IdentityRule(ElementwiseRule):
    """Does nothing at inference."""

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        x = surgery.walk.inputs(node)[0]
        shape = getattr(node.op, "noise_shape", None)
        if x is not None and shape is not None and surgery.successor(node.op) is None:
            # One that is shorter than the input's is of its last axes, and of these None says nothing.
            rank, size = len(surgery.walk.shape(node.inputs[0])), len(x)
            place = len(shape) - (rank - x.axis)
            if place >= 0 and shape[place] == size > 1:
                left = None if len(shape) == rank else int(np.sum(surgery.keep(x.group)))
                shape = (*shape[:place], left, *shape[place + 1 :])
                surgery.make(node, type(node.op), {**config_of(node.op), "noise_shape": shape}, None)
        return surgery.called(node, args, kwargs)


@register_rule(
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    layers.GaussianDropout, "StochasticDepth",
)  # fmt: skip
class DropoutRule(IdentityRule):
    """`noise * x`, and x at inference."""

    def apply_in_training(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return np.where(x.value == 0.0, 0.0, np.nan)


@register_rule(layers.Normalization)
class InputNormalizationRule(ElementwiseRule):
    """Preprocessing with a mean and a variance per feature."""

    reason = "it treats each feature differently"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        return False
