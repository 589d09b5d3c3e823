"""Landing: choosing the units so that the actual cost fits the budget."""

import contextlib

import numpy as np
from keras import ops

# How many of a gate's units are tried, the most open first, where one must stay.
CANDIDATES = 8


class Landing:
    """Which units stay when a model with a budget is pruned.

    Units are ranked by their openness (`Gate.openness`, then by their inference value). As long as the
    actual cost is above a bound, the least certain of the open ones are closed; with `fill`, the
    likeliest of the closed ones are opened while the bounds still hold. At least one unit stays in
    each gate, except in gates on whole branches, and something of every layer.

    Args:
        structure: the `Structure` of the model, with bounds.
        fill: bool, whether to open units too. Defaults to False.

    Attributes:
        values: gate values by gate; empty if nothing has to change.

    Raises:
        ValueError: if no choice fits the bounds.
    """

    def __init__(self, structure, fill=False):
        self._cost, self._bounds = structure.cost, structure.bounds
        gates = self._cost.gates
        tests = [as_array(gate.test_gates()) for gate in gates]
        self._sizes = np.cumsum([0, *(gate.units for gate in gates)])
        self._gate_of = np.repeat(np.arange(len(gates)), [gate.units for gate in gates])
        open_now = np.concatenate([t != 0.0 for t in tests])
        openness = np.concatenate([as_array(gate.openness()) for gate in gates])
        order = np.lexsort((np.abs(np.concatenate(tests)), openness, open_now))[::-1]
        chosen = self._must(openness)
        limit = len(order) if fill else int(open_now.sum())
        chosen = self._largest(order, limit, chosen)
        if not self._fits(chosen, self._bounds):
            raise ValueError(
                "`budget` cannot be landed at: with one unit left in each gated layer it is exceeded. "
                f"Received: {[str(bound) for bound in self._bounds]}"
            )
        if fill:
            self._squeeze_in(order, chosen)
        self.values = {}
        for i, (gate, test) in enumerate(zip(gates, tests, strict=True)):
            keep = chosen[self._units(i)]
            if not np.array_equal(keep, test != 0.0):
                self.values[gate] = self._shaped(gate, np.where(keep, opened(gate, test), 0.0))

    def _units(self, i):
        """Where the units of gate `i` stand among those of all gates."""
        return slice(self._sizes[i], self._sizes[i + 1])

    def _shaped(self, gate, values):
        return values.reshape(gate.unit_shape).astype("float32")

    def _must(self, openness):
        """One unit of each gate on channels: the most open that leave something of every layer, or, if that is
        too much, those that cost least together, or the first of each, for which the budget was checked."""
        for thrifty in (False, True):
            chosen = self._one_each(openness, thrifty)
            if chosen is not None and self._fits(chosen, self._bounds):
                return chosen
        return np.concatenate([np.zeros(0), *self._cost.least_open()]).astype(bool)

    def _one_each(self, openness, thrifty):
        """A choice of one unit per gate, gate by gate with all later ones open; None if a layer ends up empty."""
        chosen, offsets = np.ones(len(openness), bool), [0]
        full = self._cost.left(self._split(chosen))
        for i, gate in enumerate(self._cost.gates):
            if gate.axis is None:
                continue
            ranked = np.argsort(-openness[self._units(i)], kind="stable")
            if thrifty:
                # Where outputs add up, the same unit of both costs less than two different ones.
                ranked = [*ranked[:CANDIDATES], *(offset for offset in offsets if offset < gate.units)]
                ranked = sorted(dict.fromkeys(ranked), key=lambda k: self._excess(self._only(chosen, i, k)))
            for offset in ranked:
                trial = self._only(chosen, i, offset)
                if np.array_equal(self._cost.left(self._split(trial)), full):
                    break
            else:
                return None
            chosen = trial
            offsets.append(int(offset))
        for i, gate in enumerate(self._cost.gates):
            if gate.axis is None:
                chosen[self._units(i)] = False
        return chosen

    def _only(self, chosen, i, offset):
        """`chosen` with this unit alone in gate `i`."""
        trial = chosen.copy()
        trial[self._units(i)] = False
        trial[self._sizes[i] + offset] = True
        return trial

    def _excess(self, chosen):
        return float(np.sum(self._costs(chosen) / [bound.target for bound in self._bounds]))

    def _split(self, chosen):
        return np.split(chosen.astype(float), self._sizes[1:-1])

    def _fits(self, chosen, bounds):
        table = self._cost.layers(self._split(chosen))
        return all(bound.of_table(table) <= bound.target for bound in bounds)

    def _largest(self, order, limit, must):
        """The longest prefix of `order` that fits, one bound after the other."""
        chosen = must.copy()
        chosen[order[:limit]] = True
        matter = self._matters(must) if not self._fits(chosen, self._bounds) else None
        for number, bound in enumerate(self._bounds):
            if self._fits(chosen, [bound]):
                continue
            ranked = [u for u in order if chosen[u] and not must[u] and matter[self._gate_of[u], number]]
            low, high = 0, len(ranked)
            while low < high:
                middle = (low + high + 1) // 2
                trial = chosen.copy()
                trial[ranked[middle:]] = False
                low, high = (middle, high) if self._fits(trial, [bound]) else (low, middle - 1)
            chosen[ranked[low:]] = False
        return chosen

    def _matters(self, must):
        """For each gate and bound whether the cost depends on the gate, with all others open or with few."""
        result = np.zeros((len(self._cost.gates), len(self._bounds)), bool)
        for others in (np.ones(len(must), bool), must):
            for i in range(len(result)):
                costs = []
                for state in (True, False):
                    trial = others.copy()
                    trial[self._units(i)] = state
                    costs.append(self._costs(trial))
                result[i] |= costs[1] < costs[0]
        return result

    def _costs(self, chosen):
        """What each bound counts, an array; the network is gone through once for all of them."""
        table = self._cost.layers(self._split(chosen))
        return np.array([bound.of_table(table) for bound in self._bounds])

    def _squeeze_in(self, order, chosen, tries=200):
        """Opens more units, the likeliest first, where they fit."""
        for unit in [u for u in order if not chosen[u]][:tries]:
            chosen[unit] = True
            if not self._fits(chosen, self._bounds):
                chosen[unit] = False


def as_array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor)).ravel()


def opened(gate, test):
    """Inference values with closed units given what a unit has that is just open, or a little more."""
    if np.all(test != 0.0):
        return test
    smallest = np.min(np.abs(test[test != 0.0]), initial=1.0)
    return np.where(test != 0.0, test, smallest)


@contextlib.contextmanager
def held(values):
    """Within it the gates have the given values: a dict from gate to values."""
    with contextlib.ExitStack() as stack:
        for gate, value in values.items():
            stack.enter_context(gate.held(value))
        yield


def landing_of(model, fill=False):
    """Gate values by gate with which the model keeps its budget; empty without a budget."""
    structure = getattr(model, "_structure", None)
    if structure is None or not structure.bounds:
        return {}
    return Landing(structure, fill).values
