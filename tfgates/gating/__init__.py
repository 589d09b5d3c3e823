"""Gates for a whole network: where they can go, and the network with gates there."""

from tfgates.gating.check import GatingError
from tfgates.gating.gate_model import gate_model

__all__ = ["GatingError", "gate_model"]
