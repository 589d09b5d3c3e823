"""Plan, apply, report: removing what is closed."""

from tfgates.pruning.plan import PruningPlan, plan_pruning
from tfgates.pruning.prune import PruningError, prune
from tfgates.pruning.surgery import ClosedLayerError

__all__ = ["ClosedLayerError", "PruningError", "PruningPlan", "plan_pruning", "prune"]
