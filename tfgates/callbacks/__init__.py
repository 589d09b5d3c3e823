"""Callbacks, each optional."""

from tfgates.callbacks.resume import Resume
from tfgates.callbacks.sparse_scaling import SparseScaling
from tfgates.callbacks.sparsity_monitor import SparsityMonitor

__all__ = ["Resume", "SparseScaling", "SparsityMonitor"]
