"""What the class of a model says of its training holds for the gated network, or is refused by name."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests import forked
from tfgates import Budget, GatedModel, gate_model
from tfgates.gating.attributes import attributes_of
from tfgates.graph.classes import own_methods

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")
GATES = ("hard_concrete", "disarm")
# There a step takes and returns the variables: methods take what they are given, and assign where the loss is made.
JAX = keras.backend.backend() == "jax"


@keras.saving.register_keras_serializable(package="tests")
class Trained(keras.Model):
    """Everything that keras.io shows: a step, a loss and metrics of its own, made by a constructor of its own."""

    def __init__(self, units: int = 6, weight: float = 0.5) -> None:
        inputs = keras.Input((3,))
        dense = keras.layers.Dense(units, activation="tanh", name="dense")
        super().__init__(inputs, keras.layers.Dense(2, name="last")(dense(inputs)))
        self.weight, self.dense = weight, dense
        self.tracker = keras.metrics.Mean(name="own")
        self.seen = keras.Variable(0.0, trainable=False, name="seen")
        self.steps: list[str] = []
        self.teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        self.teacher.trainable = False
        self.head = keras.layers.Dense(2, name="head")
        self.head.build((None, 6))
        self.head.bias.trainable = False
        self.rule = self.scaled
        self.features = keras.Model(inputs, dense.output)
        self.tensor = dense.output

    def scaled(self, value: Any) -> Any:
        return self.weight * value

    @property
    def metrics(self) -> list:
        return [self.tracker]

    def train_step(self, *args: Any) -> Any:
        self.steps.append("train")
        if not JAX:
            self.seen.assign_add(1.0)
        return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        self.steps.append("test")
        return super().test_step(*args)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        taught = ops.mean(ops.square(y_pred - self.teacher(x)))
        through_layer = ops.mean(ops.square(self.head(self.dense(x))))
        self.tracker.update_state(taught)
        if JAX and training:
            self.seen.assign_add(1.0)
        return loss + self.rule(taught) + 0.1 * through_layer

    def predict_step(self, *args: Any) -> Any:
        found = super().predict_step(*args)
        return (10.0 * found[0], *found[1:]) if JAX else 10.0 * found

    def get_config(self) -> dict[str, Any]:
        return {"units": 6, "weight": self.weight}


class Plain(keras.Model):
    """A class without methods of training."""


@pytest.mark.parametrize("gate", GATES)
def test_methods_run_in_the_gated_model(gate: str) -> None:
    keras.utils.set_random_seed(0)
    model = Trained(weight=0.25)
    gated = gate_model(model, gate, budget=Budget(params=0.7), initial_open_probability=0.9)
    assert isinstance(gated, Trained)
    assert isinstance(gated, GatedModel)
    gated.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    history = gated.fit(X, Y, batch_size=8, validation_data=(X, Y), verbose=0).history
    assert gated.steps == ["train", "train", "test", "test"]
    assert {"own", "val_own"} <= set(history)
    assert float(gated.seen) == 2.0
    assert gated.weight == 0.25
    assert int(gated._structure_step) == 2
    np.testing.assert_allclose(gated.predict(X, verbose=0), 10.0 * gated(X), rtol=1e-5)
    # What it holds is its own, and the original is as it was.
    assert gated.dense is gated.get_layer("dense")
    assert gated.rule.__self__ is gated
    assert gated.teacher is model.teacher
    assert gated.head is not model.head
    assert gated.head.kernel.trainable and not gated.head.bias.trainable
    assert model.steps == []
    assert float(model.seen) == 0.0
    assert float(model.tracker.count) == 0.0
    assert np.any(ops.convert_to_numpy(gated.head.kernel) != ops.convert_to_numpy(model.head.kernel))


def test_attributes_start_as_they_were() -> None:
    model = Trained()
    model.seen.assign(3.0)
    gated = gate_model(model)
    assert float(gated.seen) == 3.0
    np.testing.assert_array_equal(gated.head.kernel, model.head.kernel)
    for name, reason in (("features", "laid out flat"), ("tensor", "symbolic tensor of the original's graph")):
        with pytest.raises(AttributeError, match=f"`Trained` has no `{name}`: .*{reason}.* Received: '{name}'"):
            getattr(gated, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gated.nothing


@pytest.mark.parametrize("gate", GATES)
def test_save_and_load(gate: str, tmp_path: Any) -> None:
    gated = gate_model(Trained(weight=0.25), gate, penalty={"params": 0.5})
    gated.compile(keras.optimizers.SGD(0.01), "mse")
    gated.fit(X, Y, batch_size=8, verbose=0)
    gated.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, Trained)
    assert type(again) is type(gated)
    np.testing.assert_array_equal(again.predict(X, verbose=0), gated.predict(X, verbose=0))
    np.testing.assert_array_equal(again.head.kernel, gated.head.kernel)
    assert again.dense is again.get_layer("dense")
    assert again.rule.__self__ is again
    assert (again.weight, again.penalty) == (0.25, {"params": 0.5})
    assert float(again.seen) == float(gated.seen) == 2.0
    with pytest.raises(AttributeError, match="laid out flat"):
        _ = again.features
    first, second = (model.fit(X, Y, batch_size=8, shuffle=False, verbose=0).history for model in (gated, again))
    assert first == second


FRESH = """
import sys
import keras, numpy as np
import tests.gating.test_subclasses as module
model = keras.models.load_model(sys.argv[1])
assert isinstance(model, module.Trained)
np.save(sys.argv[2], model.predict(module.X, verbose=0))
"""


@pytest.mark.slow
def test_load_in_a_fresh_process(tmp_path: Any) -> None:
    gated = gate_model(Trained(weight=0.25), penalty={"params": 0.5})
    gated.compile(keras.optimizers.SGD(0.01), "mse")
    gated.fit(X, Y, verbose=0)
    gated.save(tmp_path / "model.keras")
    command = ["-c", FRESH, tmp_path / "model.keras", tmp_path / "found.npy"]
    assert forked.run(command, cwd=pathlib.Path(__file__).parents[2]).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), gated.predict(X, verbose=0), rtol=1e-5)


def test_a_class_that_is_not_registered(tmp_path: Any) -> None:
    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    inputs = keras.Input((3,))
    gated = gate_model(Own(inputs, keras.layers.Dense(2)(keras.layers.Dense(4)(inputs))))
    gated.save(tmp_path / "model.keras")
    with pytest.raises((ValueError, TypeError), match=r"`Own` of a gated model must be registered.*Received: "):
        keras.models.load_model(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Own": Own})
    np.testing.assert_array_equal(again(X), gated(X))
    gated.own = object()
    gated._carried.append("own")
    with pytest.raises(ValueError, match="`own` of the gated `Own` cannot be saved: .*Received: object"):
        gated.get_config()


class Functional(keras.Model):
    """By a graph, with metrics made in the constructor."""

    def __init__(self, *args: Any, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = alpha
        self.tracker = keras.metrics.Mean(name="own")

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        self.tracker.update_state(self.alpha)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def error(self, y_true: Any, y_pred: Any) -> Any:
        return self.alpha * ops.mean(ops.square(y_true - y_pred), axis=-1)


class Called(keras.Model):
    """Without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Dense(4, name="first")
        self.last = keras.layers.Dense(2, name="last")
        self.steps: list[int] = []

    def call(self, inputs: Any) -> Any:
        return self.last(self.first(inputs))

    def train_step(self, *args: Any) -> Any:
        self.steps.append(1)
        return super().train_step(*args)


