"""Plan, apply, report: removing what is closed."""

from tfgates.pruning.picture import draw_plan
from tfgates.pruning.plan import PruningPlan, plan_pruning
from tfgates.pruning.prune import PruningError, prune
from tfgates.pruning.surgery import ClosedLayerError

__all__ = ["ClosedLayerError", "PruningError", "PruningPlan", "draw_plan", "plan_pruning", "prune"]
