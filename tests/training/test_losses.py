"""Losses per example: they add up to the compiled loss, or are refused by name."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.training.test_gated_model import batch, functional
from tfgates import GatedModel, gates, layers
from tfgates.training.losses import constant_losses, observed, per_example

SIZE = 6


def compiled(loss, outputs=1, **settings):
    """A model with per-example gates whose compiled losses have been called once, and its data."""
    generator = np.random.default_rng(0)
    inputs = keras.Input((3,))
    x = layers.GatedDense(4, gate=gates.BernoulliGate(sampling="example"))(inputs)
    heads = [keras.layers.Dense(4, activation="softmax", name=f"head{k}")(x) for k in range(outputs)]
    model = GatedModel(inputs, heads if outputs > 1 else heads[0])
    model.compile("sgd", loss, **settings)
    y_pred = [ops.convert_to_tensor(generator.dirichlet(np.ones(4), SIZE), "float32") for _ in heads]
    y = [ops.convert_to_tensor(generator.dirichlet(np.ones(4), SIZE), "float32") for _ in heads]
    return (model, y, y_pred) if outputs > 1 else (model, y[0], y_pred[0])


def squared(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "kl_divergence",
        "categorical_crossentropy",
        squared,
        keras.losses.Huber(0.1),
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.MeanSquaredError(reduction="sum"),
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        keras.losses.CosineSimilarity(),
    ],
    # Stable from process to process, as running them on several cores needs.
    ids=lambda loss: loss if isinstance(loss, str) else getattr(loss, "name", type(loss).__name__),
)
@pytest.mark.parametrize("weighted", [False, True])
def test_values_add_up(loss, weighted):
    model, y, y_pred = compiled(loss)
    weights = ops.convert_to_tensor([0.5, 2.0, 0.0, 1.0, 1.0, 3.0]) if weighted else None
    expected = model.compute_loss(y=y, y_pred=y_pred, sample_weight=weights, training=False)
    values = ops.convert_to_numpy(per_example(model._compile_loss)(y, y_pred, weights))
    assert values.shape == (SIZE,)
    assert values.sum() == pytest.approx(float(expected), rel=1e-5)
    # One example alone changes its own value alone.
    changed = ops.convert_to_numpy(y_pred).copy()
    changed[3] = changed[3, ::-1]
    other = per_example(model._compile_loss)(y, ops.convert_to_tensor(changed), weights)
    assert np.flatnonzero(np.abs(ops.convert_to_numpy(other) - values) > 1e-7).tolist() == [3]


def test_integer_targets():
    model, _, y_pred = compiled("sparse_categorical_crossentropy")
    y = ops.convert_to_tensor([0, 1, 2, 3, 0, 1])
    expected = -np.log(ops.convert_to_numpy(y_pred)[np.arange(SIZE), ops.convert_to_numpy(y)]) / SIZE
    model.compute_loss(y=y, y_pred=y_pred, training=False)
    np.testing.assert_allclose(per_example(model._compile_loss)(y, y_pred, None), expected, rtol=1e-5)


def test_several_outputs():
    model, y, y_pred = compiled(["mse", None, "kl_divergence"], 3, loss_weights=[2.0, 1.0, 0.5])
    weights = [ops.convert_to_tensor(np.linspace(0.0, 2.0, SIZE), "float32")] * 3
    expected = float(model.compute_loss(y=y, y_pred=y_pred, sample_weight=weights, training=False))
    tracked = [float(metric.result()) for metric in model._compile_loss.metrics]
    found = per_example(model._compile_loss)(y, y_pred, weights)
    assert float(ops.sum(found)) == pytest.approx(expected, rel=1e-5)
    assert [float(metric.result()) for metric in model._compile_loss.metrics] == tracked


def test_masked_predictions():
    inputs = keras.Input((5,))
    x = keras.layers.Embedding(7, 4, mask_zero=True)(inputs)
    x = gates.BernoulliGate(sampling="example")(x)
    model = GatedModel(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    tokens = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 6, 0], [1, 0, 0, 0, 0]])
    y = ops.convert_to_tensor(np.ones((3, 5, 1)), "float32")
    y_pred = model(tokens)
    expected = float(model.compute_loss(y=y, y_pred=y_pred, training=False))
    values = ops.convert_to_numpy(per_example(model._compile_loss)(y, y_pred, None))
    assert values.sum() == pytest.approx(expected, rel=1e-5)
    squares = np.square(ops.convert_to_numpy(y_pred)[..., 0] - 1.0) * (tokens != 0)
    np.testing.assert_allclose(values, squares.sum(1) / np.sum(tokens != 0), rtol=1e-5)


def test_what_each_example_sees():
    """The loss but for what the compiled losses of the others make of it, whatever else it contains."""
    model, y, y_pred = compiled("mse")
    model.compute_loss(y=y, y_pred=y_pred, training=False)
    values = ops.convert_to_numpy(per_example(model._compile_loss)(y, y_pred))
    arguments = {"y": y, "y_pred": y_pred}
    found = observed(model, ops.convert_to_tensor(7.0), ops.convert_to_tensor(2.0), arguments, True)
    assert float(found["batch"]) == 5.0
    np.testing.assert_allclose(found["example"], values + 5.0 - values.sum(), rtol=1e-5)
    # Without values per example the whole counts for each.
    found = observed(model, ops.convert_to_tensor(7.0), None, {"y": y}, True)
    np.testing.assert_array_equal(found["example"], [7.0])


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (keras.losses.Dice(), "dice"),
        (keras.losses.Tversky(name="my_tversky"), "my_tversky"),
        (lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred)), "lambda"),
        (lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred), axis=0), "lambda"),
    ],
)
def test_losses_without_values_per_example_are_refused(loss, name):
    x, y = batch()
    model = functional("disarm", "example")
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match=f"needs a loss with one value per example. Received: loss `.*{name}"):
        model.fit(x, y, verbose=0)
    # With one draw per batch every loss will do.
    model = functional("disarm")
    model.compile("sgd", loss)
    model.fit(x, y, verbose=0)


def test_only_losses_that_depend_on_the_gates_count():
    inputs = keras.Input((3,))
    x = layers.GatedDense(4, gate=gates.BernoulliGate(l0=0.1), kernel_regularizer="l2")(inputs)
    model = GatedModel(inputs, keras.layers.Dense(4, activity_regularizer="l2", kernel_regularizer="l2")(x))
    model.compile("sgd")
    y_pred = model(np.ones((2, 3), "float32"), training=True)
    constant = float(constant_losses(model))
    # The penalty has a gradient alone. Keras divides an activity regulariser by the batch size.
    activity = 0.01 * float(ops.sum(ops.square(y_pred))) / 2
    assert float(model.compute_loss(y_pred=y_pred)) - constant == pytest.approx(activity, rel=1e-4)
    assert constant_losses(GatedModel(inputs, gates.BernoulliGate()(inputs))) is None


def test_losses_per_example_leave_the_model_as_it_is():
    model, y, y_pred = compiled(["mse", "mae"], 2)
    model.compute_loss(y=y, y_pred=y_pred, training=False)
    before = dict(vars(model._compile_loss))
    per_example(model._compile_loss)(y, y_pred)
    assert vars(model._compile_loss) == before
