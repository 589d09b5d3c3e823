"""In which order units stay."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as a flat array of numpy."""
    return np.asarray(ops.convert_to_numpy(tensor)).ravel()


class Ranking:
    """All units of all gates in the order in which they stay.

    With the gates as they are: the open units first, then by `Gate.openness`, then by the inference value. With
    `scores`: only by the scores, where all units count as open with a gate value of 1. Units that nothing tells
    apart are spread: any number of the first of them has the same share of each gate.

    Args:
        gates: list of gates.
        scores: None, or a dict from each gate to the importance of its units.
        in_order: bool, whether no unit may stay that comes after one that is removed.

    Attributes:
        order: numbers of the units, the one that stays longest first.
        values: per gate, the values of its units at inference.
        open_now: boolean per unit.
        scores: float per unit.
    """

    def __init__(
        self, gates: Sequence[Any], scores: Mapping[Any, np.ndarray] | None = None, in_order: bool = False
    ) -> None:
        self.in_order = in_order
        self.gates = list(gates)
        self.starts = np.cumsum([0, *(gate.units for gate in gates)])
        self.gate_of: np.ndarray = np.repeat(np.arange(len(self.gates)), [gate.units for gate in gates])
        if scores is None:
            self.values = [as_array(gate.test_gates()) for gate in gates]
            found = [as_array(gate.openness()) for gate in gates]
        else:
            self.values = [np.ones(gate.units, "float32") for gate in gates]
            found = [np.ravel(scores[gate]) for gate in gates]
        self.scored = scores is not None
        self.scores = np.concatenate([np.zeros(0), *found])
        values = np.concatenate([np.zeros(0), *self.values])
        self.open_now = values != 0.0
        self.order = spread_order([self.open_now, self.scores, np.abs(values)], self.gate_of)

    def units(self, gate: int) -> slice:
        """Where the units of a gate stand among those of all gates."""
        return slice(self.starts[gate], self.starts[gate + 1])

    def of_groups(self, places: Iterable[tuple[Any, np.ndarray]], root: np.ndarray) -> np.ndarray:
        """For each group of channels the highest score of the gates on it.

        Args:
            places: pairs of a gate and the groups that it lies on.
            root: per group the representative of those that stay or are removed with it.
        """
        number = {gate: i for i, gate in enumerate(self.gates)}
        result = np.full(len(root), -np.inf)
        for gate, groups in places:
            if gate in number:
                own = self.scores[self.units(number[gate])]
                np.maximum.at(result, root[groups], np.repeat(own, len(groups) // len(own)))
        return result


def spread_order(keys: Sequence[np.ndarray], owner: np.ndarray) -> np.ndarray:
    """Positions sorted by `keys`, the first one first, the largest first; equal ones spread over owners.

    The j-th of n equal ones of an owner stands at (j + 1/2) / n among all that are equal.
    """
    count = len(owner)
    if not count:
        return np.zeros(0, np.int64)
    columns = [-np.asarray(key, np.float64) for key in keys]
    order = np.lexsort((owner, *reversed(columns)))
    sorted_keys = np.stack([column[order] for column in columns])
    tie = np.r_[False, np.any(sorted_keys[:, 1:] != sorted_keys[:, :-1], axis=0)].cumsum()
    by = owner[order]
    first = np.flatnonzero(np.r_[True, (tie[1:] != tie[:-1]) | (by[1:] != by[:-1])])
    length = np.diff(np.r_[first, count])
    place = np.arange(count) - np.repeat(first, length)
    share = (place + 0.5) / np.repeat(length, length)
    return order[np.lexsort((by, share, tie))]
