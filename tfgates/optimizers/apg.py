"""Accelerated proximal gradient (Huang and Wang 2018)."""

import math
from typing import Any

import keras
from keras import ops

from tfgates.keras_internals import index_of, own_trainable_variables


@keras.saving.register_keras_serializable(package="tfgates")
class APG(keras.optimizers.Optimizer):
    """Nesterov's method for `loss + strength * ||x||_1`, with exact zeros.

    One gradient per step, with the learning rate `eta` and the momentum `mu`:

        z = x - eta * gradient
        v = S(z, eta * strength) - x + mu * v
        x = S(z, eta * strength) + mu * v
        x = max(0, x)                                    if nonnegative

    where `S(z, a) = sign(z) * max(|z| - a, 0)`. At strength 0 it is exactly
    `keras.optimizers.SGD(nesterov=True)`. The threshold is `eta * strength`, so it follows a
    learning-rate schedule. Without the last line the momentum leaves small non-zero values.

    Args:
        learning_rate: float, `LearningRateSchedule` or callable. Defaults to 0.1.
        momentum: float in [0, 1). Defaults to 0.9.
        strength: weight of the L1 norm, a float >= 0 in loss per unit of `x`, or a
            `LearningRateSchedule` of the optimizer's iterations. Defaults to 0.01.
        nonnegative: bool, whether to keep `x >= 0`. Defaults to True.
        stop_at: int or None. The number of entries, of all variables together, that must stay
            non-zero: a step closes only the smallest ones, and once this number is reached the
            strength is 0, zeros stay 0 and the others stay open. Defaults to None: no limit.
        weight_decay, clipnorm, ...: as in `keras.optimizers.Optimizer`.

    Raises:
        ValueError: if `momentum`, `strength` or `stop_at` is out of range.

    Reference: Huang and Wang, "Data-Driven Sparse Structure Selection for Deep Neural
    Networks", ECCV 2018, arXiv 1707.01213, section 3.3 (APG-NAG).
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        strength: Any = 0.01,
        nonnegative: bool = True,
        stop_at: int | None = None,
        name: str = "apg",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must lie in [0, 1). Received: momentum={momentum}")
        if isinstance(strength, dict):
            strength = keras.saving.deserialize_keras_object(strength)
        if not isinstance(strength, keras.optimizers.schedules.LearningRateSchedule) and (
            not isinstance(strength, (int, float)) or not strength >= 0.0
        ):
            raise ValueError(
                f"`strength` must be a number >= 0 or a LearningRateSchedule. Received: strength={strength}"
            )
        if stop_at is not None and (not isinstance(stop_at, int) or stop_at < 0):
            raise ValueError(f"`stop_at` must be an integer >= 0 or None. Received: stop_at={stop_at}")
        self.momentum = float(momentum)
        self.strength = strength
        self.nonnegative = nonnegative
        self.stop_at = stop_at

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum else []
        if self.stop_at is not None:
            self.stopped = self.add_variable(
                shape=(), dtype="float32", aggregation="only_first_replica", name="stopped"
            )

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if self.stop_at is None or len(grads) == 0:
            super().apply(grads, trainable_variables)
            return
        if not self.built and trainable_variables is not None:
            self.build(list(trainable_variables))
        before = self._entries()
        reached = ops.cast(_count_open(before) <= self.stop_at, "float32")
        self.stopped.assign(ops.maximum(ops.convert_to_tensor(self.stopped), reached))
        super().apply(grads, trainable_variables)
        self._reopen(before)

    def _entries(self) -> Any:
        return ops.concatenate([ops.reshape(variable, (-1,)) for variable in own_trainable_variables(self)])

    def _reopen(self, before: Any) -> None:
        """Gives the largest of the entries that closed in this step back, down to `stop_at`."""
        after = self._entries()
        closed = ops.logical_and(ops.not_equal(before, 0.0), ops.equal(after, 0.0))
        missing = self.stop_at - _count_open(after)
        order = ops.argsort(-ops.where(closed, ops.abs(before), -ops.ones_like(before)))
        rank = ops.cast(ops.argsort(order), missing.dtype)
        entries = ops.where(ops.logical_and(closed, rank < missing), before, after)
        start = 0
        for variable in own_trainable_variables(self):
            size = math.prod(variable.shape)
            variable.assign(ops.reshape(entries[start : start + size], variable.shape))
            start += size

    def current_strength(self) -> Any:
        """The weight of the L1 norm at the current iteration: a float or a scalar tensor."""
        strength = self.strength
        if isinstance(strength, keras.optimizers.schedules.LearningRateSchedule):
            strength = strength(self.iterations)
        if self.stop_at is not None and self.built:
            strength = strength * (1.0 - ops.convert_to_tensor(self.stopped))
        return strength

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        threshold = learning_rate * ops.cast(self.current_strength(), variable.dtype)
        value = ops.convert_to_tensor(variable)
        z = value - gradient * learning_rate
        closed = ops.logical_and(ops.abs(z) <= threshold, threshold > 0.0)
        # S(z) - x. Computed from the step, rather than as a difference of values, it rounds as
        # SGD does; where S(z) is 0 it must cancel x without a remainder.
        change = ops.where(closed, -value, -ops.clip(z, -threshold, threshold) - gradient * learning_rate)
        if self.momentum:
            slot = self.momentums[index_of(self, variable)]
            momentum = ops.cast(self.momentum, variable.dtype)
            velocity = ops.convert_to_tensor(slot) * momentum + change
            self.assign(slot, velocity)
            carried = velocity * momentum
        else:
            carried = ops.zeros_like(value)
        new = ops.where(closed, carried, value + (carried + change))
        if self.nonnegative:
            new = ops.maximum(new, 0.0)
        if self.stop_at is not None:
            frozen = ops.logical_and(ops.equal(value, 0.0), ops.convert_to_tensor(self.stopped) > 0.0)
            new = ops.where(frozen, ops.zeros_like(new), new)
        self.assign(variable, new)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        strength = self.strength
        if isinstance(strength, keras.optimizers.schedules.LearningRateSchedule):
            strength = keras.saving.serialize_keras_object(strength)
        config.update(
            momentum=self.momentum,
            strength=strength,
            nonnegative=self.nonnegative,
            stop_at=self.stop_at,
        )
        return config


def _count_open(entries: Any) -> Any:
    """The number of entries that are not 0; `ops.count_nonzero` warns with PyTorch."""
    return ops.sum(ops.cast(ops.not_equal(entries, 0.0), "int32"))
