"""tfgates: learn which parts of a Keras network to keep, and remove the rest."""

# First: it says what to install where Keras has no backend.
import tfgates.backend  # noqa: F401 (for what it says)
from tfgates import (
    anatomy,
    applications,
    callbacks,
    compression,
    constraints,
    costs,
    gates,
    gating,
    graph,
    importance,
    layers,
    optimizers,
    reconstruction,
    shrinking,
    testing,
    training,
)
from tfgates.compression import Teacher, compress, finish, freeze_gates, prune_by, reestimate_statistics
from tfgates.constraints import Budget
from tfgates.gating import gate_model
from tfgates.notices import GatesWarning
from tfgates.pruning import cost, plan_pruning, prune, report_of, summary
from tfgates.reconstruction import reconstruct
from tfgates.shrinking import fit, shrink
from tfgates.training import GatedModel
from tfgates.version import __version__

__all__ = [
    "Budget",
    "GatedModel",
    "GatesWarning",
    "Teacher",
    "__version__",
    "anatomy",
    "applications",
    "callbacks",
    "compress",
    "compression",
    "constraints",
    "cost",
    "costs",
    "finish",
    "fit",
    "freeze_gates",
    "gate_model",
    "gates",
    "gating",
    "graph",
    "importance",
    "layers",
    "optimizers",
    "plan_pruning",
    "prune",
    "prune_by",
    "reconstruct",
    "reconstruction",
    "reestimate_statistics",
    "report_of",
    "shrink",
    "shrinking",
    "summary",
    "testing",
    "training",
]
