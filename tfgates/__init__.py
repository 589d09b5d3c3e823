"""tfgates: learn which parts of a Keras network to keep, and remove the rest."""

from tfgates import (
    anatomy,
    applications,
    callbacks,
    costs,
    gates,
    graph,
    importance,
    layers,
    models,
    optimizers,
    reconstruction,
)
from tfgates.costs import Budget, cost, summary
from tfgates.models import GatedModel, compress, finish, freeze_gates, gate_model, prune_by, reestimate_statistics
from tfgates.notices import GatesWarning
from tfgates.pruning import plan_pruning, prune, report_of
from tfgates.reconstruction import reconstruct
from tfgates.version import __version__

__all__ = [
    "Budget",
    "GatedModel",
    "GatesWarning",
    "__version__",
    "anatomy",
    "applications",
    "callbacks",
    "compress",
    "cost",
    "costs",
    "finish",
    "freeze_gates",
    "gate_model",
    "gates",
    "graph",
    "importance",
    "layers",
    "models",
    "optimizers",
    "plan_pruning",
    "prune",
    "prune_by",
    "reconstruct",
    "reconstruction",
    "reestimate_statistics",
    "report_of",
    "summary",
]
