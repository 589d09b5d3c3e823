"""Optimizers for gates."""

from tfgates.optimizers.apg import APG
from tfgates.optimizers.gate_optimizer import gate_learning_rate, with_gate_optimizer
from tfgates.optimizers.scaling_optimizer import FollowedRate, ScalingOptimizer

__all__ = ["APG", "FollowedRate", "ScalingOptimizer", "gate_learning_rate", "with_gate_optimizer"]
