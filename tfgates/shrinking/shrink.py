"""A smaller network in the same state of training."""

import contextlib
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from tfgates.constraints import DenseReference
from tfgates.costs import ExpectedCost
from tfgates.gates import gates_of
from tfgates.gating.subclasses import GatedSubclass, carry_over
from tfgates.graph.equality import (
    CALLS,
    agree_but_for_rounding,
    amplified,
    default_tolerance,
    first_difference,
    outputs_of,
)
from tfgates.graph.examples import NoExamplesError, batches
from tfgates.graph.lengths import length_of
from tfgates.graph.rebuild import rebuild
from tfgates.graph.slices import Heir
from tfgates.keras_internals import compile_settings, layers_within, strategy_of_model
from tfgates.pruning.before import remember_before
from tfgates.pruning.constraints import has_constraints, warn_of_broken
from tfgates.pruning.surgery import closed_layer
from tfgates.selection import held
from tfgates.shrinking.candidates import candidates_of
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.shrinking.slots import carry_exclusions, carry_state, leaves, successor_of
from tfgates.shrinking.surgery import ShrinkingSurgery
from tfgates.training import GatedModel
from tfgates.training.gated_model import FunctionalGatedModel

# What a training step keeps in variables of the model itself.
STATE = ("_multipliers", "_pace", "_structure_step")

# What is set on a model, beside its graph, and holds for a smaller one as well.
KEPT = (
    "report", "_origins", "_taught_by", "_said_that_nothing_closes", "_paced_epochs", "_said_of_pace", "stop_training",
)  # fmt: skip


class ShrinkingError(RuntimeError):
    """The smaller network does not compute what the larger one does. This is a bug; such a network is never used."""


def shrink(
    model: Any,
    units: Mapping[Any, Any] | None = None,
    reset_momentum: bool = False,
    plan: ShrinkingPlan | None = None,
) -> Any:
    """Removes closed units in the middle of training and returns a smaller `GatedModel` to train on.

    The smaller model has gates on the units that remain and is in the state of training in which `model` was:
    weights, gates, averages of batch normalisation, every slot and average of the optimizer, counters of steps, loss
    scale, multipliers and pace of a budget, seeds and metrics. It is compiled with the same loss, metrics and settings.
    Budgets, penalties and expected costs still refer to the dense network that training began with
    (`GatedModel.dense_reference`), and `l0` to the weights that a unit had there.

    Training continues as that of `model` would with these units held closed, with the following exceptions. Noise is
    drawn for fewer units. Weight decay and regularisers act on the weights that remain. Optimizers that
    look at a whole variable at once (Muon, LAMB, Adafactor) see a smaller one. A constant other than 0 that a
    closed unit leaves after an activation is trained as a bias, and what removed units add to a
    `GateGenerator`'s other logits stays as it is. A unit that was removed does not come back.

    Args:
        model: a functional `GatedModel`, compiled or not. It is left untouched, except for metrics that were given as
            objects and the loss, which both models share.
        units: a dict from a gate to a boolean for each of its units, whether it is to be removed. Defaults to None:
            those that `tfgates.shrinking.candidates_of` finds. Units whose channels cannot be removed with them stay.
        reset_momentum: bool. True: what the optimizer remembers of gradients begins again at 0. Defaults to False.
        plan: a `tfgates.shrinking.ShrinkingPlan` of this model, instead of `units`.

    Returns:
        The smaller model; `model` itself if nothing can be removed. Its `removals` say what was removed, with the sum
        of the open probabilities that were removed with it: the expected number of these units that would have been
        open in a step.

    Raises:
        ValueError: for a model that is not a functional GatedModel, for `units` that are not those of its gates, and
            for an optimizer whose state cannot be cut.
        ClosedLayerError: a `ValueError`, if nothing would be left of a layer.
        ShrinkingError: if the smaller network gives other outputs.

    Example:

    >>> gated.fit(x, y, epochs=10)
    >>> gated = tfgates.shrink(gated)
    >>> gated.fit(x, y, epochs=20, initial_epoch=10)
    """
    if plan is None:
        plan = plan_shrinking(model, units)
    elif plan.model is not model:
        raise ValueError(f"`plan` must be made for this model. Received: a plan for {plan.model.name!r}")
    if not any(gone.any() for gone in plan.gone.values()):
        return model
    if plan.empty:
        raise closed_layer(plan.empty[0])
    return shrunk(plan, reset_momentum)[0]


