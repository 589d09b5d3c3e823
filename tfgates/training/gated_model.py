"""A Keras model with gates."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfgates import distribution, gates
from tfgates.constraints import Budget, DenseReference
from tfgates.gates import Gate
from tfgates.graph.lengths import set_length
from tfgates.keras_internals import as_reported
from tfgates.training import passes
from tfgates.training.ahead import build_ahead
from tfgates.training.callback_checks import check_callbacks, check_instances
from tfgates.training.compiled import CompiledWithGates, check_built_for, check_prunable, low_rank_layers
from tfgates.training.constrained import Constrained
from tfgates.training.exporting import check_export
from tfgates.training.functional import Functional
from tfgates.training.layers_named import layers_named
from tfgates.training.pacing import set_pace
from tfgates.training.pressure import warn_if_nothing_closes
from tfgates.training.report import Report
from tfgates.training.saved import SavedWithGates
from tfgates.training.steps import steps_of
from tfgates.training.within_budget import check_comes_into_force, warn_if_above, within_budget


@keras.saving.register_keras_serializable(package="tfgates")
class GatedModel(CompiledWithGates, Constrained, SavedWithGates, keras.Model):
    """A Keras model whose layers carry gates.

    It is used like `keras.Model`: `GatedModel(inputs, outputs)`, or a subclass with its own `call`.

    A training step consists of one call with `training=True` and its `compute_loss` in the same thread, as
    in `keras.Model`. `compute_loss` adds what `penalty` and `budget` ask for, and gives Bernoulli gates
    their gradient (`tfgates.gates.BernoulliGate`). Where an estimator needs the loss at another state of the
    gates, there is a second forward pass, which differs from the first only in the gates: inputs and other arguments,
    weights, mode, batch statistics and dropout noise are the same; averages and seeds are updated once. With other
    gates there is no second pass and no cost.

    `loss`, in the logs of training as in those of evaluation, is that of the task: the compiled loss, `add_loss` and
    weight regularisers. What open units cost, by `l0`, penalty and budget, is the metric `structure_loss`;
    `compute_loss` includes its gradient, but not its value.

    A subclass can have its own `train_step`, `compute_loss` or `call`. An overridden
    `compute_loss` is evaluated in each pass, so the gates see all that it returns, and it need not call that of
    its base; what it assigns to Keras variables, such as metrics, is kept once. A training step without
    `compute_loss` adds `structure_loss()`. It is an error to take a gradient for gates whose budget, penalty or
    estimate the loss does not contain, be it in a custom loop, a distiller or a model around this one.

    Args:
        inputs, outputs, name: as in `keras.Model`; a subclass with its own `call` passes neither of
            the first two.
        penalty: None, or a dict from the name of a cost, such as `"params"` or `"macs"`, to the loss for keeping
            everything: `penalty[name] * E[cost] / dense cost` is added to the loss (see `tfgates.cost`).
        budget: None, a `tfgates.Budget` or a list of them: bounds on the expected cost, enforced by
            Lagrange multipliers, which are saved with the model.
        dense_reference: a `tfgates.constraints.DenseReference`: what shares, penalties and expected costs
            refer to. Defaults to None: this network with everything kept.
        length: None, or the length of sequences where the inputs leave it open, see `tfgates.cost`.
        **kwargs: as in `keras.Model`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        functional = len(args) >= 2 or "outputs" in kwargs
        if cls is GatedModel and functional:
            return super().__new__(FunctionalGatedModel)
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        passes.wrap(cls)

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        *,
        penalty: Mapping[str, float] | None = None,
        budget: Budget | Sequence[Budget] | None = None,
        dense_reference: DenseReference | None = None,
        length: int | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if inputs is None and outputs is None:
            super().__init__(name=name, **kwargs)
        else:
            _make_functional(type(self))
            super().__init__(inputs, outputs, name=name, **kwargs)
        set_length(self, length)
        self._penalty = penalty
        self._budget = budget
        self._given_reference = dense_reference
        # What `gate_model` has to say of it.
        self.report: Report | None = None
        # What `tfgates.shrink` has removed on the way to it.
        self.removals: list[dict[str, Any]] = []
        # A `tfgates.Teacher` while one teaches.
        self._taught_by: Any = None
        # Where its layers come from, by name.
        self._origins: dict[str, list[str]] = {}
        self._structure: Any = None
        self._multipliers = self._pace = self._structure_step = None
        self._paced_optimizer: Any = None
        # Layers that have LoRA weights from the start.
        self._low_rank = low_rank_layers(self)
        # Epochs of the `fit` that set the pace, and whether something was said of it.
        self._paced_epochs: int | None = None
        self._said_of_pace = False
        self._structure_metric: Any = None
        self._said_that_nothing_closes = False
        if penalty or budget:
            self._follow_structure()

    @property
    def gates(self) -> list[Gate]:
        """The gates of the model, each once, in the order of its layers."""
        return gates.gates_of(self)

    def layers_of(self, name: str) -> list[keras.Layer]:
        """The layers that replace a layer or a nested model of the network that was gated.

        `gate_model` lays nested models out flat. To freeze or unfreeze one, set `trainable` of these layers, and
        compile again; setting it on a layer also sets it on the gate inside that layer.

        Args:
            name: str, the name of a layer or nested model, or a path of names separated by slashes, such as
                `"backbone/block_1"`.

        Returns:
            A list of layers, in the order of the network, without gates that are layers of their own. Pruning
            keeps their names.

        Raises:
            ValueError: if there is none.

        Example:

        >>> for layer in gated.layers_of("backbone"):
        ...     layer.trainable = True
        """
        return layers_named(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            return super(GatedModel, self).__call__(*args, **kwargs)

        symbolic = any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten((args, kwargs)))
        return call() if symbolic else passes.first_pass(self, call)

    def stateless_call(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.stateless_call`: the forward pass of a training step on JAX."""
        with passes.stateless(self):
            return super().stateless_call(*args, **kwargs)

    @passes.completed
    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: Any = True
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        # Inside of each pass, so that the gates see it.
        if self._taught_by is None or not training:
            return loss
        return loss + as_reported(self, self._taught_by.loss(x, y_pred))

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`. Before the first step it sets the pace of budget and gates by the number of steps.

        A `tfgates.GatesWarning` says once if nothing makes the gates close.

        Under a budget, callbacks that stop, restore, save or slow down by what they monitor (`EarlyStopping`,
        `ModelCheckpoint(save_best_only=True)`, `ReduceLROnPlateau`) see only those epochs at whose end the
        budget is in force and met: before that the loss rises because gates close. With the defaults of
        `tfgates.Budget` these are among the last three tenths of the epochs of the first `fit`, so choose their
        patience accordingly. Whatever else ends the training above the budget, or goes back to earlier weights,
        is reported by a `tfgates.GatesWarning`, and so is a callback that had no epoch to choose.

        Callbacks that would fail are refused with a `ValueError` before the first step: some that set a learning rate
        that follows a schedule, `SwapEMAWeights` without averages, and those that save or restore where this `fit` ends
        before the budget is in force. So is an optimizer that was built before something was frozen or unfrozen, or for
        another model.
        """
        given = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs).arguments
        if not self.compiled:
            # Keras says what is missing.
            return super().fit(*args, **kwargs)
        check_instances(given.get("callbacks"))
        if self.optimizer is not None:
            check_callbacks(given.get("callbacks"), self.optimizer)
            check_built_for(self)
        check_prunable(self)
        set_pace(self, given)
        if not self._said_that_nothing_closes:
            self._said_that_nothing_closes = True
            warn_if_nothing_closes(self, given.get("callbacks"))
        build_ahead(self, given.get("x"), given.get("y"), given.get("callbacks"))
        if self._multipliers is None:
            return super().fit(*args, **kwargs)
        check_comes_into_force(self, given.get("callbacks"), functools.partial(steps_of, given))
        given = {name: value for name, value in given.items() if name != "self"}
        callbacks = within_budget(given.get("callbacks"))
        history = super().fit(**{**given, "callbacks": callbacks})
        warn_if_above(self, callbacks)
        return history

    def quantize(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: quantise the network that `tfgates.prune` returns."""
        # Keras would quantise the layers that hold no gate, and none of these could be pruned any more.
        raise ValueError(
            "A network with gates cannot be quantised; quantise what `tfgates.prune` or `tfgates.finish` returns. "
            f"Received: model={self.name!r}"
        )

    # The next three are for several workers, see `tfgates.distribution.multi_worker`.

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        return distribution.reducible(self, super().train_step(*args, **kwargs))

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        return distribution.reducible(self, super().test_step(*args, **kwargs))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        super()._maybe_symbolic_build(*distribution.local_batch(self, iterator, data_batch))

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: Any = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As `keras.Model.export`; says what a format needs where that is missing."""
        check_export(format)
        return super().export(filepath, format=format, verbose=verbose, input_signature=input_signature, **kwargs)


@keras.saving.register_keras_serializable(package="tfgates")
class FunctionalGatedModel(GatedModel, Functional):
    """What `GatedModel(inputs, outputs)` makes.

    A class of its own, since Keras would otherwise turn `GatedModel` itself into a functional model
    at the first use, and with it every later subclass that has a `call` of its own.
    """

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        teacher = self._taught_by
        if teacher is not None and teacher.looks_inside:
            return teacher.called(self, inputs, training=training, mask=mask, **kwargs)
        return super().call(inputs, training=training, mask=mask, **kwargs)


def _make_functional(cls: type) -> None:
    """Puts `FunctionalGatedModel` in the place of `GatedModel` among the bases of `cls`."""
    if issubclass(cls, FunctionalGatedModel) or not issubclass(cls, GatedModel):
        return
    cls.__bases__ = tuple(FunctionalGatedModel if base is GatedModel else base for base in cls.__bases__)
    for base in cls.__bases__:
        _make_functional(base)
