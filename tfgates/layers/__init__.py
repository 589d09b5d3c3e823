"""Keras layers with a gate in them."""

from tfgates.layers.added_loss import AddedLoss
from tfgates.layers.as_many import AsMany
from tfgates.layers.constant import Constant
from tfgates.layers.gate_generator import GateGenerator, generated_once
from tfgates.layers.gate_noise import GateNoise
from tfgates.layers.gated import GatedLayer
from tfgates.layers.gated_batch_normalization import GatedBatchNormalization
from tfgates.layers.gated_conv2d import GatedConv2D
from tfgates.layers.gated_dense import GatedDense
from tfgates.layers.gated_heads import GatedHeads
from tfgates.layers.gated_multi_head_attention import GatedMultiHeadAttention
from tfgates.layers.gated_recurrent import GatedGRU, GatedLSTM, GatedRecurrent, GatedSimpleRNN
from tfgates.layers.operator import Operator
from tfgates.layers.stacked_dense import StackedDense
from tfgates.layers.weight import Weight
from tfgates.layers.with_mask import WithMask

__all__ = [
    "AddedLoss",
    "AsMany",
    "Constant",
    "GateGenerator",
    "GateNoise",
    "GatedBatchNormalization",
    "GatedConv2D",
    "GatedDense",
    "GatedGRU",
    "GatedHeads",
    "GatedLSTM",
    "GatedLayer",
    "GatedMultiHeadAttention",
    "GatedRecurrent",
    "GatedSimpleRNN",
    "Operator",
    "StackedDense",
    "Weight",
    "WithMask",
    "generated_once",
]
