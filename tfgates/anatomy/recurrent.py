"""Recurrent layers: their kernels hold a stretch of all hidden units for each of the cell's gates."""

from keras import layers

from tfgates.anatomy.base import Anatomy
from tfgates.anatomy.declare import register_anatomy
from tfgates.layers import GatedGRU, GatedLSTM, GatedSimpleRNN


@register_anatomy(layers.SimpleRNN, GatedSimpleRNN)
class SimpleRNNAnatomy(Anatomy):
    variables = {
        "cell.kernel": ("inputs", "outputs"),
        "cell.recurrent_kernel": ("outputs", "outputs"),
        "cell.bias": ("outputs",),
    }
    widths = {"units": "outputs"}
    products = ("cell.kernel", "cell.recurrent_kernel")
    applied = "inputs"
    recurs = True


@register_anatomy(layers.LSTM, GatedLSTM)
class LSTMAnatomy(SimpleRNNAnatomy):
    variables = {
        "cell.kernel": ("inputs", ("outputs",) * 4),
        "cell.recurrent_kernel": ("outputs", ("outputs",) * 4),
        "cell.bias": (("outputs",) * 4,),
    }


@register_anatomy(layers.GRU, GatedGRU)
class GRUAnatomy(SimpleRNNAnatomy):
    variables = {
        "cell.kernel": ("inputs", ("outputs",) * 3),
        "cell.recurrent_kernel": ("outputs", ("outputs",) * 3),
        # With `reset_after` two of them.
        "cell.bias": (..., ("outputs",) * 3),
    }
