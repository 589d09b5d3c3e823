"""What a network costs: dense, expected and actual."""

import dataclasses
from typing import Any

from tfgates.costs.expected import ExpectedCost
from tfgates.graph.counted import incomplete
from tfgates.pruning.plan import PruningPlan
from tfgates.results import Result, number
from tfgates.selection import Unchanged
from tfgates.tables import aligned, whole


@dataclasses.dataclass
class LayerCost:
    """The cost of one layer; MACs are for one example."""

    name: str
    params: int
    macs: float
    expected_params: float
    expected_macs: float
    dense_params: int
    dense_macs: float


class Cost(Result):
    """Parameters and multiply-accumulates (MACs) of a network; made by `tfgates.cost`.

    Parameters are counted as Keras's `count_params` does, moving averages of batch normalisation
    included, gates excluded. MACs are those of convolutions, dense, attention and recurrent
    layers for one example; biases, normalisations and activations count nothing. A layer for which
    there is no rule is traced, and what it multiplies and sums at inference is counted. Where that
    cannot be known, the layer is in `uncounted`, and the totals of MACs raise a `ValueError` that
    names it rather than leave it out.

    Attributes:
        params, macs: actual: what `tfgates.prune` would leave, to the unit.
        expected_params, expected_macs: the mean over the gates' distribution.
        dense_params, dense_macs: with everything kept.
        layers: list of `LayerCost`; MACs that are not known are nan.
        uncounted: list of pairs (layer, reason): whose MACs are not known.
        gated: whether the model has gates, without which the three are the same.
    """

    def __init__(
        self, model: Any, chosen: bool = True, min_units: int = 0, round_to: int = 1, plan: PruningPlan | None = None
    ) -> None:
        if plan is None:
            plan = PruningPlan(model, min_units, round_to, None if chosen else Unchanged())
        expected = ExpectedCost(model)
        # By call: the calls of a shared layer have one name, and the first of them the cost.
        means = expected.layers(expected.probabilities())
        self.layers = [
            LayerCost(
                row.name,
                row.params_left,
                row.macs_left,
                float(means[row.call][0]),
                float(means[row.call][1]),
                row.params,
                row.macs,
            )
            for row in plan.layers
        ]
        self.uncounted = plan.uncounted
        self.gated = bool(expected.gates)
        self.params, self._macs = plan.params, plan.macs
        self.dense_params, self._dense_macs = plan.dense_params, plan.dense_macs
        self.expected_params, self._expected_macs = map(float, means.sum(axis=0))

    def _known(self, macs):
        if macs != macs:
            raise ValueError(
                "There is no total of MACs where those of a layer are not known; `layers` has the others. "
                f"Received: not counted: {incomplete(self.uncounted)}"
            )
        return macs

    @property
    def macs(self):
        return round(self._known(self._macs))

    @property
    def dense_macs(self):
        return round(self._known(self._dense_macs))

    @property
    def expected_macs(self):
        return self._known(self._expected_macs)

    def to_dict(self) -> dict[str, Any]:
        """The cost for JSON; MACs are None where a dimension is unknown."""
        totals = {"macs": self._macs, "expected_macs": self._expected_macs, "dense_macs": self._dense_macs}
        totals |= {name: getattr(self, name) for name in ("params", "expected_params", "dense_params")}
        return {
            **{name: number(value) for name, value in totals.items()},
            "layers": self.records(),
            "uncounted": [{"layer": name, "reason": reason} for name, reason in self.uncounted],
        }

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each, with the fields of `LayerCost`."""
        records = [dataclasses.asdict(layer) for layer in self.layers]
        return [{name: v if name == "name" else number(v) for name, v in record.items()} for record in records]

    def expected_columns(self) -> list[tuple[str, str]]:
        """Texts of the expected parameters and MACs: headings, layers, totals."""
        numbers = [(layer.expected_params, layer.expected_macs) for layer in self.layers]
        numbers.append((self.expected_params, self._expected_macs))
        return [("expected", "expected"), *((whole(params), whole(macs)) for params, macs in numbers)]

    def __repr__(self):
        return (
            f"Cost(params={self.params:,} of {self.dense_params:,} (expected {self.expected_params:,.0f}), "
            f"macs={whole(self._macs)} of {whole(self._dense_macs)} (expected {whole(self._expected_macs)}))"
        )

    def __str__(self):
        head = ("layer", "parameters", "expected", "dense", "MACs", "expected", "dense")
        rows = [head]
        total = ("total", self.params, self.expected_params, self.dense_params)
        total += (self._macs, self._expected_macs, self._dense_macs)
        for row in [
            *(
                (c.name, c.params, c.expected_params, c.dense_params, c.macs, c.expected_macs, c.dense_macs)
                for c in self.layers
            ),
            total,
        ]:
            rows.append((row[0], *map(whole, row[1:])))
        # Without gates the three are the same.
        shown = range(len(head)) if self.gated else (0, 1, 4)
        lines = aligned([tuple(row[i] for i in shown) for row in rows])
        if self.uncounted:
            lines.append(f"MACs not known, so there is no total of them: {incomplete(self.uncounted)}")
        return "\n".join(lines)


def cost(model: Any, chosen: bool = True, min_units: int = 0, round_to: int = 1) -> Cost:
    """Parameters and MACs of a model, per layer and in total: dense, expected and actual.

    Args:
        model: a Sequential or Functional `keras.Model`, with or without gates.
        chosen: bool. True: the actual figures of a model with a budget are those of the units that pruning
            chooses (see `tfgates.plan_pruning`). False: as its gates stand. Defaults to True.
        min_units, round_to: see `tfgates.plan_pruning`.

    Returns:
        A `Cost`; `print(cost(model))` shows it as a table.

    Raises:
        ValueError: if the model is no graph of layers, or its budget cannot be kept.
    """
    return Cost(model, chosen, min_units, round_to)


def summary(model, print_fn=print):
    """Prints parameters and MACs per layer and in total: actual, expected and dense.

    Args:
        model: a Sequential or Functional `keras.Model`, with or without gates.
        print_fn: function that takes the text. Defaults to `print`.

    Raises:
        ValueError: if the model is no graph of layers.
    """
    print_fn(str(cost(model)))
