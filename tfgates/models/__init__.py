"""A whole network with gates."""

from tfgates.models.gated_model import GatedModel, gates_of

__all__ = ["GatedModel", "gates_of"]
