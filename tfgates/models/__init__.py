"""A whole network with gates."""

from tfgates.models.check import GatingError
from tfgates.models.compress import compress
from tfgates.models.finish import finish
from tfgates.models.finishing import freeze_gates, reestimate_statistics
from tfgates.models.gate_model import gate_model
from tfgates.models.gated_model import GatedModel, gates_of
from tfgates.models.prune_by import prune_by
from tfgates.models.teacher import Teacher

__all__ = [
    "GatedModel",
    "GatingError",
    "Teacher",
    "compress",
    "finish",
    "freeze_gates",
    "gate_model",
    "gates_of",
    "prune_by",
    "reestimate_statistics",
]
