"""Plan, apply, report: removing what is closed."""

from tfgates.pruning.cost import NetworkCost, cost, summary
from tfgates.pruning.page import write_page
from tfgates.pruning.picture import draw_plan
from tfgates.pruning.plan import PruningPlan, plan_pruning
from tfgates.pruning.prune import PruningError, prune
from tfgates.pruning.report import History, PruningReport, report_of
from tfgates.pruning.size import compressed_bytes
from tfgates.pruning.surgery import ClosedLayerError

__all__ = [
    "ClosedLayerError",
    "History",
    "NetworkCost",
    "PruningError",
    "PruningPlan",
    "PruningReport",
    "compressed_bytes",
    "cost",
    "draw_plan",
    "plan_pruning",
    "prune",
    "report_of",
    "summary",
    "write_page",
]
