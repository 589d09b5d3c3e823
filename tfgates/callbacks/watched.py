"""The numbers that `SparsityMonitor` shows."""

from typing import Any

import keras
import numpy as np

from tfgates.costs import ExpectedCost
from tfgates.gates import Gate
from tfgates.optimizers import GatedOptimizer
from tfgates.pruning.report import PruningReport
from tfgates.pruning.standing import Standing


def fractions(cost: ExpectedCost, model: Any) -> dict[str, float]:
    """What is known of costs, actual and expected, as shares of the dense network's.

    Args:
        cost: the `tfgates.costs.ExpectedCost` of `model`.
        model: a model; of a `GatedModel` its `dense_reference` is the dense network.
    """
    reference = getattr(model, "dense_reference", None)
    standing = Standing(cost)
    totals = standing.dense if reference is None else standing.dense | reference.totals
    expected = dict(zip(cost.columns, cost.evaluate(cost.probabilities()), strict=True))
    found: dict[str, float] = {}
    for name, actual in standing.left.items():
        # Of inputs of unknown size MACs are not known; of some networks a cost is 0.
        if name not in cost.unknown and totals[name]:
            found |= {name: actual / totals[name], f"expected_{name}": expected[name] / totals[name]}
    return found


def targets(model: Any) -> dict[str, float]:
    """What budgets on the whole model ask for, of the dense network."""
    structure = getattr(model, "_structure", None)
    bounds = [] if structure is None else structure.bounds
    return {f"cost/{bound.name}": bound.target / bound.dense for bound in bounds if bound.layer is None}


def learning_rates(model: Any) -> dict[str, float]:
    """The learning rates of weights and gates, if the gates have an optimizer of their own."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not isinstance(optimizer, GatedOptimizer):
        return {}
    rates = {"weights": optimizer.learning_rate, "gates": optimizer.gate_optimizer.learning_rate}
    return {f"learning_rate/{name}": float(keras.ops.convert_to_numpy(rate)) for name, rate in rates.items()}


def left(report: PruningReport) -> dict[str, float]:
    """What a network that was pruned costs, as shares of the dense network's."""
    names = [name.removeprefix("dense_") for name in report.plan if name.startswith("dense_")]
    pairs = {name: (report.plan[name], report.plan[f"dense_{name}"]) for name in names}
    # MACs are None where those of a layer are not known.
    return {name: after / before for name, (after, before) in pairs.items() if after is not None and before}


def gone(model: Any) -> int:
    """The number of units that have gone since training began, see `tfgates.shrink`."""
    return sum(removal["units"] for removal in getattr(model, "removals", ()))


def on_dense_units(model: Any, gate: Gate, values: Any) -> np.ndarray:
    """`values`, one for each unit of a gate, as those of the units that it began with: 0 where a unit has gone."""
    values = np.asarray(values)
    for removal in reversed(getattr(model, "removals", [])):
        went = removal["gates"].get(gate.name)
        if went is not None and values.ndim == 1:
            before = np.zeros(went["units"], values.dtype)
            before[np.setdiff1d(np.arange(went["units"]), went["gone"])] = values
            values = before
    return values
