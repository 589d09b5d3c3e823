"""What a network costs: dense, expected and actual."""

import dataclasses
from typing import Any

import numpy as np

from tfgates.costs import cost_named
from tfgates.graph.counted import incomplete
from tfgates.graph.lengths import lengthened
from tfgates.graph.shared import networks_shared
from tfgates.pruning.plan import PruningPlan
from tfgates.results import Result, number
from tfgates.selection import Unchanged, expected_cost_of
from tfgates.tables import aligned, whole

# What stands before the name of a cost in attributes and records.
KINDS = ("", "expected_", "dense_")


@dataclasses.dataclass
class LayerCost:
    """What one layer costs.

    For each cost (`tfgates.costs.Cost`) there are three attributes, such as `macs`, `expected_macs` and `dense_macs`.

    Attributes:
        name: the layer.
        actual, expected, dense: the same as dicts from the name of each cost.
    """

    name: str
    actual: dict[str, float]
    expected: dict[str, float]
    dense: dict[str, float]

    @property
    def params(self) -> int:
        """What `tfgates.prune` would leave of its parameters."""
        return round(self.actual["params"])

    @property
    def dense_params(self) -> int:
        """Its parameters with everything kept."""
        return round(self.dense["params"])

    def __getattr__(self, name: str) -> float:
        return _of_cost(self, name)


def _of_cost(of: Any, name: str) -> float:
    """The attribute `NAME`, `expected_NAME` or `dense_NAME` of what has dicts of costs."""
    # Not by attribute: what copies an object asks for attributes before it has any.
    for prefix, kind in (("expected_", "expected"), ("dense_", "dense"), ("", "actual")):
        values = vars(of).get(kind, {})
        if name.startswith(prefix) and name[len(prefix) :] in values:
            return values[name[len(prefix) :]]
    raise AttributeError(f"{type(of).__name__} has no attribute {name!r}")


