"""The expected cost of the network that would be left, differentiable in the gates."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfgates.costs.circuit import Circuit
from tfgates.costs.protocol import Cost
from tfgates.costs.registry import registered_costs
from tfgates.costs.remainder import WORTH_NAMING, Holder, holders, why_stays
from tfgates.costs.terms import Counted, counted, with_existence
from tfgates.costs.widths import Widths
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.lengths import length_of
from tfgates.graph.rule import rule_of
from tfgates.graph.shared import network_of
from tfgates.graph.walk import symbolic_walk
from tfgates.layers import generated_once


class ExpectedCost:
    """Expected costs over independent gates, as a function of their probabilities.

    There is a column for each cost, parameters and MACs first. For each layer
    `E[params] = size * E[sum_i a_i * sum_o a_o]` with `a_i`, `a_o` in {0, 1} saying
    whether an input or output channel remains. `a` is a formula over the gates' units (a channel
    after an addition remains if any of its summands does, one after two gates if both are open),
    and the expectation is exact for independent units. It takes only one thing for granted: that of
    the many independent units of a layer at least one is open.

    The unit of a column is that of its cost: parameters, multiply-accumulates for one example.

    Args:
        model: a Sequential or Functional `keras.Model` with gates.
        costs: the costs, see `tfgates.costs.Cost`. Defaults to None: all that are registered.

    Attributes:
        gates: the gates that matter, in the order in which probabilities are taken.
        costs: the costs, in the order of the columns.
        columns: their names.
        dense: the costs with everything kept, an array; nan for those in `unknown`.
        length: how long sequences are taken to be, see `tfgates.cost`.
        names, kinds: for the entries that `layers` returns, in order, the layers and the names of their classes.
        unknown: dict from the name of a cost that is not known for all layers to pairs (layer, reason).
        widths: a `Widths`: what remains for a choice of units.
    """

    def __init__(self, model: Any, costs: Sequence[Cost] | None = None) -> None:
        self.costs = registered_costs() if costs is None else tuple(costs)
        self.columns = tuple(cost.name for cost in self.costs)
        self.length = length_of(model)
        shared = np.array([cost.shared for cost in self.costs])
        walk = symbolic_walk(network_of(model))
        self._walk = walk
        self.gates = list(dict.fromkeys(gate for gate, _ in walk.units))
        self._circuit = Circuit(len(walk.units))
        self._sides: list[dict[int, float]] = [{}]
        self._side_ids: dict[frozenset[Any], int] = {}
        self.names: list[str] = []
        self._reasons: list[str] = []
        self.kinds = [type(node.op).__name__ for node in walk.network.nodes]
        self.unknown: dict[str, list[tuple[str, str]]] = {}
        rows: list[tuple[Any, ...]] = []
        # Of each layer, what it costs and under which formula.
        summands: list[list[tuple[Counted, int]]] = []
        for node in walk.network.nodes:
            found, reasons = counted(self.costs, walk, node, rule_of(node).terms(walk, node))
            summands.append(with_existence(walk, node, found, shared))
            for summand, exists in summands[-1]:
                rows.extend(self._rows(summand, exists, len(self.names)))
            self.names.append(node.name)
            self._reasons.append(why_stays(walk, node) if found else "")
            for name, why in reasons.items():
                self.unknown.setdefault(name, []).append((node.name, why))
        self._pack(rows)
        self.widths = Widths(walk, summands, len(self.costs))
        del self._walk

    @property
    def uncounted(self) -> list[tuple[str, str]]:
        """The layers whose MACs are not known, as pairs (layer, reason)."""
        return self.unknown.get("macs", [])

    @property
    def dense_params(self) -> int:
        """The parameters with everything kept."""
        return round(self.dense[self.columns.index("params")])

    @property
    def dense_macs(self) -> float:
        """The MACs with everything kept; nan if `uncounted` names layers."""
        return float(self.dense[self.columns.index("macs")])

    # Turning formulas into arrays.

    def _side(self, formulas: Any, shared: Any) -> int:
        """Number of the sum of probabilities of an array of formulas, the units `shared` open."""
        weights: dict[Any, Any] = {}
        for formula, count in zip(*np.unique(formulas, return_counts=True), strict=True):
            terms = self._walk.formulas.terms[self._walk.formulas.without(formula, shared)]
            for number, coefficient in self._circuit.disjunction(terms).items():
                weights[number] = weights.get(number, 0.0) + coefficient * int(count)
        key = frozenset(weights.items())
        if key not in self._side_ids:
            self._side_ids[key] = len(self._sides)
            self._sides.append(weights)
        return self._side_ids[key]

    def _rows(self, term: Counted, exists: int, layer: int) -> Iterator[tuple[Any, ...]]:
        """A summand as rows `(layer, amounts, shared conjunction, side, side, whether whole)`; side 0 is 1."""
        walk = self._walk
        if term.unless is None:
            yield from self._summands(term, exists, layer, frozenset())
            return
        # Always, less where none of the groups is gone.
        alive = np.unique(walk.alive[term.unless])
        units = frozenset().union(*(t for f in alive for t in walk.formulas.terms[f]))
        for sign, opened in ((1, frozenset()), (-1, units)):
            if sign < 0 and FALSE in alive:
                continue
            for row in self._summands(term, exists, layer, opened):
                yield (layer, sign * row[1], *row[2:5], False)

    def _summands(self, term: Counted, exists: int, layer: int, opened: frozenset[Any]) -> list[tuple[Any, ...]]:
        """The rows of a term where the units `opened` are open."""
        formulas = self._walk.formulas
        arrays = [self._walk.alive[groups] for groups in term.over]
        arrays = [a[a != FALSE] for a in arrays]
        if any(len(a) == 0 for a in arrays):
            return []
        shared = opened | (formulas.common([exists]) if exists != FALSE else frozenset())
        for array in arrays:
            shared = shared | formulas.common(array)
        whole = [all(formulas.without(f, shared) == TRUE for f in np.unique(array)) for array in arrays]
        amount = math.prod(len(array) for array, always in zip(arrays, whole, strict=True) if always)
        arrays = [array for array, always in zip(arrays, whole, strict=True) if not always]
        if len(arrays) < 2 and exists != FALSE and formulas.without(exists, shared) != TRUE:
            # That any of several gates is open: of two sides of channels that is taken for granted.
            arrays.append(np.array([exists]))
        term = dataclasses.replace(term, amounts=term.amounts * amount)
        sides = [self._side(array, shared) for array in arrays] + [0, 0]
        both = self._circuit.conjunction(shared)
        rows = [(layer, term.amounts, both, sides[0], sides[1], True)]
        if len(arrays) == 2:
            rows.extend(self._corrections(term, layer, arrays, shared, both))
        return rows

    def _corrections(self, term: Any, layer: int, arrays: Any, shared: Any, both: Any) -> Iterator[tuple[Any, ...]]:
        """Rows that replace `E[a] E[b]` by `E[a and b]` where the two sides share units."""
        formulas = self._walk.formulas
        owners: dict[Any, Any] = {}
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
                yield (layer, term.amounts * number, both, joint, 0, False)
                yield (layer, -term.amounts * number, both, one, other, False)

    def _pack(self, rows: list[tuple[Any, ...]]) -> None:
        circuit = self._circuit
        circuit.pack()
        entries = [(s, circuit.position(n), w) for s, side in enumerate(self._sides) for n, w in side.items()]
        # Side 0 is the constant 1.
        entries.append((0, 0, 1.0))
        entries.sort()
        self._side_of = np.array([e[0] for e in entries], "int32")
        self._number_of = np.array([e[1] for e in entries], "int32")
        self._weight_of = np.array([e[2] for e in entries], "float32")
        self._layer, self._first, self._second = (np.array([r[i] for r in rows], "int32") for i in (0, 3, 4))
        self._whole = np.array([row[5] for row in rows], bool)
        self._shared = np.array([circuit.position(row[2]) for row in rows], "int32")
        self._amounts = np.array([row[1] for row in rows], np.float64).reshape(-1, len(self.costs))
        self.dense = np.array(self.evaluate([np.ones(gate.units) for gate in self.gates]))

    def _counts(self, values: Sequence[Any]) -> np.ndarray:
        values = [np.ravel(v) for v in values]
        numbers = self._circuit.evaluate(np.concatenate([np.zeros(0), *values]))
        entries = self._weight_of * numbers[self._number_of]
        sides = np.bincount(self._side_of, entries, minlength=len(self._sides))
        return numbers[self._shared] * sides[self._first] * sides[self._second]

    def _terms(self, values: Sequence[Any]) -> np.ndarray:
        return self._amounts * self._counts(values)[:, None]

    # Evaluation.

    def layers(self, values: Sequence[Any]) -> np.ndarray:
        """What each layer costs: an array `(layers, costs)`.

        Args:
            values: one array per gate of `gates`: probabilities, or 0 and 1 for closed and open.
        """
        result = np.zeros((len(self.names), len(self.costs)))
        np.add.at(result, self._layer, self._terms(values))
        return result

    def gated_layers(self) -> np.ndarray:
        """For each entry of `names`, whether its cost depends on gates."""
        full, least = (self._counts([np.full(gate.units, value) for gate in self.gates]) for value in (1.0, 0.0))
        gated: np.ndarray = np.zeros(len(self.names), bool)
        gated[self._layer[full > least]] = True
        return gated

    def left(self, values: Sequence[Any]) -> np.ndarray:
        """Whether anything remains of each weight that a layer has: booleans, for gate values 0 and 1."""
        return self._counts(values)[self._whole] > 0.0

    def holders(self, left: np.ndarray) -> list[Holder]:
        """The layers that account for the largest part of what remains, and why.

        Args:
            left: what each of them costs.
        """
        return holders(self.names, self._reasons, left)

    def unmoved(self, left: np.ndarray) -> list[Holder]:
        """The layers that cost the same whatever the gates do and account for a tenth or more of what remains, and why.

        Args:
            left: what each of them costs.
        """
        found = holders(self.names, self._reasons, np.where(self.gated_layers(), 0.0, left), float(left.sum()))
        return [each for each in found if each.share >= WORTH_NAMING]

    def least_open(self) -> list[np.ndarray]:
        """Gate values with one unit open in each gate, none in a gate on a whole branch."""
        return [np.eye(1, gate.units)[0] * (gate.axis is not None) for gate in self.gates]

    def evaluate(self, values: Sequence[Any]) -> tuple[float, ...]:
        """The costs of the network as floats, for the same `values` as `layers` takes."""
        return tuple(map(float, self._terms(values).sum(axis=0)))

    def probabilities(self) -> list[np.ndarray]:
        """The current open probabilities as numpy arrays, one per gate."""
        return [np.asarray(ops.convert_to_numpy(gate.open_probability())) for gate in self.gates]

    def test_gates(self) -> list[np.ndarray]:
        """The values of the gates at inference as numpy arrays, one per gate."""
        return [np.asarray(ops.convert_to_numpy(gate.test_gates())) for gate in self.gates]

    @property
    def row_layers(self) -> np.ndarray:
        """For each entry of `rows`, the number of its layer."""
        return self._layer

    def rows(self, dense: Any = None) -> Any:
        """The summands of `fractions`, a float32 tensor `(rows, costs)`, differentiable in the gates.

        Args:
            dense: what they are fractions of, a number for each cost. Defaults to None: the cost with everything kept.
        """
        if dense is None:
            dense = np.maximum(self.dense, 1.0)
        amounts = np.nan_to_num(self._amounts / dense).astype("float32")
        # A generator is evaluated once, however many gates ask for their logits.
        with generated_once():
            parts = [ops.reshape(ops.cast(g.openness(), "float32"), (-1,)) for g in self.gates]
        numbers = self._circuit.evaluate_tensor(ops.concatenate([ops.zeros((0,), "float32"), *parts]))
        entries = ops.multiply(ops.take(numbers, self._number_of, axis=0), self._weight_of)
        sides = ops.segment_sum(entries, self._side_of, num_segments=len(self._sides))
        amount = (
            ops.take(numbers, self._shared, axis=0)
            * ops.take(sides, self._first, axis=0)
            * ops.take(sides, self._second, axis=0)
        )
        return ops.multiply(ops.expand_dims(amount, -1), amounts)

    def fractions(self) -> Any:
        """Expected costs as fractions of the dense ones: a float32 tensor `(costs,)`.

        Differentiable in the gates' variables.
        """
        return ops.sum(self.rows(), axis=0)
