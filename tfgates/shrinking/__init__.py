"""Training that gets cheaper while it prunes: units that are closed for good are removed on the way."""

from tfgates.shrinking.candidates import candidates_of
from tfgates.shrinking.parts import fit
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.shrinking.shrink import ShrinkingError, plan_shrinking, shrink
from tfgates.shrinking.watch import Shrinking

__all__ = ["Shrinking", "ShrinkingError", "ShrinkingPlan", "candidates_of", "fit", "plan_shrinking", "shrink"]
