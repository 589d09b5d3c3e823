"""tfgates: learn which parts of a Keras network to keep, and remove the rest."""

from tfgates import gates, graph, layers
from tfgates.models import GatedModel
from tfgates.pruning import plan_pruning, prune

__all__ = ["GatedModel", "gates", "graph", "layers", "plan_pruning", "prune"]