def shrunk(plan: ShrinkingPlan, reset_momentum: bool = False) -> tuple[Any, list[Heir]]:
    """The smaller model, in the same state, and where each of its variables comes from."""
    with _scope(plan.model):
        small, heirs = _rebuilt(plan)
        _compile_like(small, plan.model, heirs, reset_momentum)
    _check_equal(plan, small)
    if has_constraints(small):
        warn_of_broken(plan.model, heirs)
    return small, heirs


def plan_shrinking(model: Any, units: Mapping[Any, Any] | None = None) -> ShrinkingPlan:
    """What `tfgates.shrink` would remove; the arguments are the same. `print` shows it as a table."""
    known = type(model) is FunctionalGatedModel or isinstance(model, GatedSubclass)
    if not known or not isinstance(model, FunctionalGatedModel):
        raise ValueError(
            "`model` must be a functional GatedModel, as `tfgates.gate_model` and `GatedModel(inputs, outputs)` make "
            f"them, so that a smaller one can be made. Received: {type(model).__name__}"
        )
    return ShrinkingPlan(model, candidates_of(model) if units is None else checked(model, units))


def checked(model: Any, units: Mapping[Any, Any]) -> dict[Any, np.ndarray]:
    """`units` as arrays of booleans."""
    gates, found = gates_of(model), {}
    for gate, gone in units.items():
        array = np.asarray(gone).reshape(-1)
        if not any(gate is each for each in gates) or array.dtype != bool or len(array) != gate.units:
            raise ValueError(
                "`units` must be a dict from gates of `model` to a boolean for each of their units. "
                f"Received: {getattr(gate, 'name', gate)!r} with {array.shape} of {array.dtype}"
            )
        found[gate] = array
    return found


def _rebuilt(plan: ShrinkingPlan) -> tuple[Any, list[Heir]]:
    """The smaller model with its weights, not compiled, and where each of its variables comes from."""
    model, surgery = plan.model, ShrinkingSurgery(plan)
    with held(plan.selection.values):
        inputs, outputs = rebuild(plan.network, surgery.emit, plan.used)
        kind: Any = GatedModel if type(model) is FunctionalGatedModel else type(model)
        small = kind(
            inputs,
            outputs,
            name=model.name,
            penalty=model.penalty,
            budget=model.budget,
            dense_reference=model.dense_reference or DenseReference.of(ExpectedCost(model)),
            length=length_of(model),
        )
        surgery.finish()
        heirs = surgery.heirs(plan.slices)
    carry_over(plan.network, small, surgery.successor)
    _fill(small, heirs)
    for old, gate in surgery.gates():
        gate.dense_weights_per_unit = old.counted_weights()
    for name in STATE:
        if getattr(model, name) is not None and getattr(small, name) is not None:
            getattr(small, name).assign(ops.convert_to_numpy(getattr(model, name)))
    for name in KEPT:
        if name in vars(model):
            setattr(small, name, getattr(model, name))
    small._origins = {
        name: paths for name, paths in model._origins.items() if any(name == x.name for x in small.layers)
    }
    small.removals = [*model.removals, removal(plan, small)]
    remember_before(small, plan)
    return small, heirs


def _fill(small: Any, heirs: list[Heir]) -> None:
    known = {id(each.variable) for each in heirs}
    variables = [v for layer in layers_within(small, include_self=False) for v in layer.variables]
    missing = [variable.path for variable in variables if id(variable) not in known]
    if missing:
        raise ShrinkingError(f"It is not known where variables come from. This is a bug in tfgates: {missing}")
    for each in heirs:
        value = np.asarray(each.value())
        each.variable.assign(np.array(np.broadcast_to(value, each.variable.shape)))


