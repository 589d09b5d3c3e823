"""What penalty and budget add to the training of a model: their loss, their metrics, their multipliers."""

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

import keras

from tfgates.constraints.reference import DenseReference
from tfgates.constraints.structure import Structure
from tfgates.gates import dues
from tfgates.keras_internals import as_reported
from tfgates.training import passes
from tfgates.training.functional import Functional
from tfgates.training.latest import Latest
from tfgates.training.losses import without_value

# JAX has no 64 bits unless told to.
STEP_DTYPE = "int32" if keras.backend.backend() == "jax" else "int64"


# What it is mixed into is a model of Keras.
if TYPE_CHECKING:
    from keras import Model as MixedInto
else:
    MixedInto = object


class Constrained(MixedInto):
    """The part of a `GatedModel` that keeps it to its penalty and budget."""

    def structure_loss(self, training: Any = True) -> Any:
        """What penalty and budget ask of a training step that does not use `compute_loss`, a scalar.

        It belongs into the loss once in each training step, after all calls of the model with `training=True`;
        the multipliers of the budget are updated with it. `compute_loss` has its gradient already. What gates
        with an `l0` ask for is among `model.losses`, as weight regularisers are.

        Args:
            training: bool. False leaves the multipliers as they are. Defaults to True.
        """
        # A step in which no gate was drawn trains none.
        loss = self._structure_loss(training and dues.is_owed(self))
        if training:
            dues.settle(self)
        return keras.ops.zeros(()) if loss is None else loss

    def _with_structure(self, loss: Any, training: Any) -> Any:
        """The loss of a step with the gradient of what penalty and budget ask for."""
        # Adds whatever precision the loss of a user has.
        return keras.ops.add(loss, without_value(self.structure_loss(training)))

    def _aggregate_additional_loss(self, loss: Any) -> Any:
        total = super()._aggregate_additional_loss(loss)
        return without_value(total) if any(loss is penalty for penalty in passes.penalties(self)) else total

    def make_train_function(self, force: bool = False) -> Any:
        self._count_expected()
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        self._count_expected()
        return super().make_test_function(force)

    def _count_expected(self) -> None:
        """Sets up the expected cost of a model without a budget or penalty, for its metrics, before the first step."""
        if self._structure is None and isinstance(self, Functional) and self.gates:
            strategy = getattr(self, "distribute_strategy", None)
            with contextlib.nullcontext() if strategy is None else strategy.scope():
                self._follow_structure()

    def _follow_structure(self) -> None:
        """Sets up the expected cost, its metrics, and the multipliers of the budget."""
        self._structure: Any = Structure(self, self.penalty, self.budget, self._given_reference)
        self._expected = [Latest(name=f"expected_{name}") for name in self._structure.known]
        if self._structure.penalty or self._structure.bounds:
            dues.count(self._structure.cost.gates, self)
        if self._structure.bounds:
            shape = (len(self._structure.bounds),)
            state = {"trainable": False, "initializer": "zeros", "autocast": False}
            self._multipliers = self.add_weight(shape=shape, dtype="float32", name="multipliers", **state)
            # Until the first `fit` tells the number of steps, and for training loops without it.
            pace = keras.initializers.Constant(self._structure.pace(None))
            pace_state = {**state, "initializer": pace}
            self._pace = self.add_weight(shape=(*shape, 3), dtype="float32", name="pace", **pace_state)
            self._structure_step = self.add_weight(shape=(), dtype=STEP_DTYPE, name="structure_step", **state)

    @property
    def penalty(self) -> Any:
        """The `penalty` that the model was made with."""
        return self._penalty

    @penalty.setter
    def penalty(self, value: Any) -> None:
        self._refuse_another("penalty", value)

    @property
    def budget(self) -> Any:
        """The `budget` that the model was made with, whose multipliers are variables of the model."""
        return self._budget

    @budget.setter
    def budget(self, value: Any) -> None:
        self._refuse_another("budget", value)

    def _refuse_another(self, name: str, value: Any) -> NoReturn:
        # Losses, metrics and variables are those of what the model was made with.
        raise AttributeError(
            f"`{name}` is given when a model is made, and cannot be changed afterwards: "
            f"`tfgates.GatedModel(model.inputs, model.outputs, {name}=..., dense_reference=model.dense_reference)` "
            f"has the same layers and gates with another one. Received: {name}={value!r}, in place of "
            f"{getattr(self, f'_{name}', None)!r}"
        )

    @property
    def multipliers(self) -> Any:
        """The Lagrange multipliers of the budget, a variable `(bounds,)`, or None without one."""
        return self._multipliers

    @property
    def dense_reference(self) -> DenseReference | None:
        """The `tfgates.constraints.DenseReference` that shares refer to; None before it is known:
        of a model without budget and penalty that is from its first `fit` or `evaluate` on."""
        return self._given_reference if self._structure is None else self._structure.reference

    def _structure_loss(self, training: Any) -> Any:
        """What penalty and budget add to the loss, a scalar or None."""
        if self._structure is None or not self._structure.cost.gates:
            self._note_structure_loss(keras.ops.zeros(()))
            return None
        loss, fractions, multipliers = self._structure.loss(
            self._multipliers, self._pace, self._structure_step, training
        )
        columns = self._structure.cost.columns
        for metric, name in zip(self._expected, self._structure.known, strict=True):
            metric.update_state(keras.ops.stop_gradient(fractions[columns.index(name)]))
        if training and multipliers is not None:
            self._multipliers.assign(multipliers)
            self._structure_step.assign(self._structure_step + 1)
        self._note_structure_loss(loss)
        if not self._structure.penalty and multipliers is None:
            return None
        # Keras sums what the replicas of tf.distribute compute; the structure is the same on each.
        return as_reported(self, loss)

    def _note_structure_loss(self, loss: Any) -> None:
        """Adds `loss`, that of penalty and budget, and the gates' `l0` to the metric."""
        if self._structure_metric is not None:
            terms = [keras.ops.cast(keras.ops.sum(penalty), "float32") for penalty in passes.penalties(self)]
            self._structure_metric.update_state(keras.ops.stop_gradient(sum(terms, loss)))