def functional(kind: Any, **arguments: Any) -> Any:
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
    return kind(inputs, keras.layers.Dense(2, name="last")(hidden), **arguments)


def test_a_method_as_loss() -> None:
    model = functional(Functional, alpha=3.0)
    gated = gate_model(model, budget=Budget(macs=0.8))
    with pytest.raises(ValueError, match=r"`error` is a method of the original model.*`gated.error`.*Received: "):
        gated.compile("sgd", loss=model.error)
    gated.compile("sgd", loss=gated.error)
    history = gated.fit(X, Y, verbose=0).history
    assert history["own"] == [3.0]


def test_a_subclassed_model() -> None:
    model = Called()
    model(X)
    gated = gate_model(model, penalty={"params": 1.0})
    gated.compile("sgd", "mse", run_eagerly=True)
    gated.fit(X, Y, verbose=0)
    assert gated.steps == [1]
    assert model.steps == []
    assert gated.first is gated.get_layer("first")


def test_layers_of_the_model_itself() -> None:
    model = Trained()
    gated = gate_model(model, copy_weights=False)
    assert gated.dense is model.dense


def test_a_class_without_methods_of_training_is_no_matter() -> None:
    assert own_methods(Plain) == []
    gated = gate_model(functional(Plain))
    assert not isinstance(gated, Plain)
    assert own_methods(type(gated)) == []


