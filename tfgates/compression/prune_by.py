"""Pruning by a criterion of importance, without training gates."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.constraints.structure import list_of
from tfgates.gates import gates_of
from tfgates.gates.arguments import check_choice
from tfgates.gating.gate_network import gate_network
from tfgates.graph.shared import network_of, networks_shared
from tfgates.importance import NAMES, NEEDS_DATA, Units, first_order_taylor, score_units, units_of
from tfgates.importance.criteria import ON_WEIGHTS
from tfgates.pruning.compiling import compile_like
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.prune import pruned_beside
from tfgates.selection import Rounding, choose_units
from tfgates.training.batches import batches_of, check_data, check_targets, first_inputs

COMPARISONS = ("normalized", "global", "uniform")


@networks_shared()
def prune_by(
    model: keras.Model,
    budget: Any,
    importance: str | Callable[[Units], Any] = "magnitude",
    data: Any = None,
    loss: Any = None,
    compare: str = "normalized",
    layers: Any = None,
    residual: str = "inner",
    flattened: bool = False,
    min_units: int = 0,
    round_to: int = 1,
    batch_size: int = 128,
    steps: int = 10,
    seed: int = 0,
    inputs: Any = None,
    length: Any = None,
    tolerance: float | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Removes the least important units of a trained network until it fits a budget, in seconds.

    No gates are trained: units are judged by their weights, or by gradients. Which units can be removed
    exactly is found as in `tfgates.gate_model`; the choice, the removal and its proof are those of
    `tfgates.prune`. Fine-tune the result, or start with `tfgates.reconstruct`.

    Args:
        model: a `keras.Model` without gates, as for `tfgates.gate_model`. It is left untouched.
        budget: a `tfgates.Budget` or a list of them.
        importance: how important a unit is:
            `"magnitude"` or `"l2"`: the Euclidean norm of its weights; `"l1"`: the sum of their absolute values;
            `"batch_norm"`: the absolute scale of the batch normalisation after it;
            `"geometric_median"`: the sum of its distances from all units of the layer;
            `"taylor"`: the square of the first-order change of the loss when the unit is removed, mean over batches;
            it needs `data` and a loss;
            `"random"`: a random number;
            or a function that gets a `tfgates.importance.Units` and returns one number for each of its units.
            Where a residual stream ties layers together, the mean over them counts. Defaults to `"magnitude"`.
        data: a `tf.data.Dataset` of batches `(x, y)` or `(x, y, sample_weight)`, or a tuple of arrays, for
            `"taylor"`. With other criteria it is used only where no random `inputs` can be made up: then its first
            batch is used instead.
        loss: as in `keras.Model.compile`, only for `"taylor"`. Defaults to the one which `model` is compiled with.
        compare: how units of different layers are compared: `"normalized"`: by their importance relative to the
            mean of their layer; `"global"`: by their importance as it is; `"uniform"`: by their rank within their
            layer, so that each layer keeps the same share. Defaults to `"normalized"`.
        layers, flattened: see `tfgates.gate_model`.
        residual: `"inner"`: only channels inside residual branches; `"tied"`: in addition the channels of residual
            streams, each as one for all layers that add into it. Defaults to `"inner"`, which includes streams where
            little else can be removed, see `tfgates.gate_model`.
        min_units, round_to: see `tfgates.plan_pruning`.
        batch_size: int, for arrays. Defaults to 128.
        steps: int > 0, the largest number of batches. Defaults to 10.
        seed: int, for `"random"`. Defaults to 0.
        inputs, tolerance: see `tfgates.prune`; `inputs` are also the example for a subclassed model.
        length: see `tfgates.gate_model`.
        verbose: 1 prints the plan. Defaults to 0.

    Returns:
        A plain `keras.Model` that computes what `model` computes with the outputs of the removed units set to 0,
        compiled as `model` is, with a fresh optimizer. If that or a metric cannot be made again from its config, it is
        not compiled, and a `tfgates.GatesWarning` says so.

    Raises:
        ValueError: for a budget that cannot be met, a model with gates or one in which no unit can be removed, missing
            data, or an unknown `importance`.

    Example:

    >>> small = tfgates.prune_by(trained, tfgates.Budget(macs=0.5), "taylor", data=(x, y))
    """
    if gates_of(model):
        raise ValueError(f"`model` must have no gates: use `tfgates.prune`. Received: model={model.name!r}")
    if not callable(importance):
        check_choice("importance", importance, NAMES)
    check_choice("compare", compare, COMPARISONS)
    check_choice("residual", residual, ("inner", "tied"))
    if not list_of(budget):
        raise ValueError(f"`budget` must be a tfgates.Budget or a list of them. Received: budget={budget!r}")
    if importance == NEEDS_DATA:
        loss = _checked_loss(model, data, loss)
        for name, value in (("steps", steps), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}")
    network = network_of(model, inputs)
    gated, places, gates = gate_network(
        network, (residual,), layers=layers, flattened=flattened, budget=budget, example=inputs, length=length
    )
    if importance == NEEDS_DATA:
        scores = first_order_taylor(gated, list(gates.values()), batches_of(data, batch_size, steps), loss)
    elif importance == "random":
        generator = np.random.default_rng(seed)
        scores = {gate: generator.random(gate.units) for gate in gates.values()}
    else:
        criterion = importance if callable(importance) else ON_WEIGHTS[importance]
        units = units_of(network, places)
        scores = {gate: score_units(criterion, units[key]) for key, gate in gates.items()}
    scores = {gate: compared(found, compare) for gate, found in scores.items()}
    selection = choose_units(gated, Rounding(min_units, round_to), scores, in_order=compare == "uniform")
    plan = PruningPlan(gated, min_units, round_to, selection)
    if verbose:
        print(plan)
    example = None if data is None else functools.partial(first_inputs, data, batch_size)
    small = pruned_beside(gated, example, inputs=inputs, tolerance=tolerance, plan=plan)
    compile_like(small, model)
    return small


def compared(scores: np.ndarray, how: str) -> np.ndarray:
    """Scores of the units of one gate as they are compared with those of others."""
    if how == "global":
        return scores
    if how == "normalized":
        mean = scores.mean()
        return scores / mean if mean > 0.0 else scores
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return (ranks + 0.5) / len(scores)


def _checked_loss(model: keras.Model, data: Any, loss: Any) -> Any:
    loss = getattr(model, "loss", None) if loss is None else loss
    if data is None or loss is None:
        raise ValueError(
            "`importance='taylor'` needs `data`, and a `loss` where the model is not compiled with one. "
            f"Received: data={data!r}, loss={loss!r}"
        )
    check_data(data)
    check_targets(data, loss)
    return loss
