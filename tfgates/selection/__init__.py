"""Which units stay: budget, `min_units` and `round_to` in one choice."""

from tfgates.selection.held import held
from tfgates.selection.preset import PresetSelection
from tfgates.selection.ranking import Ranking, as_array
from tfgates.selection.rounding import Rounding, Side
from tfgates.selection.selection import Selection, Unchanged, choose_units, expected_cost_of

__all__ = [
    "PresetSelection",
    "Ranking",
    "Rounding",
    "Selection",
    "Side",
    "Unchanged",
    "as_array",
    "choose_units",
    "expected_cost_of",
    "held",
]
