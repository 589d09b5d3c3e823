"""Pooling: channels stay apart, and a constant stays what it is."""

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.walk import Walk

layers = keras.layers


@register_rule(
    layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D,
    layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D,
    layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D,
    layers.AdaptiveAveragePooling1D, layers.AdaptiveAveragePooling2D, layers.AdaptiveAveragePooling3D,
    "MaxPool", "AveragePool", "AdaptiveMaxPool", "AdaptiveAveragePool",
)  # fmt: skip
class PoolingRule(ElementwiseRule):
    """Windows over places; padding takes no part in the maximum or the average."""

    reason = "it runs along the axis that carries the channels"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        rank = len(walk.shape(node.inputs[0]))
        # Operators that were given none take the global one.
        data_format = node.op.data_format or keras.config.image_data_format()
        return x.axis == (1 if data_format == "channels_first" else rank - 1)


@register_rule(
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D,
    layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D,
)  # fmt: skip
class GlobalPoolingRule(PoolingRule):
    """All places to one."""

    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        y = walk.output(node)
        if y is not None and not node.op.keepdims:
            y.axis = 1


@register_rule(layers.Resizing, "Resize")
class ResizingRule(PoolingRule):
    """Places are interpolated; what is put around them to keep the aspect ratio is a constant of its own."""

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        if getattr(node.op, "pad_to_aspect_ratio", False):
            return np.where(x.value == node.op.fill_value, x.value, np.nan)
        return x.value

    def apply_in_training(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        # Keras calls it so by default, and it does the same.
        return self.apply(walk, node, x)
