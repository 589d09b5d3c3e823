"""A Keras model with gates, and its training step."""

from tfgates.training.gated_model import GatedModel

__all__ = ["GatedModel"]