class NetworkCost(Result):
    """What a network costs, such as parameters and multiply-accumulates (MACs); made by `tfgates.cost`.

    Parameters are counted as Keras's `count_params` does, with the moving averages of batch normalisation
    and without gates. MACs are those of convolutions, dense, attention and recurrent
    layers for one example; biases, normalisations and activations count nothing. A layer for which
    there is no rule is traced, and what it multiplies and sums at inference is counted. Where that
    cannot be known, the layer is in `uncounted`, and the totals of MACs raise a `ValueError` that
    names the layer instead of leaving it out. For your own costs (`tfgates.costs.register_cost`) there are the same
    three attributes, with their names.

    Attributes:
        params, macs: actual: what `tfgates.prune` would leave, to the unit.
        expected_params, expected_macs: the mean over the gates' distribution.
        dense_params, dense_macs: with everything kept.
        actual, expected, dense: the same as dicts from the name of each cost, nan where it is not known.
        layers: list of `LayerCost`; what is not known is nan.
        uncounted: list of pairs (layer, reason): the layers whose MACs are not known.
        unknown: dict from the name of each cost that is not known for all layers to such pairs.
        gated: whether the model has gates; without gates the three are the same.
    """

    def __init__(
        self, model: Any, chosen: bool = True, min_units: int = 0, round_to: int = 1, plan: PruningPlan | None = None
    ) -> None:
        if plan is None:
            plan = PruningPlan(model, min_units, round_to, None if chosen else Unchanged())
        cost = expected_cost_of(model, plan.costs)
        # By call: the calls of a shared layer have one name, and the first of them the cost.
        means = cost.layers(cost.probabilities())
        # Of layers that went in training nothing is left, and they have no call.
        of_calls = [means[row.call] if row.call >= 0 else np.zeros(len(cost.columns)) for row in plan.layers]
        self.layers = [
            LayerCost(row.name, row.left, dict(zip(cost.columns, map(float, mean), strict=True)), row.dense)
            for row, mean in zip(plan.layers, of_calls, strict=True)
        ]
        self.uncounted, self.unknown = plan.uncounted, plan.unknown
        self.gated = bool(cost.gates)
        self.actual, self.dense = plan.left, plan.dense
        self.expected = dict(zip(cost.columns, map(float, means.sum(axis=0)), strict=True))

    def _known(self, name: str) -> float:
        value = _of_cost(self, name)
        if value != value:
            cost = cost_named(next(each for each in self.unknown if name.endswith(each)))
            raise ValueError(
                f"There is no total of {cost.title} where those of a layer are not known; `layers` has the others. "
                f"Received: not counted: {incomplete(self.unknown[cost.name])}"
            )
        return value

    @property
    def params(self) -> int:
        """The parameters that `tfgates.prune` would leave."""
        return round(self._known("params"))

    @property
    def dense_params(self) -> int:
        """The parameters with everything kept."""
        return round(self._known("dense_params"))

    @property
    def macs(self) -> int:
        """The MACs that `tfgates.prune` would leave."""
        return round(self._known("macs"))

    @property
    def dense_macs(self) -> int:
        """The MACs with everything kept."""
        return round(self._known("dense_macs"))

    def __getattr__(self, name: str) -> float:
        return self._known(name)

    def to_dict(self) -> dict[str, Any]:
        """The cost for JSON; what is not known is None."""
        totals = {f"{prefix}{name}": _of_cost(self, f"{prefix}{name}") for prefix in KINDS for name in self.actual}
        return {
            **{name: number(value) for name, value in totals.items()},
            "layers": self.records(),
            "uncounted": [{"layer": name, "reason": reason} for name, reason in self.uncounted],
        }

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each: its name, and what it costs, under the names of the attributes."""
        return [
            {"name": row.name}
            | {f"{prefix}{name}": number(_of_cost(row, f"{prefix}{name}")) for prefix in KINDS for name in row.actual}
            for row in self.layers
        ]

    def expected_columns(self) -> list[tuple[str, ...]]:
        """Texts of what is expected of each cost: headings, layers, totals."""
        numbers = [*(row.expected for row in self.layers), self.expected]
        return [("expected",) * len(self.expected), *(tuple(map(whole, each.values())) for each in numbers)]

    def __repr__(self) -> str:
        costs = [
            f"{name}={whole(value)} of {whole(self.dense[name])} (expected {whole(self.expected[name])})"
            for name, value in self.actual.items()
        ]
        return f"NetworkCost({', '.join(costs)})"

    def __str__(self) -> str:
        # Without gates the three are the same.
        kinds = ["actual", "expected", "dense"] if self.gated else ["actual"]
        head = ["layer"]
        for name in self.actual:
            head += [cost_named(name).title, *kinds[1:]]
        rows = [tuple(head)]
        for title, of in [*((row.name, row) for row in self.layers), ("total", self)]:
            rows.append((title, *(whole(getattr(of, kind)[name]) for name in self.actual for kind in kinds)))
        lines = aligned(rows)
        for name, pairs in self.unknown.items():
            lines.append(f"{cost_named(name).title} not known, so there is no total of them: {incomplete(pairs)}")
        return "\n".join(lines)


def cost(model: Any, chosen: bool = True, min_units: int = 0, round_to: int = 1, length: Any = None) -> NetworkCost:
    """Parameters, MACs and your own costs of a model, per layer and in total: dense, expected and actual.

    Args:
        model: a Sequential or Functional `keras.Model`, with or without gates.
        chosen: bool. True: the actual figures of a model with a budget are those of the units that pruning
            chooses (see `tfgates.plan_pruning`). False: those of its gates as they are now. Defaults to True.
        min_units, round_to: see `tfgates.plan_pruning`.
        length: int, the length of sequences, where the inputs leave it open: the MACs of attention grow with its
            square. Or a dict from the names of inputs to their shapes without the batch. Defaults to None: what
            `gate_model` was given, or sequences of no known length.

    Returns:
        A `tfgates.pruning.NetworkCost`; `print(cost(model))` shows it as a table.

    Raises:
        ValueError: if the model is not a graph of layers, or its budget cannot be met.
    """
    with lengthened(model, length), networks_shared():
        return NetworkCost(model, chosen, min_units, round_to)


def summary(model: Any, print_fn: Any = print) -> None:
    """Prints what each layer and the whole model cost: actual, expected and dense.

    Args:
        model: a Sequential or Functional `keras.Model`, with or without gates.
        print_fn: function that takes the text. Defaults to `print`.

    Raises:
        ValueError: if the model is not a graph of layers.
    """
    print_fn(str(cost(model)))
