"""The gradient of Bernoulli gates is that of all that a training step adds up, without a sampling error."""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.training.enumeration import LINKS
from tests.training.exact import estimated, exact, plain_step
from tfgates import GatedModel, gates, layers
from tfgates.gates.estimators import ESTIMATORS

FEATURES, BATCH = 3, 2


class Charge(keras.layers.Layer):
    """Adds a loss that is as large as the compiled one."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.3 * ops.sum(ops.square(inputs)) + 0.1 * ops.sum(inputs))
        return inputs


class Block(keras.layers.Layer):
    """A layer whose inner layers add losses."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2, activation="tanh", activity_regularizer=keras.regularizers.L2(0.7))
        self.charge = Charge()

    def build(self, input_shape: Any) -> None:
        self.dense.build(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.charge(self.dense(inputs))


class OwnCall(GatedModel):
    """A model that adds a loss in its own `call`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(activity_regularizer=keras.regularizers.L1(0.4))
        self.first = gated_dense(2, **arguments)
        self.last = gated_dense(1, **arguments)

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = self.first(inputs, training=training)
        self.add_loss(0.5 * ops.mean(ops.square(x)))
        return self.last(x, training=training)


class OwnLoss(GatedModel):
    """A `compute_loss` that scales Keras's and adds to it."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return 0.5 * loss + ops.mean(ops.abs(y_pred - 0.3)) + 0.2 * ops.max(y_pred)


class OtherLoss(GatedModel):
    """A `compute_loss` of its own altogether, by the signature of before Keras 3.3."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        return ops.mean(ops.square(ops.sin(y_pred) - y)) + sum(self.losses)


def gated_dense(units: int, regularizer: Any = None, **arguments: Any) -> Any:
    gate = gates.BernoulliGate(initial_open_probability=0.4 + 0.15 * units, **arguments)
    initializer = keras.initializers.RandomUniform(-1.5, 1.5, seed=units)
    return layers.GatedDense(
        units, activation="tanh", gate=gate, activity_regularizer=regularizer, kernel_initializer=initializer
    )


def added(units: int = 2, **arguments: Any) -> GatedModel:
    """Losses of layers: activity regularisers, `add_loss`, nested, beside what does not depend on the gates."""
    inputs = keras.Input((FEATURES,))
    x = gated_dense(units, keras.regularizers.L2(0.9), l0=0.2, **arguments)(inputs)
    x = keras.layers.Dense(2, kernel_regularizer="l2", bias_regularizer="l2")(x)
    shared = keras.layers.Dense(2, kernel_regularizer="l1", name="shared")
    x = Block()(shared(shared(x)))
    frozen = keras.layers.Dense(2, kernel_regularizer="l2", trainable=False)
    inner_inputs = keras.Input((2,))
    inner = keras.Model(inner_inputs, Charge()(frozen(inner_inputs)))
    x = gated_dense(1, **arguments)(inner(x))
    return GatedModel(inputs, keras.layers.Dense(1)(x))


def several_outputs(units: int = 2, **arguments: Any) -> GatedModel:
    inputs = keras.Input((FEATURES,))
    x = gated_dense(units, **arguments)(inputs)
    a = keras.layers.Dense(2, name="a")(x)
    b = gated_dense(1, **arguments)(x)
    return GatedModel(inputs, {"a": a, "b": keras.layers.Dense(1, name="b")(b)})


def of_class(kind: type) -> Callable[..., GatedModel]:
    def make(units: int = 2, **arguments: Any) -> GatedModel:
        inputs = keras.Input((FEATURES,))
        x = gated_dense(units, keras.regularizers.L2(0.5), **arguments)(inputs)
        return kind(inputs, keras.layers.Dense(1)(gated_dense(1, **arguments)(x)))

    return make


MODELS: dict[str, Callable[..., GatedModel]] = {
    "added": added,
    "several_outputs": several_outputs,
    "own_call": OwnCall,
    "own_loss": of_class(OwnLoss),
    "other_loss": of_class(OtherLoss),
}


def compiled(kind: str, **arguments: Any) -> tuple[GatedModel, Callable[[], Any]]:
    """A model, and a training step of it on one batch."""
    keras.utils.set_random_seed(3)
    model = MODELS[kind](**arguments)
    generator = np.random.default_rng(1)
    x = ops.convert_to_tensor(generator.normal(size=(BATCH, FEATURES)), "float32")
    y = ops.convert_to_tensor(generator.normal(size=(BATCH, 1)), "float32")
    weights = ops.convert_to_tensor([0.5, 2.0])
    settings: dict[str, Any] = {"loss": "mse"}
    if kind == "several_outputs":
        settings = {"loss": {"a": "mse", "b": "mae"}, "loss_weights": {"a": 0.5, "b": 3.0}}
        y = {"a": ops.convert_to_tensor(generator.normal(size=(BATCH, 2)), "float32"), "b": y}
        weights = {"a": weights, "b": ops.convert_to_tensor([1.5, 0.25])}
    model.compile("sgd", **settings)
    step = plain_step(model, x, y, weights)
    step()
    return model, step


def assert_gradients(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        # A thousandth of what the gradient is: nothing is drawn.
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(np.max(np.abs(b))))


CASES = [(kind, "disarm", "batch") for kind in MODELS]
CASES += [pytest.param(kind, "arm", "batch", marks=pytest.mark.slow) for kind in MODELS if kind != "added"]
CASES += [("added", "ar", "batch"), ("own_loss", "arm", "example")]
CASES += [
    pytest.param(*case, marks=pytest.mark.slow)
    for case in [
        ("added", "arm", "batch"),
        ("added", "reinforce_leave_one_out", "batch"),
        ("own_loss", "ar", "batch"),
        ("several_outputs", "disarm", "example"),
        ("added", "ar", "example"),
    ]
]


@pytest.mark.parametrize(("kind", "estimator", "sampling"), CASES)
def test_all_of_the_loss_is_seen(kind: str, estimator: str, sampling: str) -> None:
    units = {"units": 1} if sampling == "example" else {}
    model, step = compiled(kind, estimator=estimator, sampling=sampling, **units)
    assert_gradients(estimated(model, step, BATCH), exact(model, step, BATCH))


# Quick ones for each link; the others of every estimator, link and sampling are slow.
QUICK = {("disarm", "sigmoid", "example"), ("ar", "hard_sigmoid", "batch"), ("arm", "callable", "batch")}
QUICK |= {
    ("ugc", "sigmoid", "batch"),
    ("bitflip", "sigmoid", "example"),
    ("double_control_variates", "sigmoid", "example"),
}


@pytest.mark.parametrize(
    ("estimator", "link", "sampling"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in itertools.product(ESTIMATORS, LINKS, ("batch", "example"))
        # A flip is of the whole batch.
        if "flipped" not in ESTIMATORS[case[0]][1] or case[2] == "batch"
    ],
)
def test_every_link(estimator: str, link: str, sampling: str) -> None:
    units = 1 if sampling == "example" else 2
    arguments = {"estimator": estimator, "sampling": sampling, "link": LINKS[link][0]}
    model, step = compiled("own_loss", units=units, **arguments)
    assert_gradients(estimated(model, step, BATCH), exact(model, step, BATCH))


def three_samples(losses: Any, states: Any, noise: Any, probability: Any, units: Any) -> Any:
    """REINFORCE with three independent states, each with the mean of the others as its baseline."""
    mean = sum(losses[:3]) / 3.0
    return 0.5 * sum((loss - mean) * state for loss, state in zip(losses[:3], states, strict=True))


def test_an_estimator_of_three_passes_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside gates that need two."""
    monkeypatch.setitem(ESTIMATORS, "three_samples", (three_samples, ("independent", "independent")))
    inputs = keras.Input((FEATURES,))
    x = gated_dense(1, keras.regularizers.L2(0.5), estimator="three_samples")(inputs)
    x = gated_dense(2, estimator="disarm")(keras.layers.Dense(2)(x))
    model = GatedModel(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    generator = np.random.default_rng(1)
    x, y = (ops.convert_to_tensor(generator.normal(size=(BATCH, k)), "float32") for k in (FEATURES, 1))
    step = plain_step(model, x, y)
    assert_gradients(estimated(model, step, BATCH), exact(model, step, BATCH))


@pytest.mark.parametrize(
    ("estimators", "samplings"),
    [
        (("ugc", "disarm"), ("batch", "batch")),
        (("bitflip", "ugc"), ("batch", "batch")),
        (("disarm", "double_control_variates"), ("batch", "batch")),
    ],
)
def test_gates_of_different_estimators_stand_beside_each_other(estimators: Any, samplings: Any) -> None:
    """A flip has a pass of its own, in which no other gate differs from the first."""
    inputs = x = keras.Input((FEATURES,))
    for units, estimator, sampling in zip((2, 1), estimators, samplings, strict=True):
        x = gated_dense(units, estimator=estimator, sampling=sampling)(x)
    model = GatedModel(inputs, keras.layers.Dense(1)(x))
    # Some of the probabilities are so near to 0 that `ugc` flips those units.
    model.gates[0].logits.assign([-0.4, 0.1])
    model.compile("sgd", "mse")
    generator = np.random.default_rng(1)
    x, y = (ops.convert_to_tensor(generator.normal(size=(BATCH, k)), "float32") for k in (FEATURES, 1))
    step = plain_step(model, x, y)
    assert_gradients(estimated(model, step, BATCH), exact(model, step, BATCH))


def test_metrics_of_an_own_loss_are_updated_once() -> None:
    class Tracked(GatedModel):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.tracker = keras.metrics.Sum(name="tracker")

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            self.tracker.update_state(1.0)
            return super().compute_loss(*args, **kwargs)

    model = of_class(Tracked)(estimator="arm")
    model.compile("sgd", "mse")
    x, y = np.ones((8, FEATURES), "float32"), np.ones((8, 1), "float32")
    history = model.fit(x, y, batch_size=2, verbose=0).history
    assert history["tracker"] == [4.0]


def test_losses_of_a_mixin_are_seen() -> None:
    """A class that knows nothing of gates, before GatedModel among the bases."""

    class Mixin:
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return 0.5 * super().compute_loss(*args, **kwargs)  # type: ignore[misc]

    class Mixed(Mixin, GatedModel):
        pass

    keras.utils.set_random_seed(3)
    model = of_class(Mixed)(estimator="disarm")
    model.compile("sgd", "mse")
    step = plain_step(model, np.ones((BATCH, FEATURES), "float32"), np.ones((BATCH, 1), "float32"))
    assert_gradients(estimated(model, step, BATCH), exact(model, step, BATCH))


def test_predictions_that_were_changed_are_refused() -> None:
    model = of_class(GatedModel)(estimator="disarm")
    model.compile("sgd", "mse")
    x, y = np.ones((BATCH, FEATURES), "float32"), np.ones((BATCH, 1), "float32")
    y_pred = model(x, training=True)
    message = "must be given what the last call of the model returned, as it is.* Received: arguments .*'y_pred'"
    with pytest.raises(ValueError, match=message):
        model.compute_loss(x, y, ops.tanh(y_pred), training=True)
