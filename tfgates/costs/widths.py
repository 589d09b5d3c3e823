"""What is left of a network for a choice of units: groups of channels, and what they cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgates.costs.terms import Counted
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.gate_places import gate_places
from tfgates.graph.walk import Walk


class Widths:
    """A symbolic walk turned into arrays, so that many choices of units can be compared.

    A choice is one boolean per unit, in the order of the units of the walk. What it leaves is one
    boolean per group of channels, from which the cost follows.

    Args:
        walk: a finished symbolic `Walk`.
        summands: for each call what it costs, and under which formulas.
        costs: the number of costs.

    Attributes:
        root: per group the representative of those that stay or go with it.
        units: for each call the groups of its units, or None where it has none of its own.
        places: list of pairs (number of a gate, groups of the channels it lies on).
    """

    def __init__(self, walk: Walk, summands: Sequence[Sequence[tuple[Counted, int]]], costs: int) -> None:
        self._costs = costs
        self.root = walk.root
        self._implications = walk.implications
        gates: list[Any] = list(dict.fromkeys(gate for gate, _ in walk.units))
        self.places = [(gates.index(gate), groups) for gate, groups in gate_places(walk) if gate in gates]
        self._units = len(walk.units)
        self._formulas: dict[int, int] = {}
        self._alive = self._numbers(walk.alive)
        self._terms(walk, summands)
        self._find_sides(walk)
        self.units = [walk.units_of(node) for node in walk.network.nodes]
        self._used = self._numbers(np.array([walk.used[node.index] for node in walk.network.nodes], np.int64))
        self._compile(walk)

    def _numbers(self, formulas: np.ndarray) -> np.ndarray:
        """Formulas as numbers of their own, in the order in which they are met."""
        distinct, inverse = np.unique(formulas, return_inverse=True)
        own = [self._formulas.setdefault(int(f), len(self._formulas)) for f in distinct]
        return np.array(own, np.int64)[inverse] if len(own) else np.zeros(0, np.int64)

    def _terms(self, walk: Walk, summands: Sequence[Sequence[tuple[Counted, int]]]) -> None:
        sides: dict[bytes, int] = {}
        members, unless = [], []
        rows: list[tuple[Any, ...]] = []
        for number, of_call in enumerate(summands):
            for term, exists in of_call:
                over = []
                for groups in term.over:
                    roots = walk.root[groups]
                    key = roots.tobytes()
                    if key not in sides:
                        sides[key] = len(sides)
                        members.append(roots)
                    over.append(sides[key])
                # What nothing asks for is left to the channels it is made of.
                exists = TRUE if exists == FALSE else exists
                if term.unless is not None:
                    unless.append((len(rows), walk.root[term.unless]))
                rows.append((number, term.amounts, over, exists))
        self._layers = len(walk.network.nodes)
        self._of_side: np.ndarray = np.repeat(np.arange(len(members)), [len(m) for m in members])
        self._members = np.concatenate([np.zeros(0, np.int64), *members])
        self._sides = len(members)
        self._layer = np.array([row[0] for row in rows], np.int64)
        self._amounts = np.array([row[1] for row in rows], np.float64).reshape(-1, self._costs)
        # The last side is the number 1.
        pairs = [[*row[2], self._sides, self._sides][:2] for row in rows]
        self._over = np.array(pairs, np.int64).reshape(-1, 2)
        self._exists = self._numbers(np.array([row[3] for row in rows], np.int64))
        self._added = np.array([row for row, _ in unless], np.int64)
        self._unless = np.concatenate([np.zeros(0, np.int64), *(roots for _, roots in unless)])
        self._of_added = np.cumsum([0, *(len(roots) for _, roots in unless)])[:-1]
        # Of weights that a layer has, not of those that it may get.
        self._whole = np.setdiff1d(np.arange(len(rows)), self._added)

    def _find_sides(self, walk: Walk) -> None:
        found: dict[tuple[Any, ...], list[Any]] = {}
        for node in walk.network.nodes:
            for name, groups in walk.slots.get(id(node.op), {}).items():
                if len(groups):
                    side = found.setdefault((id(node.op), name), [groups, FALSE])
                    side[1] = walk.formulas.some([side[1], walk.used[node.index]])
        self.sides = [groups for groups, _ in found.values()]
        self._side_exists = self._numbers(np.array([exists for _, exists in found.values()], np.int64))

    def _compile(self, walk: Walk) -> None:
        """Formulas as flat lists of conjunctions, conjunctions as flat lists of units."""
        units: list[int] = []
        starts: list[int] = []
        parts: list[int] = []
        firsts: list[int] = []
        # Each conjunction ends with a unit that is always open, each formula with one that never is.
        for formula in self._formulas:
            firsts.append(len(parts))
            for term in walk.formulas.terms[formula]:
                parts.append(len(starts))
                starts.append(len(units))
                units.extend([*sorted(term), self._units])
            parts.append(-1)
        self._unit_lists, self._starts = np.array(units, np.int64), np.array(starts, np.int64)
        self._parts, self._firsts = np.array(parts, np.int64), np.array(firsts, np.int64)

    def truths(self, chosen: np.ndarray) -> np.ndarray:
        """For each formula whether it holds with the units `chosen` open."""
        units: np.ndarray = np.append(np.asarray(chosen, bool), True)
        conjunctions: np.ndarray = np.zeros(0, bool)
        if len(self._starts):
            conjunctions = np.logical_and.reduceat(units[self._unit_lists], self._starts)
        if not len(self._firsts):
            return np.zeros(0, bool)
        return np.logical_or.reduceat(np.append(conjunctions, False)[self._parts], self._firsts)

    def kept(self, truths: np.ndarray) -> np.ndarray:
        """Which groups stay, a boolean per group."""
        return truths[self._alive]

    def used(self, truths: np.ndarray) -> np.ndarray:
        """Which calls are left, a boolean for each."""
        return truths[self._used]

    def sides_left(self, truths: np.ndarray) -> np.ndarray:
        """Which of `sides` belong to layers that are left, as their numbers."""
        return np.flatnonzero(truths[self._side_exists])

    def closure(self, keep: np.ndarray) -> np.ndarray:
        """As `Walk.closure`."""
        keep = keep[self.root] if len(keep) else keep
        for parts, wholes in self._implications:
            np.logical_or.at(keep, wholes, keep[parts])
        return keep[self.root] if len(keep) and self._implications else keep

    def _counts(self, keep: np.ndarray, truths: np.ndarray) -> np.ndarray:
        sides = np.bincount(self._of_side, keep[self._members], minlength=self._sides + 1)
        sides[self._sides] = 1.0
        counts = sides[self._over].prod(axis=1) * truths[self._exists]
        if len(self._added):
            counts[self._added] *= ~np.logical_and.reduceat(keep[self._unless], self._of_added)
        return counts

    def table(self, keep: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """What each layer costs, `(layers, costs)`, when the groups `keep` stay."""
        result = np.zeros((self._layers, self._costs))
        np.add.at(result, self._layer, self._amounts * self._counts(keep, truths)[:, None])
        return result

    def left(self, keep: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """Whether anything is left of each weight that a layer has."""
        return self._counts(keep, truths)[self._whole] > 0.0

    def costs(self, values: Sequence[Any]) -> np.ndarray:
        """`table` for gate values of 0 and 1, one array per gate, without rounding."""
        truths = self.truths(np.concatenate([np.zeros(0), *map(np.ravel, values)]) != 0.0)
        return self.table(self.kept(truths), truths)
