"""A Keras model with gates."""

import functools
import importlib.util
import inspect
import weakref
from typing import Any

import keras

from tfgates import distribution, gates
from tfgates.constraints.structure import Structure
from tfgates.gates import dues
from tfgates.graph.frozen import flags_of, set_flags
from tfgates.graph.lengths import length_of, set_length
from tfgates.keras_internals import as_reported
from tfgates.optimizers.gate_optimizer import gate_learning_rate, with_gate_optimizer
from tfgates.training import passes
from tfgates.training.ahead import build_ahead
from tfgates.training.callback_checks import check_callbacks
from tfgates.training.latest import Latest
from tfgates.training.layers_named import layers_named
from tfgates.training.losses import without_value
from tfgates.training.pressure import asks_to_close, warn_if_nothing_closes
from tfgates.training.report import Report
from tfgates.training.steps import steps_of
from tfgates.training.within_budget import check_comes_into_force, warn_if_above, within_budget

# JAX has no 64 bits unless told to.
STEP_DTYPE = "int32" if keras.backend.backend() == "jax" else "int64"

# In a compile config: the first `fit` sets the learning rate of the gates.
PACED = "paced_gate_optimizer"

# What exporting as ONNX needs: the extra `onnx`.
ONNX = ("onnx", "tf2onnx")

# Keras builds `keras.Model(inputs, outputs)` as an instance of this class, which has no public name.
_tensor = keras.Input((1,))
Functional: Any = type(keras.Model(_tensor, _tensor))


