"""One file per family of layers; importing this package registers them all."""

from tfgates.graph.rules import (
    concatenate,
    convolution,
    dense,
    depthwise,
    elementwise,
    gate,
    masking,
    merge,
    normalization,
    pooling,
    probed,
    reshape,
    separable,
    sequence,
)

__all__ = [
    "concatenate",
    "convolution",
    "dense",
    "depthwise",
    "elementwise",
    "gate",
    "masking",
    "merge",
    "normalization",
    "pooling",
    "probed",
    "reshape",
    "separable",
    "sequence",
]
