"""The expected cost of the network that would be left, differentiable in the gates."""

import itertools

import numpy as np
from keras import ops

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.rule import rule_for
from tfgates.graph.walk import Walk

# Conjunctions that share units are expanded exactly up to this many; more are taken as independent.
MOST_EXPANDED = 6


class ExpectedCost:
    """Expected parameters and MACs over independent gates, as a function of their probabilities.

    For each layer `E[params] = size * E[sum_i a_i * sum_o a_o]` with `a_i`, `a_o` in {0, 1} saying
    whether an input or output channel is left. `a` is a formula over the gates' units (a channel
    behind an addition is left if any of its summands is, one behind two gates if both are open),
    and the expectation is exact for independent units. The one thing taken for granted is that of
    the many independent units of a layer at least one is open.

    The unit is parameters, and multiply-accumulates for one example.

    Args:
        model: a Sequential or Functional `keras.Model` with gates.

    Attributes:
        gates: the gates that matter, in the order in which probabilities are taken.
        dense_params, dense_macs: the cost with everything kept.
        names: the layers, in order, of the entries that `layers` returns.
    """

    def __init__(self, model):
        walk = Walk(model, symbolic=True)
        self._walk = walk
        self._gates_and_offsets(walk)
        self._conjunctions, self._conjunction_ids = [], {}
        self._basics, self._basic_ids = [], {}
        self._sides, self._side_ids = [{}], {}
        self._always = self._conjunction(frozenset())
        self.names = []
        rows = []
        for node in walk.network.nodes:
            for term in rule_for(node.op).terms(walk, node):
                rows.extend(self._rows(term, len(self.names)))
            self.names.append(node.name)
        self._pack(rows)
        del self._walk

    def _gates_and_offsets(self, walk):
        self.gates = list(dict.fromkeys(gate for gate, _ in walk.units))

    # Turning formulas into arrays.

    def _conjunction(self, units):
        if units not in self._conjunction_ids:
            self._conjunction_ids[units] = len(self._conjunctions)
            self._conjunctions.append(sorted(units))
        return self._conjunction_ids[units]

    def _basic(self, conjunctions):
        """Number of `1 - prod(1 - p)` over `conjunctions`, taken to be independent."""
        key = frozenset(conjunctions)
        if key not in self._basic_ids:
            self._basic_ids[key] = len(self._basics)
            self._basics.append(sorted(key))
        return self._basic_ids[key]

    def _expand(self, terms):
        """`{basic: coefficient}` whose weighted sum is the probability of a disjunction."""
        terms = list(terms)
        if not terms:
            return {}
        count = sum(len(t) for t in terms)
        independent = count == len(frozenset().union(*terms))
        if independent or len(terms) > MOST_EXPANDED:
            return {self._basic([self._conjunction(t) for t in terms]): 1.0}
        found = {}
        for size in range(1, len(terms) + 1):
            for chosen in itertools.combinations(terms, size):
                basic = self._basic([self._conjunction(frozenset().union(*chosen))])
                found[basic] = found.get(basic, 0.0) + (-1.0) ** (size + 1)
        return found

    def _side(self, formulas, shared):
        """Number of the sum of probabilities of an array of formulas, the units `shared` open."""
        weights = {}
        for formula, count in zip(*np.unique(formulas, return_counts=True), strict=True):
            terms = self._walk.formulas.terms[self._walk.formulas.without(formula, shared)]
            for basic, coefficient in self._expand(terms).items():
                weights[basic] = weights.get(basic, 0.0) + coefficient * int(count)
        key = frozenset(weights.items())
        if key not in self._side_ids:
            self._side_ids[key] = len(self._sides)
            self._sides.append(weights)
        return self._side_ids[key]

    def _rows(self, term, layer):
        """A term as rows `(layer, params, macs, shared conjunction, side, side)`; side 0 is 1."""
        formulas = self._walk.formulas
        arrays = [self._walk.alive[groups] for groups in term.over]
        arrays = [a[a != FALSE] for a in arrays]
        if any(len(a) == 0 for a in arrays):
            return []
        shared = formulas.common([term.exists]) if term.exists != FALSE else frozenset()
        for array in arrays:
            shared = shared | formulas.common(array)
        sides = [self._side(array, shared) for array in arrays] + [0, 0]
        both = self._conjunction(shared)
        rows = [(layer, term.params, term.macs, both, sides[0], sides[1])]
        if len(arrays) == 2:
            rows.extend(self._corrections(term, layer, arrays, shared, both))
        return rows

    def _corrections(self, term, layer, arrays, shared, both):
        """Rows that replace `E[a] E[b]` by `E[a and b]` where the two sides share units."""
        formulas = self._walk.formulas
        owners = {}
        left, right = (dict(zip(*np.unique(a, return_counts=True), strict=True)) for a in arrays)
        units = {f: frozenset().union(*formulas.terms[f]) - shared for f in {*left, *right} if f != TRUE}
        for f in right:
            for unit in units.get(f, ()):
                owners.setdefault(unit, set()).add(f)
        for a, count in left.items():
            partners = set().union(*(owners.get(unit, ()) for unit in units.get(a, ())))
            for b in sorted(partners):
                number = int(count) * int(right[b])
                joint = self._side(np.array([formulas.both(a, b).item()]), shared)
                one, other = (self._side(np.array([f]), shared) for f in (a, b))
                yield (layer, term.params * number, term.macs * number, both, joint, 0)
                yield (layer, -term.params * number, -term.macs * number, both, one, other)

    def _pack(self, rows):
        units = self._walk.units
        start, offsets = 0, {}
        for gate in self.gates:
            offsets[gate] = start
            start += gate.units
        place = [offsets[gate] + index for gate, index in units]
        self._conjunction_table = padded([[place[u] for u in c] for c in self._conjunctions], start)
        self._basic_table = padded(self._basics or [[0]], len(self._conjunctions))
        entries = [(s, b, w) for s, side in enumerate(self._sides) for b, w in side.items()]
        self._side_of = np.array([e[0] for e in entries] or [0], "int32")
        self._basic_of = np.array([e[1] for e in entries] or [0], "int32")
        self._weight_of = np.array([e[2] for e in entries] or [0.0], "float32")
        rows = [(layer, p, m, c, a, b) for layer, p, m, c, a, b in rows]
        self._layer, self._shared, self._first, self._second = (
            np.array([row[i] for row in rows], "int32") for i in (0, 3, 4, 5)
        )
        self._amounts = np.array([[row[1], row[2]] for row in rows], np.float64).reshape(-1, 2)
        ones = [np.ones(gate.units, "float32") for gate in self.gates]
        dense = self._evaluate_numpy(ones)
        self.dense_params, self.dense_macs = round(float(dense[0])), float(dense[1])

    def _evaluate_numpy(self, values):
        return self._rows_numpy(values)[1].sum(axis=0)

    def _rows_numpy(self, values):
        p = np.concatenate([*[np.ravel(v).astype(np.float64) for v in values], [1.0]])
        conjunction = np.concatenate([p[self._conjunction_table].prod(axis=-1), [0.0]])
        basic = 1.0 - (1.0 - conjunction[self._basic_table]).prod(axis=-1)
        sides = np.bincount(
            self._side_of, self._weight_of * basic[self._basic_of], minlength=len(self._sides)
        )
        sides[0] = 1.0
        amount = conjunction[self._shared] * sides[self._first] * sides[self._second]
        return self._layer, self._amounts * amount[:, None]

    # Evaluation.

    def layers(self, values):
        """Parameters and MACs of each layer: an array `(layers, 2)`.

        Args:
            values: one array per gate of `gates`: probabilities, or 0 and 1 for closed and open.
        """
        layer, amounts = self._rows_numpy(values)
        result = np.zeros((len(self.names), 2))
        np.add.at(result, layer, amounts)
        return result

    def evaluate(self, values):
        """Parameters and MACs as two floats, for the same `values` as `layers` takes."""
        params, macs = self._evaluate_numpy(values)
        return float(params), float(macs)

    def probabilities(self):
        """The current open probabilities as numpy arrays, one per gate."""
        return [np.asarray(ops.convert_to_numpy(gate.open_probability())) for gate in self.gates]

    def fractions(self):
        """Expected cost as fractions of the dense cost: a float32 tensor `(2,)`, params and MACs.

        Differentiable in the gates' variables.
        """
        dense = np.array([max(self.dense_params, 1), max(self.dense_macs, 1.0)])
        amounts = np.nan_to_num(self._amounts / dense).astype("float32")
        if not self.gates:
            return ops.convert_to_tensor(np.ones(2, "float32"))
        parts = [ops.reshape(ops.cast(gate.open_probability(), "float32"), (-1,)) for gate in self.gates]
        p = ops.concatenate([*parts, ops.ones((1,), "float32")])
        conjunction = ops.prod(ops.take(p, self._conjunction_table, axis=0), axis=-1)
        conjunction = ops.concatenate([conjunction, ops.zeros((1,), "float32")])
        basic = 1.0 - ops.prod(1.0 - ops.take(conjunction, self._basic_table, axis=0), axis=-1)
        entries = ops.take(basic, self._basic_of, axis=0) * self._weight_of
        sides = ops.segment_sum(entries, self._side_of, num_segments=len(self._sides))
        one = np.zeros(len(self._sides), "float32")
        one[0] = 1.0
        sides = ops.where(one > 0, ops.convert_to_tensor(one), sides)
        amount = (
            ops.take(conjunction, self._shared, axis=0)
            * ops.take(sides, self._first, axis=0)
            * ops.take(sides, self._second, axis=0)
        )
        return ops.sum(ops.expand_dims(amount, -1) * amounts, axis=0)


def padded(lists, filler):
    """Lists of integers as the rows of one array, filled up with `filler`."""
    width = max([1, *map(len, lists)])
    return np.array([[*row, *[filler] * (width - len(row))] for row in lists], "int32").reshape(-1, width)
