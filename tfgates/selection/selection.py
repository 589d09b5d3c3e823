"""Choosing the units so that the cost of what is left fits the budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgates.costs import Cost, ExpectedCost, registered_costs
from tfgates.costs.remainder import BudgetError
from tfgates.graph.lengths import length_of
from tfgates.selection.ranking import Ranking, as_array
from tfgates.selection.rounding import Rounding
from tfgates.selection.search import CannotFitError, Search

# How often a choice is made again for what the network costs that it leaves.
ROUNDS = 25

# The openness below which a unit is not counted among those that training left open.
COUNTS_AS_OPEN = 0.05

# The share of what training left open from which on it is worth a warning that it is closed.
WORTH_A_WARNING = 0.1


class Selection:
    """Which units stay when a model with a budget is pruned.

    Units are ranked (`Ranking`). The longest beginning of the ranking that fits every bound stays. After
    it, single units that fit too stay, and units whose channels are kept for their layer's width anyway. At
    least one unit stays in each gate, except in gates on whole branches, and something of every layer. A
    bound is compared with the cost after `rounding`.

    Args:
        structure: the `Structure` of the model, with bounds.
        rounding: a `Rounding`.
        scores, in_order: see `Ranking`.
        targets: the largest count allowed for each bound, if not its target.
        round: how often the choice has been repeated.

    Attributes:
        values: gate values by gate, for the gates that have to change; with `scores`, for all.

    Raises:
        ValueError: if no choice fits the bounds.
    """

    def __init__(
        self,
        structure: Any,
        rounding: Rounding,
        scores: Any = None,
        in_order: bool = False,
        targets: np.ndarray | None = None,
        round: int = 0,
    ) -> None:
        self._structure, self._bounds, self._rounding = structure, structure.bounds, rounding
        self._scores, self._in_order, self._round = scores, in_order, round
        self._targets = np.array([bound.target for bound in self._bounds]) if targets is None else targets
        self._gates = structure.cost.gates
        self._ranking = ranking = Ranking(self._gates, scores, in_order)
        self._search = Search(structure.cost, self._bounds, self._targets, rounding, ranking)
        try:
            self._chosen = chosen = self._search.chosen()
        except CannotFitError as error:
            columns = {bound.name: error.table[:, bound.column] for bound in self._bounds}
            raise self._impossible(error.found, columns) from None
        self.values = {}
        for i, (gate, test) in enumerate(zip(self._gates, ranking.values, strict=True)):
            keep = chosen[ranking.units(i)]
            if scores is not None or not np.array_equal(keep, test != 0.0):
                values = np.where(keep, opened(test), 0.0)
                self.values[gate] = values.reshape(gate.unit_shape).astype("float32")

    def of_groups(self, places: Any, root: np.ndarray) -> np.ndarray:
        """See `Ranking.of_groups`."""
        return self._ranking.of_groups(places, root)

    def tighter(self, table: Mapping[str, np.ndarray]) -> "Selection | None":
        """None if the pruned network fits the budget, else another, smaller choice.

        Args:
            table: by the name of each cost what each layer costs.

        What is counted on symbols is never less than what remains, for any rule that keeps to its contract.
        """
        found = np.array([bound.of_column(table[bound.name]) for bound in self._bounds])
        targets = np.array([bound.target for bound in self._bounds])
        above = found > targets
        if not above.any():
            return None
        if self._round == ROUNDS:
            raise self._impossible(found, table)
        excess = found - targets
        # By as much as it is above; where that is far, by the same factor, so as not to go below what fits.
        lower = np.where(excess < 0.1 * targets, self._targets - excess, self._targets * targets / np.maximum(found, 1))
        targets = np.where(above, lower, self._targets)
        try:
            return Selection(self._structure, self._rounding, self._scores, self._in_order, targets, self._round + 1)
        except ValueError:
            raise self._impossible(found, table) from None

    def _impossible(self, found: np.ndarray, table: Mapping[str, np.ndarray]) -> ValueError:
        least = self._rounding.least
        asked = f" (for {self._rounding})" if self._rounding.asks else ""
        pairs = [
            f"{bound}: {cost:,.0f} for a budget of {bound.target:,.0f}"
            for bound, cost in zip(self._bounds, found, strict=True)
            if cost > bound.target
        ]
        above = (bound for bound, cost in zip(self._bounds, found, strict=True) if cost > bound.target)
        first = next(above, self._bounds[0])
        return BudgetError(
            f"`budget` cannot be kept: with {least} left in each gated layer{asked} it is exceeded.",
            f"{'; '.join(pairs) or [str(bound) for bound in self._bounds]}",
            self._structure.holders(first, table[first.name]),
        )

    # What it says of itself.

    def changes(self) -> list[tuple[str, str]]:
        """Pairs (gate, how many units are closed and opened in it)."""
        found, left = [], self._search.left(self._chosen)
        for i, gate in enumerate(self._gates):
            units = self._ranking.units(i)
            before = self._ranking.open_now[units]
            closed, opened = before & ~self._chosen[units], left[units] & ~before
            counts = (("closes", int(np.sum(closed))), ("opens", int(np.sum(opened))))
            text = ", ".join(f"{verb} {count}" for verb, count in counts if count)
            if text:
                found.append((gate.name, text))
        return found

    def unmoved(self, table: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
        """Pairs (layer, how much of what remains it accounts for whatever gates do, and why), for the first bound.

        Args:
            table: see `tighter`.
        """
        name = self._bounds[0].name
        found = self._structure.cost.unmoved(table[name])
        return [(each.name, f"{each.share:.0%} of the {name} that are left: {each.why}") for each in found]

    def warning(self) -> str | None:
        """What to say where more than a tenth of what training had left open is closed, or more than a tenth of what
        stays is opened, else None."""
        if self._ranking.scored:
            return None
        # Methods without noise do not come to 0: units that count next to nothing are as good as closed.
        open_before = self._ranking.open_now & (self._ranking.scores >= COUNTS_AS_OPEN)
        before, after = self._search.costs(open_before), self._search.costs(self._chosen)
        opened, closed = int(open_before.sum()), int(np.sum(open_before & ~self._chosen))
        share = closed / max(opened, 1)
        left = self._search.left(self._chosen)
        late, stay = int(np.sum(left & ~self._ranking.open_now)), int(left.sum())
        too_much = bool(np.any(np.append(1.0 - after / np.maximum(before, 1.0), share) > WORTH_A_WARNING))
        too_little = late > WORTH_A_WARNING * stay and bool(np.any(after > (1.0 + WORTH_A_WARNING) * before))
        if not too_much and not too_little:
            return None
        costs = ", ".join(
            f"{bound} {old / bound.dense:.2f} of the dense cost, {new / bound.dense:.2f} chosen"
            for bound, old, new in zip(self._bounds, before, after, strict=True)
            if bound.layer is None
        )
        if not too_much:
            return (
                f"Training had closed more than the budget asks for: {late:,} of the {stay:,} units that stay "
                f"({late / stay:.0%}) are opened at once{f' ({costs})' if costs else ''}, of which the weights know "
                "nothing. With few steps gates close too fast: train longer with gates (`epochs`), or fine-tune what "
                "is left."
            )
        return (
            f"Training had not come down to the budget: to keep it, {closed:,} of the {opened:,} units "
            f"that training left open ({share:.0%}) are closed at once{f' ({costs})' if costs else ''}, of which the "
            "weights know nothing. Train longer with gates (`epochs`), do not stop before the budget's ramp "
            "has ended, or fine-tune what is left."
        )


class Unchanged:
    """The choice for a model without a budget: the gates as they are."""

    def __init__(self) -> None:
        self.values: dict[Any, np.ndarray] = {}

    def tighter(self, table: Mapping[str, np.ndarray]) -> None:
        return None

    def of_groups(self, places: Any, root: np.ndarray) -> np.ndarray:
        """For each group of channels the highest open probability of the gates on it."""
        places = list(places)
        gates = list(dict.fromkeys(gate for gate, _ in places))
        return Ranking(gates, {gate: as_array(gate.open_probability()) for gate in gates}).of_groups(places, root)

    def changes(self) -> list[tuple[str, str]]:
        return []

    def unmoved(self, table: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
        return []

    def warning(self) -> str | None:
        return None


def opened(test: np.ndarray) -> np.ndarray:
    """Inference values with closed units given what a unit has that is just open, or a little more."""
    if np.all(test != 0.0):
        return test
    smallest: float = np.min(np.abs(test[test != 0.0]), initial=1.0)
    return np.where(test != 0.0, test, smallest)


def choose_units(model: Any, rounding: Rounding, scores: Any = None, in_order: bool = False) -> "Selection | Unchanged":
    """The choice of units with which a model meets its budget; without a budget, the gates as they are."""
    structure = getattr(model, "_structure", None)
    if structure is None or not structure.bounds:
        return Unchanged()
    return Selection(structure, rounding, scores, in_order)


def expected_cost_of(model: Any, costs: Sequence[Cost] | None = None) -> ExpectedCost:
    """The `ExpectedCost` of a model: the one that it has been analysed for already, else a new one.

    Args:
        model: as for `ExpectedCost`; for a `GatedModel` with a budget or penalty, or one that was trained, it is known.
        costs: the costs. Defaults to None: all that are registered.
    """
    costs = registered_costs() if costs is None else tuple(costs)
    structure = getattr(model, "_structure", None)
    if structure is not None and (structure.cost.costs, structure.cost.length) == (costs, length_of(model)):
        return structure.cost
    return ExpectedCost(model, costs)