def removal(plan: ShrinkingPlan, small: Any) -> dict[str, Any]:
    """What goes, as data; `gates` says for each gate which of its units, and how many it had."""
    left = {gate.name for gate in gates_of(small)}
    units, probability, gates = 0, 0.0, {}
    for gate in gates_of(plan.model):
        gone = plan.gone_of(gate) if gate.name in left else np.ones(gate.units, bool)
        if gone.any():
            units += int(gone.sum())
            probability += float(np.asarray(ops.convert_to_numpy(gate.open_probability())).reshape(-1)[gone].sum())
            gates[gate.name] = {"units": gate.units, "gone": np.flatnonzero(gone).tolist()}
    optimizer = getattr(plan.model, "optimizer", None)
    step = 0 if optimizer is None else int(ops.convert_to_numpy(optimizer.iterations))
    macs = None if np.isnan(plan.macs) else float(plan.macs)
    numbers = {"step": step, "units": units, "probability": probability, "params": int(plan.params), "macs": macs}
    return {**numbers, "gates": gates}


def _compile_like(small: Any, model: Any, heirs: list[Heir], reset_momentum: bool) -> None:
    """Compiles with what `model` is compiled with, and the state of its optimizer and metrics."""
    if not model.compiled:
        return
    settings = dict(compile_settings(model))
    del settings["optimizer"]
    old = model.optimizer
    if old is not None:
        renamed = {each.source.variable.path: each.variable.path for each in heirs if each.source is not None}
        optimizer = successor_of(old, renamed)
        carry_exclusions(optimizer, old, heirs)
        settings["optimizer"] = optimizer
    # What a subclass has set in a `compile` of its own came along with its attributes.
    GatedModel.compile(small, gate_optimizer=None, **settings)
    if old is not None:
        pairs = list(zip(leaves(old), leaves(small.optimizer), strict=True))
        paced = None if model._paced_optimizer is None else model._paced_optimizer()
        small._paced_optimizer = next((weakref.ref(new) for before, new in pairs if before is paced), None)
        if old.built:
            small.optimizer.build(small.trainable_variables)
            carry_state(small.optimizer, old, {id(each.variable): each for each in heirs}, reset_momentum)
    _carry_metrics(small, model)


def _carry_metrics(small: Any, model: Any) -> None:
    """Lets what metrics have gathered in this epoch go on."""
    # Keras tracks neither, so that they can be shared; what it makes of the targets is known to them already.
    for name in ("_loss_tracker", "_compile_metrics"):
        if name in vars(model):
            vars(small)[name] = vars(model)[name]
    pairs = [] if small._structure_metric is None else [(small._structure_metric, model._structure_metric)]
    # Of a model without budget or penalty they are made before its first step.
    pairs += list(zip(getattr(small, "_expected", ()), getattr(model, "_expected", ()), strict=False))
    for new, old in pairs:
        for variable, value in zip(new.variables, old.variables, strict=True):
            variable.assign(ops.convert_to_numpy(value))


@contextlib.contextmanager
def _scope(model: Any) -> Any:
    """Where variables must be created: the scope of the model's `tf.distribute` strategy."""
    strategy = strategy_of_model(model)
    with contextlib.nullcontext() if strategy is None else strategy.scope(), warnings.catch_warnings():
        # Keras warns of a lambda in a config that is read in this very process.
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
        yield


def _check_equal(plan: ShrinkingPlan, small: Any) -> None:
    """Compares the outputs of both at inference, the units that go held closed and all others open."""
    model, values = plan.model, plan.selection.values
    after = {gate: np.ones(gate.unit_shape, "float32") for gate in gates_of(small) if gate.unit_shape is not None}
    try:
        examples = list(zip(batches(plan.network), CALLS, strict=True))
    except NoExamplesError:
        return
    for x, call in examples:
        try:
            with held(values):
                expected = outputs_of(model, x, call)
        except Exception:
            # Not every model takes every number.
            continue
        with held(after):
            difference = first_difference(expected, small, x, default_tolerance(model), call)
        if difference is None:
            continue
        with held(values), held(after):
            if amplified(model, x, expected, difference, call) or agree_but_for_rounding(model, small, x, call):
                continue
        raise ShrinkingError(
            f"Output {difference.output!r} of the smaller network {difference}. This is a bug in tfgates, or in a rule "
            "that was registered: nothing was changed."
        )
