"""Callbacks, each optional."""

from tfgates.callbacks.sparse_scaling import SparseScaling
from tfgates.callbacks.sparsity_monitor import SparsityMonitor

__all__ = ["SparseScaling", "SparsityMonitor"]
