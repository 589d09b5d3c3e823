"""Parameters and MACs: expected and actual; budgets."""

from tfgates.costs.cost import Cost, cost
from tfgates.costs.expected import ExpectedCost

__all__ = ["Cost", "ExpectedCost", "cost"]
