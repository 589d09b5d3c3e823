"""A budget or a penalty that the loss of a training step does not contain is an error, for every gate."""

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests import calculus
from tests.calculus import tensorflow
from tfgates import Budget, GatedModel, freeze_gates, gates, layers, reestimate_statistics

MESSAGE = "Model `gated` has a budget or a penalty, which the loss of this training step does not contain.*Received: "
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def gated(gate: str = "hard_concrete", budget: Any = None, penalty: Any = None) -> GatedModel:
    inputs = keras.Input((3,))
    x = layers.GatedDense(6, activation="tanh", gate=gate, name="first")(inputs)
    x = keras.layers.BatchNormalization()(x)
    outputs = keras.layers.Dense(2)(x)
    if budget is None and penalty is None:
        budget = Budget(macs=0.5)
    return GatedModel(inputs, outputs, name="gated", budget=budget or None, penalty=penalty)


def squared(model: Any, x: Any = X) -> Any:
    return ops.mean(ops.square(model(x, training=True) - ops.convert_to_tensor(Y)))


def without(model: GatedModel) -> Any:
    return squared(model)


def by_compute_loss(model: GatedModel) -> Any:
    return model.compute_loss(X, Y, model(X, training=True), training=True)


def by_structure_loss(model: GatedModel) -> Any:
    return squared(model) + model.structure_loss()


def gradients(model: GatedModel, loss_of: Callable[[Any], Any]) -> Any:
    if keras.backend.backend() == "jax":
        pytest.skip("of loops around a model that keeps its own state, which a step with JAX does not")
    return calculus.gradients(lambda: loss_of(model), model.trainable_variables)


@pytest.mark.parametrize("asked", [{"budget": Budget(params=0.5)}, {"penalty": {"macs": 1.0}}])
@pytest.mark.parametrize("gate", gates.NAMES)
def test_a_custom_loop(gate: str, asked: dict[str, Any]) -> None:
    model = gated(gate, **asked)
    model.compile(loss="mse")
    estimated = any(getattr(g, "estimated", False) for g in model.gates)
    with pytest.raises(ValueError, match="only in a tfgates.GatedModel" if estimated else MESSAGE):
        gradients(model, without)
    assert all(value is not None for value in gradients(model, by_compute_loss))
    if not estimated:
        assert all(value is not None for value in gradients(model, by_structure_loss))
    # What one step settled does not count for the next.
    with pytest.raises(ValueError, match="Received: a gradient through the draw of the gate `first_gate`"):
        gradients(model, without)


def test_the_gradient_of_the_structure_is_in_the_loss_once() -> None:
    model = gated(penalty={"macs": 2.0})
    model.compile(loss="mse")
    found = []
    for loss_of in (by_structure_loss, by_compute_loss):
        model.gates[0].seed_generator.state.assign([0, 1])
        found.append(gradients(model, loss_of))
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    assert float(model.structure_loss()) == pytest.approx(2.0 * float(model._expected[1].result()), rel=1e-5)
    assert float(gated(budget=()).structure_loss()) == 0.0


def test_multipliers_follow_the_steps_that_train() -> None:
    model = gated(budget=Budget(macs=0.3, multiplier_rate=0.1, warm_up=0, ramp=0))
    model.compile(loss="mse")
    for count, (loss_of, expected) in enumerate([(by_compute_loss, 1), (by_structure_loss, 2)]):
        loss_of(model)
        assert int(model._structure_step) == expected == count + 1
    before = float(model.multipliers[0])
    assert before > 0.0
    model.structure_loss(training=False)
    # Nor does a loss that no draw came before.
    model.compute_loss(X, Y, model(X, training=False))
    assert float(model.multipliers[0]) == before
    assert int(model._structure_step) == 2


