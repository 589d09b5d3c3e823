"""Whole ways from a network to a smaller one: `compress`, `prune_by`, `finish`, and their parts."""

from tfgates.compression.compress import compress
from tfgates.compression.finish import finish
from tfgates.compression.freezing import freeze_gates
from tfgates.compression.prune_by import prune_by
from tfgates.compression.statistics import reestimate_statistics
from tfgates.compression.teacher import Teacher

__all__ = ["Teacher", "compress", "finish", "freeze_gates", "prune_by", "reestimate_statistics"]
