"""Parameters and MACs: expected and actual."""

from tfgates.costs.cost import Cost, cost, summary
from tfgates.costs.expected import ExpectedCost

__all__ = ["Cost", "ExpectedCost", "cost", "summary"]
