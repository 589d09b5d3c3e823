"""Pooling: channels stay apart, and a constant stays what it is."""

import keras

from tfgates.graph.rule import ElementwiseRule, register_rule

layers = keras.layers


@register_rule(
    layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D,
    layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D,
)  # fmt: skip
class PoolingRule(ElementwiseRule):
    """Windows over places; padding takes no part in the maximum or the average."""

    reason = "it runs along the axis that carries the channels"

    def keeps_axis(self, walk, node, x):
        rank = len(walk.shape(node.inputs[0]))
        return x.axis == (1 if node.op.data_format == "channels_first" else rank - 1)


@register_rule(
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D,
    layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D,
)  # fmt: skip
class GlobalPoolingRule(PoolingRule):
    """All places to one."""

    def forward(self, walk, node):
        super().forward(walk, node)
        y = walk.output(node)
        if y is not None and not node.op.keepdims:
            y.axis = 1
