"""Compiling a model with gates: an optimizer of their own for them, paced by the first `fit`."""

import weakref
from typing import TYPE_CHECKING, Any

import keras

from tfgates import distribution
from tfgates.keras_internals import layers_within, own_trainable_variables
from tfgates.optimizers.gate_optimizer import gate_learning_rate, with_gate_optimizer
from tfgates.training.compile_config import as_here, portable
from tfgates.training.functional import Functional
from tfgates.training.pressure import asks_to_close

# In a compile config: the first `fit` sets the learning rate of the gates.
PACED = "paced_gate_optimizer"


# What it is mixed into is a model of Keras.
if TYPE_CHECKING:
    from keras import Model as MixedInto
else:
    MixedInto = object


class CompiledWithGates(MixedInto):
    """The part of a `GatedModel` that compiles it."""

    _structure_metric: Any

    def compile(self, optimizer: Any = "rmsprop", *args: Any, gate_optimizer: Any = "auto", **kwargs: Any) -> None:
        """As `keras.Model.compile`, with an optimizer of their own for the gates.

        Args:
            optimizer: as in `keras.Model.compile`; updates the weights.
            gate_optimizer: the optimizer of the gates, `None` for `optimizer`, or `"auto"`: if
                anything asks the gates to close (a budget, a penalty, an `l0`) and `optimizer` is a
                plain one, Adam with which each gate can cross its range 25 times in the first `fit`
                (`tfgates.optimizers.gate_learning_rate`), else `optimizer`. A gate has to cross its
                range in a training run, many times what a weight's learning rate allows.
            *args, **kwargs: as in `keras.Model.compile`.
        """
        self._paced_optimizer = None
        if isinstance(gate_optimizer, str) and gate_optimizer == "auto":
            gate_optimizer = None
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            plain = not isinstance(inner, keras.optimizers.MultiOptimizer)
            if plain and self.trainable_variables and asks_to_close(self):
                gate_optimizer = keras.optimizers.Adam(gate_learning_rate(self.gates))
                # Weak, because Keras would save what a model refers to a second time.
                self._paced_optimizer = weakref.ref(gate_optimizer)
        if gate_optimizer is not None:
            optimizer = beside_gates(optimizer, gate_optimizer)
        super().compile(optimizer, *args, **kwargs)
        distribution.check_supported(self)
        if self._structure_metric is None and (asks_to_close(self) or any(gate.l0 for gate in self.gates)):
            self._structure_metric = keras.metrics.Mean(name="structure_loss")

    def get_compile_config(self) -> dict[str, Any]:
        config = portable(super().get_compile_config())
        if config and self._paced_optimizer is not None and self._paced_optimizer() is not None:
            # A model that is saved before its first `fit` paces its gates after it is loaded.
            config[PACED] = True
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as the saved one was."""
        config = as_here(config)
        paced = config.pop(PACED, False)
        self.compile(gate_optimizer=None, **keras.saving.deserialize_keras_object(config))
        if paced:
            optimizer: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            self._paced_optimizer = weakref.ref(optimizer.gate_optimizer)
        if self.built and getattr(self, "optimizer", None) is not None:
            self.optimizer.build(self.trainable_variables)


def check_prunable(model: Any) -> None:
    """Refuses to train layers that have got LoRA weights since the model was made: nothing around them can be removed.

    Where they had these before, `gate_model` has placed no gate around them.
    """
    # What is no graph of layers was not gated by `gate_model`.
    low_rank = sorted(low_rank_layers(model) - model._low_rank) if isinstance(model, Functional) else []
    if low_rank:
        raise ValueError(
            "Layers of a network with gates cannot get LoRA weights: what has these is kept whole when "
            f"`{model.name}` is pruned, and so is all around it. Call `enable_lora` before `gate_model`, which then "
            "places no gate there, or on layers of the pruned network. "
            f"Received: {', '.join(low_rank)}"
        )


def low_rank_layers(model: Any) -> set[str]:
    """The names of the layers with LoRA weights."""
    return {each.name for each in layers_within(model, include_self=False) if getattr(each, "lora_enabled", False)}


def check_built_for(model: Any) -> None:
    """Refuses an optimizer that was built for other variables than those that the model trains now.

    Keras would go on with what it has traced, as if nothing had changed, or fail in the midst of a step.
    """
    optimizer = model.optimizer
    if optimizer is None or not optimizer.built:
        return
    built = {id(v) for v in own_trainable_variables(getattr(optimizer, "inner_optimizer", optimizer))}
    now = {id(v) for v in model.trainable_variables}
    if built != now:
        raise ValueError(
            f"`{model.name}` must be compiled again, with a new optimizer, before it is trained: since its optimizer "
            "was built something was frozen or unfrozen (by `trainable` or `tfgates.freeze_gates`), or the optimizer "
            f"is that of another model. Received: an optimizer with {len(built)} variables, {len(built & now)} of them "
            f"among the {len(now)} that the model trains"
        )


def beside_gates(optimizer: Any, gate_optimizer: Any) -> Any:
    """`with_gate_optimizer`, under the loss scale of `optimizer` if it has one: one scale for both."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return with_gate_optimizer(optimizer, gate_optimizer)
    return keras.optimizers.LossScaleOptimizer(
        with_gate_optimizer(optimizer.inner_optimizer, gate_optimizer),
        initial_scale=optimizer.initial_scale,
        dynamic_growth_steps=optimizer.dynamic_growth_steps,
    )
