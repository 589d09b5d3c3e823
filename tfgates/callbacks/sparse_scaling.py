"""Training of scaling factors with sparse ones left."""

import contextlib
from typing import Any

import keras
import numpy as np

from tfgates.gates import ScalingGate, gates_of
from tfgates.gates.arguments import check_choice
from tfgates.keras_internals import compile_settings
from tfgates.optimizers.apg import APG
from tfgates.optimizers.scaling_optimizer import FollowedRate, ScalingOptimizer
from tfgates.training.callback_marks import GateCallback

# What a callback and an optimizer from an earlier run must agree on.
SETTINGS = ("strength", "momentum", "nonnegative", "stop_at", "learning_rate")


class SparseScaling(GateCallback, keras.callbacks.Callback):
    """Makes the factors of all `ScalingGate`s sparse while `fit` trains the rest as compiled.

    Before the first step it puts `tfgates.optimizers.APG` in charge of exactly the trainable
    scaling factors; all other variables keep the compiled optimizer. Everything happens inside
    the compiled training step, so `steps_per_execution` and `jit_compile` change nothing.
    All state (momentum, the step that the warm-up has reached, whether `stop_at` was reached) belongs to
    the model's optimizer: it is saved with the model, and a loaded model continues to
    the bit when this callback is given again. APG has the clipping and the gradient accumulation
    of the compiled optimizer; `global_clipnorm` limits the factors and the weights separately.

    Adds to `logs` at the end of each epoch: `open_structures`, the number of non-zero factors
    in the whole model.

    Args:
        strength: float >= 0 or schedule, weight of `sum(|scale|)` in addition to the compiled loss, in loss per
            unit of scale.
        momentum: float in [0, 1). Defaults to 0.9.
        nonnegative: bool, whether factors stay >= 0. Without it the momentum leaves small
            non-zero factors. Defaults to True.
        learning_rate: float or schedule of the factors. Defaults to None: at every step that of
            the compiled optimizer.
        warmup_steps: int >= 0, the number of steps over which the strength grows linearly from
            0. Defaults to 0: full strength from the first step. It must be 0 if `strength` is a schedule.
        stop_at: int or None, the number of structures that must remain. There are never fewer; once
            this number is reached the strength is 0 and the choice is final. Defaults to None: no limit.
        when_reached: what follows when `stop_at` is reached: `"fine_tune"` (train on with what
            remains) or `"stop"` (end `fit`). Defaults to `"fine_tune"`.

    Raises:
        ValueError: if the model has no trainable `ScalingGate`, is not built, or has already
            been trained under another optimizer since it was compiled.

    Reference: Huang and Wang 2018, arXiv 1707.01213, section 3.3.
    """

    # Tells whoever trains a pruned network too that it is not for that one.
    needs_gates = True
    # Tells `GatedModel.fit` that something asks the gates to close.
    closes_gates = True

    def __init__(
        self,
        strength: float,
        momentum: float = 0.9,
        nonnegative: bool = True,
        learning_rate: Any = None,
        warmup_steps: int = 0,
        stop_at: int | None = None,
        when_reached: str = "fine_tune",
    ) -> None:
        super().__init__()
        if not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise ValueError(f"`warmup_steps` must be an integer >= 0. Received: warmup_steps={warmup_steps}")
        if warmup_steps and not isinstance(strength, (int, float)):
            raise ValueError(
                "`warmup_steps` must be 0 where `strength` is a schedule, which says itself how it starts. "
                f"Received: warmup_steps={warmup_steps}"
            )
        self.strength = strength
        self.momentum = momentum
        self.nonnegative = nonnegative
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.stop_at = stop_at
        self.when_reached = check_choice("when_reached", when_reached, ("fine_tune", "stop"))
        self._factors: list[Any] = []
        # Fails here, not in `fit`, if an argument is wrong.
        self._make_apg()

    def _make_apg(self, **arguments: Any) -> APG:
        strength: Any = self.strength
        if self.warmup_steps and strength > 0:
            strength = keras.optimizers.schedules.PolynomialDecay(
                0.0, self.warmup_steps, end_learning_rate=float(strength)
            )
        return APG(
            learning_rate=FollowedRate() if self.learning_rate is None else self.learning_rate,
            momentum=self.momentum,
            strength=strength,
            nonnegative=self.nonnegative,
            stop_at=self.stop_at,
            **arguments,
        )

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        gates = [gate for gate in gates_of(model) if isinstance(gate, ScalingGate)]
        if any(not gate.built for gate in gates):
            raise ValueError(
                "SparseScaling needs a built model: give it an Input, or call it on a batch before `fit`. "
                f"Received: model={model.name}, not built"
            )
        self._factors = [gate.scale for gate in gates if gate.scale.trainable]
        if not self._factors:
            raise ValueError(
                "SparseScaling needs a model with a trainable tfgates.gates.ScalingGate. "
                f"Received: model={model.name} without one"
            )
        outer = model.optimizer
        wrapped = isinstance(outer, keras.optimizers.LossScaleOptimizer)
        optimizer = outer.inner_optimizer if wrapped else outer
        if isinstance(optimizer, ScalingOptimizer):
            self._check_same(optimizer)
            return
        steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
        if model.train_function is not None or steps > 0:
            raise ValueError(
                "SparseScaling must be there from the first training step after `compile`: compile the model "
                f"again before this `fit`. Received: a model that was trained for {steps} steps under "
                f"{type(optimizer).__name__}"
            )
        with _scope(model):
            optimizer = self._route(optimizer)
            model.optimizer = optimizer
            if wrapped:
                model.optimizer = keras.optimizers.LossScaleOptimizer(
                    optimizer,
                    initial_scale=outer.initial_scale,
                    dynamic_growth_steps=outer.dynamic_growth_steps,
                )
            if keras.backend.backend() == "jax":
                # Keras has built the one before already: its training step takes the variables as they are here.
                model.optimizer.build(model.trainable_variables)
        _record(model, optimizer)

    def _route(self, optimizer: Any) -> ScalingOptimizer:
        if isinstance(optimizer, keras.optimizers.MultiOptimizer):
            optimizers = keras.saving.deserialize_keras_object(optimizer.get_config()["optimizer_map"])
            base = optimizers.default_optimizer
        else:
            optimizers = base = _unbuilt(optimizer)
        apg = self._make_apg(
            clipnorm=base.clipnorm,
            clipvalue=base.clipvalue,
            global_clipnorm=base.global_clipnorm,
            gradient_accumulation_steps=base.gradient_accumulation_steps,
        )
        return ScalingOptimizer(optimizers, apg, [factor.path for factor in self._factors])

    def _check_same(self, optimizer: Any) -> None:
        expected, found = self._make_apg().get_config(), optimizer.scaling.get_config()
        differing = [name for name in SETTINGS if expected[name] != found[name]]
        if differing or optimizer.paths != {factor.path for factor in self._factors}:
            raise ValueError(
                "SparseScaling continues a model that was trained with it only under the same settings and "
                f"for the same gates; compile the model again to start afresh. "
                f"Received: {', '.join(f'{name}={expected[name]}' for name in differing) or 'other gates'}"
            )

    def open_structures(self) -> int:
        """The number of non-zero scaling factors in the model, an int."""
        # With JAX variables are brought up to date, in the midst of an epoch, when a callback asks for its model.
        _ = self.model
        return sum(int(np.count_nonzero(keras.ops.convert_to_numpy(factor))) for factor in self._factors)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.when_reached == "stop" and self.stop_at is not None and self.open_structures() <= self.stop_at:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["open_structures"] = self.open_structures()


def _scope(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Where optimizer variables must be created: the scope of the model's `tf.distribute` strategy."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _unbuilt(optimizer: Any) -> Any:
    """The optimizer, or, if it has slots for the scaling factors already, one without slots."""
    if not optimizer.built:
        return optimizer
    fresh = type(optimizer).from_config(optimizer.get_config())
    # The config does not say what `exclude_from_weight_decay` was told.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(fresh, name, getattr(optimizer, name))
    return fresh


def _record(model: Any, optimizer: Any) -> None:
    """Makes a saved model compile itself with `optimizer`.

    Keras has no public way to change the optimizer of a compiled model and nothing else.
    """
    compile_settings(model)["optimizer"] = optimizer
