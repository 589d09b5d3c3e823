"""Optimizers for gates."""

from tfgates.optimizers.apg import APG
from tfgates.optimizers.gate_optimizer import gate_learning_rate, with_gate_optimizer
from tfgates.optimizers.gated_optimizer import GatedOptimizer
from tfgates.optimizers.scaling_optimizer import FollowedRate, ScalingOptimizer

__all__ = ["APG", "FollowedRate", "GatedOptimizer", "ScalingOptimizer", "gate_learning_rate", "with_gate_optimizer"]
