"""The pace of budget and gates, by the number of steps of the first `fit`, and what is said where that misleads."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgates.backend import array
from tfgates.notices import warn
from tfgates.optimizers.gate_optimizer import gate_learning_rate
from tfgates.training.steps import steps_of


def set_pace(model: Any, given: Mapping[str, Any]) -> None:
    """Sets the pace of the budget and the gates of a `GatedModel`, if this is their first `fit`, by its arguments.

    A `GatesWarning` says once where it cannot be the pace that was meant: the steps are not known, the training had
    begun without `fit`, or the first `fit` was one of many of an epoch each.
    """
    epochs = given.get("epochs", 1) - given.get("initial_epoch", 0)
    if epochs < 1:
        # Nothing is trained, so this is not the first.
        return
    steps = functools.cache(lambda: steps_of(given))
    gate_optimizer = None if model._paced_optimizer is None else model._paced_optimizer()
    if gate_optimizer is not None and not int(array(gate_optimizer.iterations)):
        gate_optimizer.learning_rate = gate_learning_rate(model.gates, steps())
    if model._structure_step is None:
        return
    if int(array(model._structure_step)):
        problem = _of_a_later_fit(model)
    else:
        model._pace.assign(model._structure.pace_of_fit(steps()))
        model._paced_epochs = epochs
        problem = _of_unknown_steps(given) if steps() is None else None
    trained = any(gate.trainable for gate in model.gates)
    if problem is not None and trained and model._structure.paces_itself and not model._said_of_pace:
        model._said_of_pace = True
        warn(f"{problem}. Received: budget={model.budget}")


def _of_unknown_steps(given: Mapping[str, Any]) -> str:
    return (
        "The number of steps of this `fit` is not known, so the budget is in force from the first step on, without its "
        f"warm-up and ramp: give `fit` a `steps_per_epoch`, or the budget numbers of steps, as in "
        f"`tfgates.Budget(..., warm_up=1000, ramp=2500)`. The data are of type {type(given.get('x')).__name__}"
    )


def _of_a_later_fit(model: Any) -> str | None:
    if model._paced_epochs == 1:
        return (
            f"The budget of `{model.name}` was paced by its first `fit`, of one epoch, in which its warm-up and ramp "
            "have passed, and this is another one. Train all epochs with gates in one call of `fit`, and do what is to "
            "be done between epochs in a callback"
        )
    never_paced = model._paced_epochs is None and np.allclose(array(model._pace), model._structure.pace(None))
    if not never_paced:
        return None
    return (
        f"`{model.name}` had been trained before this `fit`, its first, so the budget is in force from the first step "
        "on, without its warm-up and ramp. Begin with `fit`, or give the budget numbers of steps, as in "
        "`tfgates.Budget(..., warm_up=1000, ramp=2500)`"
    )
