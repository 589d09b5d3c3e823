"""Dense layers."""

import keras

from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import LinearAnatomy
from tfgates.layers import GatedDense


@register_anatomy(keras.layers.Dense, GatedDense)
class DenseAnatomy(LinearAnatomy):
    variables = {"kernel": ("inputs", "outputs"), "bias": ("outputs",)}
    widths = {"units": "outputs"}

    def channel_axis(self, layer: keras.Layer, rank: int) -> int:
        return rank - 1
