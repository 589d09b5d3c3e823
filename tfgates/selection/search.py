"""The search for the units that fit a budget."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgates.selection.ranking import Ranking
from tfgates.selection.rounding import Rounding, Side

# How many of a gate's units are tried, the first to stay first, where one must stay.
CANDIDATES = 8

# How many units are tried, after the longest beginning that fits, for whether they fit too.
TRIES = 200


class CannotFitError(ValueError):
    """With as little as possible left, the cost is still above a bound.

    Args:
        found: what the bounds count, an array.
        table: what each layer costs, an array `(layers, costs)`.
    """

    def __init__(self, found: np.ndarray, table: np.ndarray) -> None:
        super().__init__(f"{found}")
        self.found, self.table = found, table


class Search:
    """Looks for the units that stay, see `Selection`.

    Args:
        cost: an `ExpectedCost`.
        bounds: list of `Bound`.
        targets: what each bound may count at most, an array.
        rounding: a `Rounding`; the cost after it is what counts.
        ranking: a `Ranking` of the units of all gates of `cost`.
    """

    def __init__(
        self, cost: Any, bounds: Sequence[Any], targets: np.ndarray, rounding: Rounding, ranking: Ranking
    ) -> None:
        self._cost, self._widths, self._gates = cost, cost.widths, cost.gates
        self._bounds, self._targets = bounds, targets
        self._rounding, self._ranking = rounding, ranking
        self._sides: list[Side] = []
        if rounding.asks:
            widths = self._widths
            score = ranking.of_groups([(ranking.gates[i], groups) for i, groups in widths.places], widths.root)
            self._sides = [Side(widths.root, groups, score) for groups in widths.sides]

    def chosen(self) -> np.ndarray:
        """Which units stay, a boolean per unit.

        Raises:
            CannotFitError: if no choice fits.
        """
        chosen = self._largest(self._must())
        if not self._ranking.in_order:
            self._squeeze_in(chosen)
        return self._with_free_units(chosen) if self._rounding.asks else chosen

    def costs(self, chosen: np.ndarray) -> np.ndarray:
        """What each bound counts, an array; the network is gone through once for all of them."""
        table = self._widths.table(*self._kept(chosen))
        return np.array([bound.of_table(table) for bound in self._bounds])

    def left(self, chosen: np.ndarray) -> np.ndarray:
        """Of which units something is left, a boolean per unit: with a closed branch all units inside of it go."""
        keep, _ = self._kept(chosen)
        found = chosen.copy()
        for number, groups in self._widths.places:
            if self._gates[number].axis is not None:
                units = self._ranking.units(number)
                found[units] &= keep[groups].reshape(units.stop - units.start, -1).any(axis=1)
        return found

    # What must stay.

    def _must(self) -> np.ndarray:
        """One unit of each gate on channels: the first in the ranking that leave something of every layer, or, if
        that is too much, those that cost least together, or the first of each, for which the budget was checked."""
        for thrifty in (False, True):
            chosen = self._one_each(thrifty)
            if chosen is not None and self._fits(chosen):
                return chosen
        least = np.concatenate([np.zeros(0), *self._cost.least_open()]).astype(bool)
        if not self._fits(least):
            raise CannotFitError(self.costs(least), self._widths.table(*self._kept(least)))
        return least

    def _one_each(self, thrifty: bool) -> np.ndarray | None:
        """A choice of one unit per gate, gate by gate with all later ones open; None if a layer ends up empty."""
        offsets = [0]
        chosen: np.ndarray = np.ones(len(self._ranking.order), bool)
        full = self._left(chosen)
        for i, gate in enumerate(self._gates):
            if gate.axis is None:
                continue
            ranked = list(np.argsort(-self._ranking.scores[self._ranking.units(i)], kind="stable"))
            if thrifty:
                # Where outputs add up, the same unit of both costs less than two different ones.
                ranked = [*ranked[:CANDIDATES], *(offset for offset in offsets if offset < gate.units)]
                ranked = sorted(dict.fromkeys(ranked), key=lambda k: self._excess(self._only(chosen, i, k)))
            for offset in ranked:
                trial = self._only(chosen, i, offset)
                if np.array_equal(self._left(trial), full):
                    break
            else:
                return None
            chosen = trial
            offsets.append(int(offset))
        for i, gate in enumerate(self._gates):
            if gate.axis is None:
                chosen[self._ranking.units(i)] = False
        return chosen

    def _only(self, chosen: np.ndarray, i: int, offset: int) -> np.ndarray:
        """`chosen` with this unit alone in gate `i`."""
        trial = chosen.copy()
        trial[self._ranking.units(i)] = False
        trial[self._ranking.starts[i] + offset] = True
        return trial

    # What a choice costs.

    def _left(self, chosen: np.ndarray) -> np.ndarray:
        truths = self._widths.truths(chosen)
        return self._widths.left(self._widths.kept(truths), truths)

    def _kept(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The groups that stay with the widths that are asked for, and which formulas hold."""
        widths = self._widths
        truths = widths.truths(chosen)
        keep = widths.kept(truths)
        if self._rounding.asks:
            left = [self._sides[number] for number in widths.sides_left(truths)]
            keep = self._rounding.fill_up(keep, lambda _: left, widths.closure)
        return keep, truths

    def _excess(self, chosen: np.ndarray) -> float:
        return float(np.sum(self.costs(chosen) / [bound.target for bound in self._bounds]))

    def _fits(self, chosen: np.ndarray) -> bool:
        return bool(np.all(self.costs(chosen) <= self._targets))

    # What stays beside.

    def _largest(self, must: np.ndarray) -> np.ndarray:
        """The longest beginning of the ranking that fits, one bound after the other."""
        chosen: np.ndarray = np.ones(len(must), bool)
        matter = self._matters(must) if not self._fits(chosen) else None
        for number, target in enumerate(self._targets):
            if matter is None or self.costs(chosen)[number] <= target:
                continue
            movable = chosen & ~must & matter[self._ranking.gate_of, number]
            ranked = self._ranking.order[movable[self._ranking.order]]
            low, high = 0, len(ranked)
            while low < high:
                middle = (low + high + 1) // 2
                trial = chosen.copy()
                trial[ranked[middle:]] = False
                low, high = (middle, high) if self.costs(trial)[number] <= target else (low, middle - 1)
            chosen[ranked[low:]] = False
        return chosen

    def _matters(self, must: np.ndarray) -> np.ndarray:
        """For each gate and bound whether the cost depends on the gate, with all others open or with few."""
        result: np.ndarray = np.zeros((len(self._gates), len(self._bounds)), bool)
        everything: np.ndarray = np.ones(len(must), bool)
        for others in (everything, must):
            for i in range(len(result)):
                trials = others.copy(), others.copy()
                for trial, state in zip(trials, (True, False), strict=True):
                    trial[self._ranking.units(i)] = state
                whole, without = map(self.costs, trials)
                result[i] |= without < whole
        return result

    def _squeeze_in(self, chosen: np.ndarray) -> None:
        """Opens more units, the first in the ranking first, where they fit."""
        order = self._ranking.order
        for unit in order[~chosen[order]][:TRIES]:
            chosen[unit] = True
            if not self._fits(chosen):
                chosen[unit] = False

    def _with_free_units(self, chosen: np.ndarray) -> np.ndarray:
        """`chosen` with all units whose channels stay for a layer's width."""
        keep, _ = self._kept(chosen)
        free: np.ndarray = np.ones(len(chosen), bool)
        on_channels: np.ndarray = np.zeros(len(self._gates), bool)
        for number, groups in self._widths.places:
            units = self._ranking.units(number)
            free[units] &= keep[groups].reshape(units.stop - units.start, -1).all(axis=1)
            on_channels[number] = self._gates[number].axis is not None
        trial = chosen | (free & on_channels[self._ranking.gate_of])
        return trial if self._fits(trial) else chosen
