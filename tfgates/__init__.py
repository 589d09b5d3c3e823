"""tfgates: learn which parts of a Keras network to keep, and remove the rest."""

from tfgates import gates, layers
from tfgates.models import GatedModel

__all__ = ["GatedModel", "gates", "layers"]
