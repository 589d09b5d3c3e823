"""One file per family of layers; importing this package registers them all."""

from tfgates.graph.rules import (
    convolution,
    dense,
    elementwise,
    gate,
    merge,
    normalization,
    pooling,
    reshape,
    sequence,
)

__all__ = [
    "convolution",
    "dense",
    "elementwise",
    "gate",
    "merge",
    "normalization",
    "pooling",
    "reshape",
    "sequence",
]