def test_a_gated_model_is_gated_again() -> None:
    gated = gate_model(functional(Functional, alpha=2.0), layers=["hidden"])
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="other")(inputs)
    outer = Functional(inputs, gated(keras.layers.Dense(3)(x)))
    again = gate_model(outer, layers=["other"])
    assert again.alpha == 1.0
    assert len(again.gates) == 2


def test_nothing_of_keras_is_taken_for_an_attribute(tmp_path: Any) -> None:
    built = Called()
    built(X)
    for model in (functional(keras.Model), built):
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(X, Y, validation_data=(X, Y), verbose=0)
        model.evaluate(X, Y, verbose=0)
        model.predict(X, verbose=0)
        model.save(tmp_path / "model.keras")
        if keras.backend.backend() == "tensorflow":
            model.export(tmp_path / "exported", verbose=False)
        assert set(attributes_of(model)) <= {"first", "last", "steps"}


class OwnSequential(keras.Sequential):
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


class Colliding(keras.Model):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.penalty = 0.1

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


class CollidingMethod(keras.Model):
    def structure_loss(self) -> Any:
        return 0.0

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def test_what_cannot_be_carried_over_is_refused() -> None:
    layers = [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)]
    with pytest.raises(ValueError, match=r"derive it from keras.Model.* Received: OwnSequential with \['train_step'\]"):
        gate_model(OwnSequential(layers))
    for kind, name in ((Colliding, "penalty"), (CollidingMethod, "structure_loss")):
        with pytest.raises(ValueError, match=rf"`{kind.__name__}` uses names.* Received: \['{name}'\]"):
            gate_model(functional(kind))


def test_compress_refuses_and_prune_warns() -> None:
    message = r"Received: Functional with \['compute_metrics'\]"
    with pytest.raises(ValueError, match=rf"`compress` trains by `loss`.*{message}"):
        tfgates.compress(functional(Functional), (X, Y), Budget(macs=0.5), loss="mse", epochs=2)
    gated = gate_model(functional(Functional), budget=Budget(macs=0.5))
    for model in (gated, functional(Functional)):
        with pytest.warns(tfgates.GatesWarning) as found:
            pruned = tfgates.prune(model)
        assert any("does not come along" in str(w.message) and "compute_metrics" in str(w.message) for w in found)
        assert type(pruned) is type(functional(keras.Model))


class OwnCall(keras.Model):
    """A functional model whose `call` does more than its graph."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return ops.tanh(3.0 * super().call(inputs, training=training, mask=mask))


def test_a_call_beside_the_graph_is_followed() -> None:
    model = functional(OwnCall)
    gated = gate_model(model)
    gated.gates[0].logits.assign([9.0, -9.0, 9.0, -9.0])
    pruned = tfgates.prune(gated)
    np.testing.assert_allclose(pruned(X), gated(X), atol=1e-5)
    assert pruned.get_layer("hidden").units == 2
    inputs = keras.Input((3,))
    nested = gate_model(keras.Model(inputs, keras.layers.Dense(1)(model(inputs))))
    assert len(nested.gates) == 2
