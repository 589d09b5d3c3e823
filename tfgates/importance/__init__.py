"""How much each unit matters, judged by weights or gradients instead of learned gates."""

from tfgates.importance.criteria import NAMES, NEEDS_DATA, score_units
from tfgates.importance.taylor import first_order_taylor
from tfgates.importance.units import Units, units_of

__all__ = ["NAMES", "NEEDS_DATA", "Units", "first_order_taylor", "score_units", "units_of"]
