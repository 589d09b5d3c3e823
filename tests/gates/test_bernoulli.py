"""Bernoulli gates as layers; what trains them is tested in tests/training/test_gated_model.py."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import gradients
from tests.layer_test import run_layer_test
from tests.training.enumeration import cubic, sigmoid
from tfgates import GatedModel, gates, layers
from tfgates.gates import BernoulliGate

keras.saving.register_keras_serializable(package="tests")(cubic)


def make(logits, **arguments):
    gate = BernoulliGate(**arguments)
    gate.build_units((len(logits),))
    gate.logits.assign(logits)
    return gate


@pytest.mark.parametrize(
    "arguments",
    [
        {"initial_open_probability": 0.5, "l0": 1e-3},
        {"initial_open_probability": 0.5, "sampling": "example", "estimator": "arm", "axis": 1, "groups": 2},
        {"initial_open_probability": 0.5, "link": "hard_sigmoid", "estimator": "ar", "test_gate": "hard"},
        {
            "initial_open_probability": 0.5,
            "estimator": "reinforce_leave_one_out",
            "slope": 2.0,
            "threshold": 0.4,
            "seed": 5,
        },
    ],
)
def test_layer(arguments):
    run_layer_test(BernoulliGate, arguments, (4, 6), expected_trainable_variables=1, model_class=GatedModel)


@pytest.mark.parametrize("estimator", ["ar", "arm", "disarm", "reinforce_leave_one_out"])
def test_draws_are_binary_and_as_probable_as_said(estimator):
    gate = make([-0.3, 0.0, 0.4], estimator=estimator)
    p = sigmoid(7.0 * np.array([-0.3, 0.0, 0.4]))
    np.testing.assert_allclose(gate.open_probability(), p, atol=1e-6)
    noise = np.random.default_rng(2).uniform(size=(40_000, 3)).astype("float32")
    states = [ops.convert_to_numpy(z) for z in gate.states_from(gate.value(), ops.convert_to_tensor(noise))]
    assert len(states) == (1 if estimator == "ar" else 2)
    for z in states:
        assert set(np.unique(z)) == {0.0, 1.0}
        np.testing.assert_allclose(z.mean(0), p, atol=4 * 0.5 / np.sqrt(len(z)))
    first, second = states[0], states[-1]
    expected = {"ar": noise < p, "arm": noise > 1.0 - p, "disarm": noise > 1.0 - p}
    if estimator in expected:
        assert np.mean(second != expected[estimator]) <= 1e-4
    else:
        correlation = [np.corrcoef(first[:, k], second[:, k])[0, 1] for k in range(3)]
        np.testing.assert_allclose(correlation, 0.0, atol=4 / np.sqrt(len(first)))


def test_draw_per_batch_and_per_example():
    assert make([0.0] * 5).draw(training=True).shape == (5,)
    z = ops.convert_to_numpy(make([0.0] * 5, sampling="example").draw(training=True, batch_size=64))
    assert z.shape == (64, 5)
    assert np.all(z.std(0) > 0.0)


def test_test_gates():
    logits = [-0.2, 0.05, 0.3]
    p = sigmoid(7.0 * np.array(logits))
    np.testing.assert_allclose(make(logits).test_gates(), [0.0, p[1], p[2]], atol=1e-6)
    np.testing.assert_array_equal(make(logits, test_gate="hard").test_gates(), [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(make(logits, threshold=0.8).open_units(), [False, False, True])
    # Exactly at the threshold a unit is closed.
    np.testing.assert_array_equal(make([0.0], test_gate="hard").test_gates(), [0.0])


@pytest.mark.parametrize("link", ["sigmoid", "hard_sigmoid", cubic])
def test_initial_open_probability(link):
    gate = BernoulliGate(link=link, initial_open_probability=0.8)
    gate.build_units((2,))
    np.testing.assert_allclose(gate.open_probability(), 0.8, atol=1e-5)


def test_callable_link_round_trip():
    gate = BernoulliGate(link=cubic, initial_open_probability=0.5)
    config = keras.saving.serialize_keras_object(gate)
    again = keras.saving.deserialize_keras_object(config)
    assert again.link.function is cubic
    assert again.get_config() == gate.get_config()


def test_names():
    for name in ("ar", "arm", "disarm", "reinforce_leave_one_out"):
        assert gates.get(name, slope=3.0).estimator == name
    assert gates.get("bernoulli").estimator == "disarm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slope": 0.0}, r"`slope` must be a positive number. Received: slope=0.0"),
        ({"link": "relu"}, r"`link` must be one of .*Received: link='relu'"),
        (
            {"estimator": "reparameterise"},
            r"`estimator` must be one of .*Received: estimator='reparameterise'",
        ),
        (
            {"estimator": "ugc", "sampling": "example"},
            r"`sampling` must be 'batch' with `estimator='ugc'`.*Received: sampling='example'",
        ),
        ({"threshold": 1.0}, r"`threshold` must lie strictly between 0 and 1. Received: threshold=1.0"),
        ({"test_gate": "mean"}, r"`test_gate` must be one of .*Received: test_gate='mean'"),
        ({"initial_open_probability": 0.0}, r"`initial_open_probability` must lie strictly"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        BernoulliGate(**arguments)


def another_model(kind, gated):
    if kind == "sequential":
        return keras.Sequential([keras.Input((4,)), gated])
    inputs = keras.Input((4,))
    if kind == "functional":
        return keras.Model(inputs, gated(inputs))
    inner = GatedModel(inputs, gated(inputs))
    inputs = keras.Input((4,))
    return keras.Model(inputs, inner(inputs))


@pytest.mark.parametrize("kind", ["functional", "sequential", "around a GatedModel"])
def test_training_in_another_model_is_refused(kind):
    x, y = np.ones((8, 4), "float32"), np.ones((8, 3), "float32")
    model = another_model(kind, layers.GatedDense(3, gate="disarm"))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"can be trained only in a tfgates.GatedModel.*Received: a gradient"):
        model.fit(x, y, verbose=0)
    # Nothing else is refused, nor training with the gate frozen. Of a model whose step raised Keras keeps no weights
    # with JAX.
    gated = layers.GatedDense(3, gate="disarm")
    model = another_model(kind, gated)
    model.compile("sgd", "mse")
    model.evaluate(x, y, verbose=0)
    gated.gate.trainable = False
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)


def test_gradient_without_a_model_is_refused():
    gate = make([0.0, 0.0])
    with pytest.raises(ValueError, match=r"can be trained only in a tfgates.GatedModel"):
        gradients(lambda: ops.sum(gate(ops.ones((4, 2)), training=True)), [gate.logits])
