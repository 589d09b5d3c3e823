"""What training is held to: budgets, penalties, their multipliers and schedules."""

from tfgates.constraints.budget import Budget

__all__ = ["Budget"]
