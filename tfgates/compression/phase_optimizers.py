"""The optimizers of the two trainings of `compress`, and the learning rate of the second."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras

from tfgates.keras_internals import undecayed
from tfgates.optimizers.gated_optimizer import of_weights
from tfgates.pruning.compiling import copy_of, fresh_optimizer
from tfgates.shrinking.slots import successor_of
from tfgates.training.callback_checks import check_callbacks, flat, follows_schedule, rate_of, sets_learning_rate

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.1
Schedule = keras.optimizers.schedules.LearningRateSchedule


class PhaseOptimizers:
    """What the two trainings of `compress` take, from its arguments of the same names.

    Args:
        steps: `(int, int)`, the numbers of steps of the two.

    Attributes:
        first, second: the optimizers, both new.
        callbacks: a list, those that set the learning rate of the second.

    Raises:
        ValueError: for arguments that exclude each other, and callbacks that would fail with them.
    """

    def __init__(
        self,
        optimizer: Any,
        learning_rate: Any,
        weight_decay: float,
        fine_tuning_learning_rate: Any,
        callbacks: Any,
        steps: tuple[int, int],
    ) -> None:
        if optimizer is None:
            given = keras.optimizers.AdamW(_checked("learning_rate", learning_rate), weight_decay)
        else:
            given = keras.optimizers.get(optimizer)
            if (learning_rate, weight_decay) != (LEARNING_RATE, WEIGHT_DECAY):
                raise ValueError(
                    "`learning_rate` and `weight_decay` are those of the AdamW that `optimizer` takes the place of: "
                    f"give them to `optimizer`. Received: learning_rate={learning_rate}, weight_decay={weight_decay}, "
                    f"optimizer={type(given).__name__}"
                )
        self.first = _again("optimizer", functools.partial(successor_of, renamed={}), given)
        check_callbacks(callbacks, self.first, "learning_rate" if optimizer is None else "optimizer", "optimizer=")
        if isinstance(fine_tuning_learning_rate, keras.optimizers.Optimizer):
            self.second = _plain("fine_tuning_learning_rate", fine_tuning_learning_rate)
            rate: Callable[[int], float] | None = None
        else:
            plain = _plain("optimizer", given)
            value = fine_tuning_learning_rate
            start, rate = (
                (_checked("fine_tuning_learning_rate", value), None) if value is not None else _rate(plain, steps)
            )
            self.second = _again("optimizer", functools.partial(_with_rate, rate=start), plain)
        check_callbacks(callbacks, self.second, "fine_tuning_learning_rate", "fine_tuning_learning_rate=")
        theirs = any(map(sets_learning_rate, flat(callbacks)))
        self.callbacks = [] if rate is None or theirs else [RateOfSteps(rate)]


class RateOfSteps(keras.callbacks.Callback):
    """Sets the learning rate before each step, until somebody else sets it, and back at the end.

    Unlike a schedule in the optimizer it leaves the learning rate to callbacks that set it.

    Args:
        rate: function of the number of steps done.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        super().__init__()
        self.rate = rate
        self.left_alone = False

    def on_train_begin(self, logs: Any = None) -> None:
        self.left_alone = False
        self._set: float | None = None
        self._start = _value(self.model.optimizer)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        step, now = int(keras.ops.convert_to_numpy(optimizer.iterations)), _value(optimizer)
        # After an interruption it stands as it was set for the last step.
        own = [self._start, self.rate(max(0, step - 1)), self.rate(step)] if self._set is None else [self._set]
        if self.left_alone or not any(math.isclose(now, each, rel_tol=1e-5, abs_tol=1e-12) for each in own):
            self.left_alone = True
            return
        self._set = self.rate(step)
        optimizer.learning_rate = self._set

    def on_train_end(self, logs: Any = None) -> None:
        if not self.left_alone:
            # At what a cosine ends with nobody could train on.
            self.model.optimizer.learning_rate = self._start


def _value(optimizer: Any) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _rate(optimizer: Any, steps: tuple[int, int]) -> tuple[Any, Callable[[int], float] | None]:
    """Where fine-tuning starts, and the rate of each step, for `fine_tuning_learning_rate=None`."""
    first, last = steps
    if not follows_schedule(optimizer):
        start = _value(optimizer)
        return start, functools.partial(cosine, start, max(1, last))
    schedule = rate_of(optimizer)
    if not isinstance(schedule, Schedule):
        # A function of a user, which knows of no steps.
        return schedule, None

    def rate(step: int) -> float:
        return float(keras.ops.convert_to_numpy(schedule(first + step)))

    return rate(0), rate


def cosine(start: float, steps: int, step: int) -> float:
    """A rate that falls from `start` to 0 within `steps` steps."""
    return start * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))


def _with_rate(optimizer: Any, rate: Any) -> Any:
    """An optimizer of the same settings, new, but for its learning rate."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = _with_rate(optimizer.inner_optimizer, rate)
        return keras.optimizers.LossScaleOptimizer(
            inner, initial_scale=optimizer.initial_scale, dynamic_growth_steps=optimizer.dynamic_growth_steps
        )
    return copy_of(optimizer, rate)


def _again(name: str, make: Callable[[Any], Any], optimizer: Any) -> Any:
    """A new optimizer made by a function of the one that was given."""
    if undecayed(of_weights(optimizer)):
        raise ValueError(
            f"`{name}` must say by `exclude_from_weight_decay(var_names=...)` what has no weight decay: variables that "
            "are given by `var_list` are none of the networks that are trained here. "
            f"Received: {type(optimizer).__name__}"
        )
    try:
        return make(optimizer)
    except Exception as error:
        raise ValueError(
            f"`{name}` must be an optimizer that can be made again from its config, since each training takes a new "
            f"one: give it a `get_config` with all of its arguments. Received: {type(optimizer).__name__}, "
            f"{type(error).__name__}: {error}"
        ) from error


def _plain(name: str, optimizer: Any) -> Any:
    fresh = _again(name, fresh_optimizer, optimizer)
    if fresh is None:
        raise ValueError(
            f"`{name}` must be an optimizer of Keras or of yours that updates all weights alike; for the gates "
            f"`tfgates.optimizers.with_gate_optimizer` adds another. Received: {name}={type(optimizer).__name__}"
        )
    return fresh


def _checked(name: str, rate: Any) -> Any:
    if isinstance(rate, Schedule) or (isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate > 0):
        return rate
    kinds = "a positive number or a keras.optimizers.schedules.LearningRateSchedule"
    more = ", or an optimizer" if name == "fine_tuning_learning_rate" else ""
    raise ValueError(f"`{name}` must be {kinds}{more}. Received: {name}={rate!r}")