@keras.saving.register_keras_serializable(package="tfgates")
class GatedModel(keras.Model):
    """A Keras model whose layers carry gates.

    Used as `keras.Model`: `GatedModel(inputs, outputs)`, or a subclass with a `call` of its own.

    A training step of it is one call with `training=True` and its `compute_loss` in the same thread, as
    in `keras.Model`. `compute_loss` adds what `penalty` and `budget` ask for, and gives Bernoulli gates
    their gradient (`tfgates.gates.BernoulliGate`): where an estimator needs the loss at another state of the
    gates, a second forward pass differs from the first in the gates alone: same inputs and other arguments,
    weights, mode, batch statistics and dropout noise; averages and seeds are updated once. With other gates
    there is no second pass and no cost.

    `loss`, in the logs of training as in those of evaluation, is the task's: the compiled loss, `add_loss` and
    weight regularisers. What open units cost, by `l0`, penalty and budget, is the metric `structure_loss`; its
    gradient is in that of `compute_loss`, its value is not.

    A subclass can have a `train_step`, a `compute_loss` or a `call` of its own. An overridden
    `compute_loss` is evaluated in each pass, so that the gates see all that it returns, and need not call that of
    its base; what it assigns to Keras variables, such as metrics, is kept once. A training step without
    `compute_loss` adds `structure_loss()`. A gradient for gates whose budget, penalty or estimate the loss
    does not contain, be it in a custom loop, a distiller or a model around this one, is an error.

    Args:
        inputs, outputs, name: as in `keras.Model`; a subclass with a `call` of its own passes none of
            the first two.
        penalty: None, or a dict from the name of a cost, such as `"params"` or `"macs"`, to the loss for keeping
            everything: the loss gets `penalty[name] * E[cost] / dense cost` (see `tfgates.cost`).
        budget: None, a `tfgates.Budget` or a list of them: bounds on the expected cost, kept by
            Lagrange multipliers, which are saved with the model.
        dense_reference: a `tfgates.constraints.DenseReference`: what shares, penalties and expected costs
            refer to. Defaults to None: this network with everything kept.
        length: None, or how long sequences are where the inputs leave it open, see `tfgates.cost`.
        **kwargs: as in `keras.Model`.
    """

    def __new__(cls, *args, **kwargs):
        functional = len(args) >= 2 or "outputs" in kwargs
        if cls is GatedModel and functional:
            return super().__new__(FunctionalGatedModel)
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        passes.wrap(cls)

    def __init__(
        self,
        inputs=None,
        outputs=None,
        name=None,
        *,
        penalty=None,
        budget=None,
        dense_reference=None,
        length=None,
        **kwargs,
    ):
        if inputs is None and outputs is None:
            super().__init__(name=name, **kwargs)
        else:
            _make_functional(type(self))
            super().__init__(inputs, outputs, name=name, **kwargs)
        set_length(self, length)
        self.penalty = penalty
        self.budget = budget
        self._given_reference = dense_reference
        # What `gate_model` has to say of it.
        self.report: Report | None = None
        # What `tfgates.shrink` has removed on the way to it.
        self.removals: list[dict[str, Any]] = []
        # A `tfgates.Teacher` while one teaches.
        self._taught_by: Any = None
        # Where its layers come from, by name.
        self._origins: dict[str, list[str]] = {}
        self._structure = None
        self._multipliers = self._pace = self._structure_step = None
        self._paced_optimizer = self._structure_metric = None
        self._said_that_nothing_closes = False
        if penalty or budget:
            self._follow_structure()

    @property
    def gates(self):
        """The gates of the model, each once, in the order of its layers."""
        return gates.gates_of(self)

    def layers_of(self, name):
        """The layers that took the place of a layer or of a nested model of the network that was gated.

        `gate_model` lays nested models out flat. To freeze or unfreeze one, set `trainable` of these layers, and
        compile again; that of a layer is that of the gate inside of it too.

        Args:
            name: str, the name of a layer or nested model, or a path of names separated by slashes, such as
                `"backbone/block_1"`.

        Returns:
            A list of layers, in the order of the network; gates that stand by themselves are not among them. Pruning
            keeps their names.

        Raises:
            ValueError: if there is none.

        Example:

        >>> for layer in gated.layers_of("backbone"):
        ...     layer.trainable = True
        """
        return layers_named(self, name)

    def __call__(self, *args, **kwargs):
        def call():
            return super(GatedModel, self).__call__(*args, **kwargs)

        symbolic = any(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten((args, kwargs)))
        return call() if symbolic else passes.first_pass(self, call)

    def stateless_call(self, *args, **kwargs):
        """As `keras.Model.stateless_call`: the forward pass of a training step on JAX."""
        with passes.stateless(self):
            return super().stateless_call(*args, **kwargs)

    @passes.completed
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        # Inside of each pass, so that the gates see it.
        return loss if self._taught_by is None or not training else loss + self._taught_by.loss(x, y_pred)

    def structure_loss(self, training=True):
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

    def _with_structure(self, loss, training):
        """The loss of a step with the gradient of what penalty and budget ask for."""
        # Adds whatever precision the loss of a user has.
        return keras.ops.add(loss, without_value(self.structure_loss(training)))

    def _aggregate_additional_loss(self, loss):
        total = super()._aggregate_additional_loss(loss)
        return without_value(total) if any(loss is penalty for penalty in passes.penalties(self)) else total

    def compile(self, optimizer="rmsprop", *args, gate_optimizer="auto", **kwargs):
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
        if self._structure is None and isinstance(self, Functional):
            self._follow_structure()
        if self._structure_metric is None and (asks_to_close(self) or any(gate.l0 for gate in self.gates)):
            self._structure_metric = keras.metrics.Mean(name="structure_loss")

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and self._paced_optimizer is not None and self._paced_optimizer() is not None:
            # A model that is saved before its first `fit` paces its gates after it is loaded.
            config[PACED] = True
        return config

    def compile_from_config(self, config):
        """Compiles a loaded model as the saved one was."""
        config = dict(config)
        paced = config.pop(PACED, False)
        self.compile(gate_optimizer=None, **keras.saving.deserialize_keras_object(config))
        if paced:
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            self._paced_optimizer = weakref.ref(optimizer.gate_optimizer)
        if self.built and getattr(self, "optimizer", None) is not None:
            self.optimizer.build(self.trainable_variables)

    def _follow_structure(self):
        """Sets up the expected cost, its metrics, and the multipliers of the budget."""
        self._structure = Structure(self, self.penalty, self.budget, self._given_reference)
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

    def fit(self, *args, **kwargs):
        """As `keras.Model.fit`. Before the first step it sets the pace of budget and gates by the number of steps.

        A `tfgates.GatesWarning` says once if nothing asks the gates to close.
        Under a budget, callbacks that stop, restore, save or slow down by what they monitor (`EarlyStopping`,
        `ModelCheckpoint(save_best_only=True)`, `ReduceLROnPlateau`) are shown those epochs alone at whose end the
        budget is in force and holds: before that the loss rises because gates close. With the defaults of
        `tfgates.Budget` these are among the last three tenths of the epochs of the first `fit`, so choose their
        patience by those. Whatever else ends the training above the budget, or goes back to weights of
        before, is told by a `tfgates.GatesWarning`, and so is a callback that had no epoch to choose. Callbacks that
        would fail are refused with a `ValueError` before the first step: some that set a learning rate that follows a
        schedule, `SwapEMAWeights` without averages, and those that save or restore where this `fit` ends before the
        budget is in force.
        """
        given = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs).arguments
        if self.optimizer is not None:
            check_callbacks(given.get("callbacks"), self.optimizer)
        self._set_pace(given)
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

    def _set_pace(self, given):
        """Sets the pace of budget and gates, if this is their first `fit`, by its arguments."""
        gate_optimizer = None if self._paced_optimizer is None else self._paced_optimizer()
        steps = functools.cache(lambda: steps_of(given))
        if self._structure_step is not None and not int(keras.ops.convert_to_numpy(self._structure_step)):
            self._pace.assign(self._structure.pace(steps()))
        if gate_optimizer is not None and not int(keras.ops.convert_to_numpy(gate_optimizer.iterations)):
            gate_optimizer.learning_rate = gate_learning_rate(self.gates, steps())

    # The next three are for several workers, see `tfgates.distribution.multi_worker`.

    def train_step(self, *args, **kwargs):
        return distribution.reducible(self, super().train_step(*args, **kwargs))

    def test_step(self, *args, **kwargs):
        return distribution.reducible(self, super().test_step(*args, **kwargs))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        super()._maybe_symbolic_build(*distribution.local_batch(self, iterator, data_batch))

    @property
    def multipliers(self):
        """The Lagrange multipliers of the budget, a variable `(bounds,)`, or None without one."""
        return self._multipliers

    @property
    def dense_reference(self):
        """The `tfgates.constraints.DenseReference` that shares refer to; None before it is known, see `compile`."""
        return self._given_reference if self._structure is None else self._structure.reference

    def _structure_loss(self, training):
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

    def _note_structure_loss(self, loss):
        """Adds `loss`, that of penalty and budget, and the gates' `l0` to the metric."""
        if self._structure_metric is not None:
            terms = [keras.ops.cast(keras.ops.sum(penalty), "float32") for penalty in passes.penalties(self)]
            self._structure_metric.update_state(keras.ops.stop_gradient(sum(terms, loss)))

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """As `keras.Model.export`; says by which extra the packages for ONNX are installed."""
        missing = [name for name in ONNX if importlib.util.find_spec(name) is None] if format == "onnx" else []
        if missing:
            raise ImportError(
                'Exporting as ONNX needs the packages onnx and tf2onnx: pip install "tfgates[onnx]". '
                f"Received: format='onnx', without {missing}"
            )
        return super().export(filepath, format=format, **kwargs)

    def get_config(self):
        config = super().get_config()
        # Of a network that counts against itself the reference follows from it.
        state = {"penalty": self.penalty, "budget": self.budget, "dense_reference": self._given_reference}
        for name, value in state.items():
            if value is not None:
                config[name] = keras.saving.serialize_keras_object(value)
        length = length_of(self)
        if length is not None:
            config["length"] = {k: list(v) for k, v in length.items()} if isinstance(length, dict) else length
        if self.report is not None:
            config["report"] = self.report.to_dict()
        if self._origins:
            config["origins"] = self._origins
        if self.removals:
            config["removals"] = [dict(each) for each in self.removals]
        if isinstance(self, Functional):
            flags = {layer.name: flags_of(layer) for layer in self.layers}
            flags = {name: each for name, each in flags.items() if each is not None}
            if flags:
                config["frozen"] = flags
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("penalty", "budget", "dense_reference"):
            if config.get(name) is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        report, frozen, origins = config.pop("report", None), config.pop("frozen", {}), config.pop("origins", {})
        removals = config.pop("removals", [])
        model = super().from_config(config, custom_objects=custom_objects)
        model.removals = [dict(each) for each in removals]
        if report is not None:
            model.report = Report.from_dict(report)
        model._origins = {layer: list(paths) for layer, paths in origins.items()}
        for name, flags in frozen.items():
            set_flags(model.get_layer(name), flags)
        return model


