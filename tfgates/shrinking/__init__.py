"""Training that gets cheaper while it prunes: units that are closed for good are removed on the way."""

from tfgates.shrinking.candidates import candidates_of
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.shrinking.shrink import ShrinkingError, plan_shrinking, shrink

__all__ = ["ShrinkingError", "ShrinkingPlan", "candidates_of", "plan_shrinking", "shrink"]
