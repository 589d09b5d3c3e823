"""Recovery without labels: weights by least squares."""

from tfgates.reconstruction.layerwise import Reconstruction, reconstruct

__all__ = ["Reconstruction", "reconstruct"]
