"""Callbacks, each optional."""

from tfgates.callbacks.sparse_scaling import SparseScaling

__all__ = ["SparseScaling"]
