"""Removing what is closed, and proving the result equal."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from tfgates.backend import full_precision
from tfgates.gates import Gate
from tfgates.graph.classes import own_methods, user_class
from tfgates.graph.equality import (
    CALLS,
    agree_but_for_rounding,
    amplified,
    called,
    default_tolerance,
    first_difference,
    is_random,
    outputs_of,
    state_kept,
)
from tfgates.graph.examples import NoExamplesError, batches, in_parts
from tfgates.graph.kept import values_kept
from tfgates.graph.keras_faults import MISPLACED, astray
from tfgates.graph.lengths import length_of, set_length
from tfgates.graph.network import Network
from tfgates.graph.randomness import random_reason
from tfgates.graph.rebuild import rebuild
from tfgates.graph.rule import rule_of
from tfgates.graph.shared import network_of, networks_shared
from tfgates.keras_internals import layers_within
from tfgates.notices import warn
from tfgates.pruning.compiling import compile_like
from tfgates.pruning.constraints import has_constraints, warn_of_broken
from tfgates.pruning.lineage import remember_origins
from tfgates.pruning.plan import PruningPlan, plan_pruning
from tfgates.pruning.preset import as_preset
from tfgates.pruning.report import remember
from tfgates.pruning.surgery import Surgery, closed_layer
from tfgates.selection import PresetSelection, held


class PruningError(RuntimeError):
    """The pruned network does not compute what the original does. This is a bug; such a network is never returned."""


def prune(
    model: Any,
    min_units: int = 0,
    round_to: int = 1,
    inputs: Any = None,
    tolerance: float | None = None,
    plan: PruningPlan | None = None,
    preset: bool = False,
) -> Any:
    """Removes everything that is closed and returns a plain Keras model with equal outputs.

    Channels that are closed by gates, or exactly zero for any other reason, are taken out of all
    layers that carry them. Constants that they leave behind are folded into biases, or into the averages
    of a batch normalisation, where that is exact. The gates' factors go into the weights. Closed branches
    vanish together with their addition.
    A model with a budget is pruned to the units that fit it, see `plan_pruning`, never to more.
    What cannot be removed without changing the outputs stays, and `plan_pruning` says why; where that is
    everything, a `tfgates.GatesWarning` says so. The result has no gate, and no layer of tfgates except those that
    stand for what Keras has no layer for (`tfgates.layers.Weight` and the like; the plan names them). `model` is left
    untouched.

    Calls keep their `training` and their masks, so dropout that is on at inference stays on. The outputs are
    compared as `predict` calls a model (`training=False`) and as a SavedModel does (without `training`).

    Args:
        model: a Sequential or Functional `keras.Model`.
        min_units, round_to: see `tfgates.plan_pruning`.
        inputs: optional data to compare the outputs on, in addition to random numbers of their sizes. Needed
            where random numbers do not work: for inputs of strings, and where the model leaves sizes
            open for which its layers do not accept every number.
        tolerance: float, the largest difference allowed, as a fraction of the largest output.
            Defaults to 1e-4, to 2e-2 where layers compute in half precision, or to as much as rounding can change
            outputs that are small compared with the sums they come from.
        plan: a `PruningPlan` for this very model, to save making it again.
        preset: bool. True: the result is an instance of the class that `gate_model` was given (a backbone or a task of
            KerasHub, say), made from its arguments, so all layers get one width; see `tfgates.plan_pruning`. A task
            keeps its preprocessor in the process in which it was gated. Defaults to False.

    Returns:
        A functional `keras.Model` of the same name. The remaining layers keep their names, dtype policies and trainable
        flags. If `model` is compiled, the result is compiled with the same loss and metrics and a fresh
        optimizer like that of the weights. If that or a metric cannot be made again from its
        config, the result is not compiled, and a `tfgates.GatesWarning` says so. What a
        subclass defines itself, a `train_step` say, is not carried over; a `tfgates.GatesWarning`
        names it. What was removed: `tfgates.report_of(pruned)`.

    Raises:
        ClosedLayerError: a `ValueError`, if nothing would be left of a layer that is needed.
        ValueError: if the model is not a graph of layers; if `inputs` are needed; if the outputs of `model`
            are random even with the same seeds; if a layer that stays whole holds gates; if its budget cannot be
            met; and, with `preset=True`, where the class cannot express the pruned network.
        PruningError: if the outputs differ by more than `tolerance`.

    Warns:
        GatesWarning: if more than a tenth of the units that training left open, or of what they cost, is closed
            to meet the budget.
    """
    return pruned_beside(model, None, min_units, round_to, inputs, tolerance, plan, preset)


@networks_shared()
def pruned_beside(
    model: Any,
    example: Callable[[], Any] | None,
    min_units: int = 0,
    round_to: int = 1,
    inputs: Any = None,
    tolerance: float | None = None,
    plan: PruningPlan | None = None,
    preset: bool = False,
) -> Any:
    """What `prune` does.

    Args:
        example: None, or a function that makes `inputs` where they turn out to be needed.
    """
    if plan is None:
        plan = plan_pruning(model, min_units, round_to, preset)
    elif plan.model is not model:
        raise ValueError(
            f"`plan` must be made for this model. Received: a plan for {plan.model.name!r}, model {model.name!r}"
        )
    elif isinstance(plan.selection, PresetSelection) != preset:
        raise ValueError(
            f"`plan` must be made with the same `preset`: `plan_pruning(model, preset={preset})`. "
            f"Received: preset={preset}"
        )
    if plan.empty:
        raise closed_layer(plan.empty[0])
    if plan.removes_nothing:
        warn(nothing_removed(plan))
    warning = plan.selection.warning()
    if warning:
        warn(warning)
    methods = own_methods(type(model))
    if methods and not preset:
        warn(not_along(model, methods))
    pruned, surgery = rebuilt(plan)
    if preset:
        pruned = as_preset(plan, surgery)
    with held(plan.selection.values):
        try:
            check_equal(model, pruned, inputs, tolerance)
        except NoExamplesError:
            if inputs is not None or example is None:
                raise
            check_equal(model, pruned, example(), tolerance)
    compile_like(pruned, model, lambda: surgery.heirs(plan.slices))
    if has_constraints(pruned):
        warn_of_broken(model, surgery.heirs(plan.slices))
    set_length(pruned, length_of(model))
    remember(pruned, plan)
    remember_origins(pruned, plan, surgery)
    return pruned


def rebuilt(plan: PruningPlan) -> tuple[keras.Model, Surgery]:
    """The network that is left, and what was done: its `heirs` say where each variable comes from."""
    surgery = Surgery(plan.walk, plan.keep, plan.used)

    def emit(node: Any, args: Any, kwargs: Any) -> Any:
        return rule_of(node).emit(surgery, node, args, kwargs)

    inputs, outputs = rebuild(plan.network, emit, plan.used)
    pruned = keras.Model(inputs, outputs, name=plan.model.name)
    check_plain(plan.model, pruned)
    surgery.finish()
    return pruned, surgery


def not_along(model: keras.Model, methods: list[str]) -> str:
    """What is said where a model loses methods of its class."""
    name = user_class(type(model)).__name__
    return (
        f"`prune` returns a plain keras.Model, to be used anywhere: what `{name}` has of its own does not come along. "
        f"To train what is left by it, make a model of that class of its graph, `{name}(pruned.input, pruned.output)` "
        f"where its constructor takes one. Received: {name} with {methods}"
    )


def nothing_removed(plan: PruningPlan) -> str:
    """What is said where pruning returns as large a network as it was given, and why that is."""
    if plan.kept:
        why = "what is closed cannot be cut out without changing the outputs, and `plan_pruning` says why"
    else:
        why = (
            "no unit is closed. Give `gate_model` a budget, a penalty or an `l0` before training, or train "
            "scaling gates with `tfgates.callbacks.SparseScaling`"
        )
    return f"`prune` removes nothing: {why}. Received: model={plan.model.name!r}, {plan.params:,} parameters"


def check_plain(model: Any, pruned: Any) -> None:
    """Raises a `ValueError` if layers that stay whole hold gates, which would be left in the pruned network."""
    left = [layer.name for layer in layers_within(pruned) if isinstance(layer, Gate)]
    if left:
        raise ValueError(
            "Gates must be where the calls of `model` can be followed, so that what they close can be removed: "
            "`plan_pruning` says which layers stay whole, and why. "
            f"Received: model={model.name!r}, in which gates {', '.join(left)} are inside of such a layer"
        )


def check_equal(model: Any, pruned: Any, inputs: Any = None, tolerance: float | None = None) -> None:
    """Raises a `PruningError` unless both models give the same outputs at inference, called in each of its ways.

    And unless the smaller one can be called in training, if the other one can.
    """
    network = network_of(model)
    tried = False
    given, tolerance = tolerance, default_tolerance(model) if tolerance is None else tolerance
    for x, call, was_given in examples(network, inputs):
        try:
            expected = outputs_of(model, x, call)
        except Exception as error:
            if was_given:
                raise
            if inputs is None:
                raise NoExamplesError(
                    "`model` cannot be called on random numbers: give `inputs` to compare the networks on. "
                    f"Received: {type(error).__name__}: {error}"
                ) from error
            continue
        if not tried:
            check_runs_in_training(model, pruned, x)
            tried = True
        difference = first_difference(expected, pruned, x, tolerance, call)
        if difference is None:
            continue
        if is_random(model, x, call):
            raise ValueError(random_reason(network, x, call))
        # Statistics of a batch of a few examples blow rounding up.
        if given is None and not call and amplified(model, x, expected, difference, call):
            continue
        if given is None and agree_but_for_rounding(model, pruned, x, call):
            continue
        names = astray(pruned)
        if names:
            raise PruningError(
                f"Output {difference.output!r} of the pruned network {difference}{called(call)}: {MISPLACED}. Choose "
                "another number of units there (`round_to`, `min_units`, another budget), or put the channels last. "
                f"Received: layers {names} of what is left of {model.name!r}"
            )
        raise PruningError(
            f"Output {difference.output!r} of the pruned network {difference}{called(call)}. This is a bug in "
            "tfgates, or in a rule that was registered: nothing was changed."
        )


def check_runs_in_training(model: Any, pruned: Any, x: Any) -> None:
    """Raises a `PruningError` if a call in training fails that does not fail for the model before.

    What layers draw and add in training alone has no part in the comparison of outputs, and may be of a size of before.
    """

    def runs(each: Any) -> Exception | None:
        try:
            # `SpectralNormalization` sets the weights in training, too.
            with state_kept(each), values_kept(each.trainable_variables), full_precision():
                # That of `keras.Model`: a gated one would take notes for a training step.
                keras.Model.__call__(each, x, training=True)
        except Exception as error:
            # A layer of the user's can raise anything.
            return error
        return None

    error = runs(pruned)
    if error is not None and runs(model) is None:
        raise PruningError(
            f"What is left of {model.name!r} cannot be called with `training=True`, as before: nothing was changed. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def examples(network: Network, inputs: Any) -> Iterator[tuple[Any, dict[str, Any], bool]]:
    """What to compare on, how it is called, and whether it was given: random inputs, if they can be made up, first."""
    try:
        for x, call in zip(batches(network, like=inputs), CALLS, strict=True):
            yield x, call, False
    except NoExamplesError:
        if inputs is None:
            raise
    if inputs is not None:
        yield from ((x, call, True) for x in in_parts(inputs, network) for call in CALLS)
