"""What training is held to: budgets, penalties, their multipliers and schedules."""

from tfgates.constraints.budget import Budget
from tfgates.constraints.reference import DenseReference

__all__ = ["Budget", "DenseReference"]