@keras.saving.register_keras_serializable(package="tfgates")
class FunctionalGatedModel(GatedModel, Functional):
    """What `GatedModel(inputs, outputs)` makes.

    A class of its own, since Keras would otherwise turn `GatedModel` itself into a functional model
    at the first use, and with it every later subclass that has a `call` of its own.
    """

    def call(self, inputs, training=None, mask=None, **kwargs):
        return super().call(inputs, training=training, mask=mask, **kwargs)


def beside_gates(optimizer, gate_optimizer):
    """`with_gate_optimizer`, under the loss scale of `optimizer` if it has one: one scale for both."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return with_gate_optimizer(optimizer, gate_optimizer)
    return keras.optimizers.LossScaleOptimizer(
        with_gate_optimizer(optimizer.inner_optimizer, gate_optimizer),
        initial_scale=optimizer.initial_scale,
        dynamic_growth_steps=optimizer.dynamic_growth_steps,
    )


def _make_functional(cls):
    """Puts `FunctionalGatedModel` in the place of `GatedModel` among the bases of `cls`."""
    if issubclass(cls, FunctionalGatedModel) or not issubclass(cls, GatedModel):
        return
    cls.__bases__ = tuple(FunctionalGatedModel if base is GatedModel else base for base in cls.__bases__)
    for base in cls.__bases__:
        _make_functional(base)
