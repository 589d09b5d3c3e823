"""What layers are made of: which axes of their variables carry which units, one file per family of layers."""

from tfgates.anatomy import attention, convolution, dense, einsum, embedding, normalization, recurrent, stacked, weight
from tfgates.anatomy.axes import take
from tfgates.anatomy.base import Anatomy, variable_of
from tfgates.anatomy.check import check_anatomy
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import ChannelAnatomy, LinearAnatomy
from tfgates.anatomy.registry import anatomy_of, declared_base, gated_class

__all__ = [
    "Anatomy",
    "ChannelAnatomy",
    "LinearAnatomy",
    "anatomy_of",
    "attention",
    "check_anatomy",
    "convolution",
    "declared_base",
    "dense",
    "einsum",
    "embedding",
    "gated_class",
    "normalization",
    "recurrent",
    "register_anatomy",
    "stacked",
    "take",
    "variable_of",
    "weight",
]