class WithoutArgument(GatedModel):
    """Keras does not tell such a `compute_loss` whether it trains."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        return ops.mean(ops.square(y_pred - y))


def test_an_evaluation_is_no_step() -> None:
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2)(layers.GatedDense(6, gate="hard_concrete")(inputs))
    model = WithoutArgument(inputs, outputs, budget=Budget(macs=0.5))
    model.compile("sgd")
    model.fit(X, Y, batch_size=4, epochs=2, validation_data=(X, Y), verbose=0)
    model.evaluate(X, Y, verbose=0)
    assert int(model._structure_step) == 8
    assert model._expected[1].result() > 0.0


def inside(kind: type) -> Callable[[GatedModel], Any]:
    def make(model: GatedModel) -> Any:
        inputs = keras.Input((3,))
        return kind(inputs, model(inputs))

    return make


def of_its_layers(model: GatedModel) -> Any:
    return keras.Model(model.inputs, keras.layers.Dense(2)(model.get_layer("first").output))


def distilled(model: GatedModel) -> Any:
    teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    return keras.distillation.Distiller(teacher, model, keras.distillation.LogitsDistillation(), 1.0)


def distilled_by_features(model: GatedModel) -> Any:
    teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6, name="dense"), keras.layers.Dense(2)])
    features = keras.distillation.FeatureDistillation(
        loss="mse", teacher_layer_name="dense", student_layer_name="first"
    )
    return keras.distillation.Distiller(teacher, model, features, 1.0)


OTHERS = {
    "model": inside(keras.Model),
    "gated_model": inside(GatedModel),
    "layers": of_its_layers,
    "distiller": distilled,
    "distiller_of_features": distilled_by_features,
}


# With JAX Keras warns of one input in a list, as which it takes those of models that it makes of layers of others.
@pytest.mark.filterwarnings("ignore:.*structure of `inputs` doesn't match:UserWarning")
@pytest.mark.parametrize("kind", OTHERS)
def test_in_another_model(kind: str) -> None:
    outer = OTHERS[kind](gated())
    outer.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match=MESSAGE):
        outer.fit(X, Y, verbose=0)
    # Nothing is asked of a model that has neither.
    outer = OTHERS[kind](gated(budget=()))
    outer.compile("sgd", "mse", run_eagerly=True)
    outer.fit(X, Y, verbose=0)


def test_a_budget_of_the_outer_model_counts() -> None:
    inputs = keras.Input((3,))
    model = GatedModel(inputs, gated(budget=())(inputs), budget=Budget(macs=0.5))
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert int(model._structure_step) == 1


class Adding(keras.Model):
    """A model around a gated one that adds what the gated one asks for."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        inner = next(layer for layer in self.layers if isinstance(layer, GatedModel))
        return super().compute_loss(*args, **kwargs) + inner.structure_loss(kwargs.get("training", True))


def test_another_model_that_adds_it() -> None:
    inner = gated()
    outer = inside(Adding)(inner)
    outer.compile("sgd", "mse")
    outer.fit(X, Y, batch_size=4, verbose=0)
    assert int(inner._structure_step) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"steps_per_execution": 2},
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
        {"run_eagerly": True},
        {"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "gate_optimizer": None},
    ],
    ids=["steps_per_execution", "jit_compile", "run_eagerly", "gradient_accumulation"],
)
def test_no_false_alarm_in_fit(settings: dict[str, Any]) -> None:
    model = gated()
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse", **settings})
    model.fit(X, Y, batch_size=4, validation_data=(X, Y), verbose=0)
    assert int(model._structure_step) == 4


def test_no_false_alarm_without_training() -> None:
    tf = tensorflow("it uses tapes of TensorFlow")
    model = gated()
    model.compile("sgd", "mse")
    for _ in range(3):
        # Predictions that are drawn.
        model(X, training=True)
    reestimate_statistics(model, (X, Y))
    with tf.GradientTape() as tape:
        x = tf.Variable(X)
        loss = ops.sum(model(x, training=False))
    assert tape.gradient(loss, x) is not None
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    model.fit(X, Y, verbose=0)
    freeze_gates(model)
    assert gradients(model, without) is not None


def test_several_calls_in_a_step() -> None:
    model = gated()
    model.compile(loss="mse")

    def two_views(model: Any) -> Any:
        y_pred = model(X, training=True)
        apart = ops.mean(ops.square(model(2.0 * X, training=True) - y_pred))
        return model.compute_loss(X, Y, y_pred, training=True) + apart

    assert all(value is not None for value in gradients(model, two_views))

    def too_late(model: Any) -> Any:
        return by_compute_loss(model) + squared(model)

    with pytest.raises(ValueError, match="after all of its calls"):
        gradients(model, too_late)


def test_other_models_of_the_same_layers() -> None:
    """Each answers for its own calls: one without a budget may train what one with a budget trained."""
    first = gated()
    second = GatedModel(first.input, first.output)
    third = GatedModel(first.input, first.output, budget=Budget(macs=0.9))
    for model in (first, second, third, first):
        model.compile(loss="mse")
        assert all(value is not None for value in gradients(model, by_compute_loss))


def test_dues_belong_to_a_thread() -> None:
    tf = tensorflow("it uses tapes of TensorFlow")
    model = gated()
    model.compile(loss="mse")
    with tf.GradientTape() as tape:
        loss = squared(model)
        other = threading.Thread(target=model.structure_loss)
        other.start()
        other.join()
    with pytest.raises(ValueError, match=MESSAGE):
        tape.gradient(loss, model.trainable_variables)
