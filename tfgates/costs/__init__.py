"""Parameters and MACs: expected and actual; budgets."""

from tfgates.costs.budget import Budget
from tfgates.costs.cost import Cost, cost, summary
from tfgates.costs.expected import ExpectedCost

__all__ = ["Budget", "Cost", "ExpectedCost", "cost", "summary"]
