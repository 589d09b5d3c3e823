"""Gated batch normalisation against Keras's."""

import keras
import numpy as np
import pytest

from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedBatchNormalization

OPEN, CLOSED = 20.0, -20.0
PLAIN = [
    {},
    {"center": False},
    {"scale": False, "momentum": 0.5, "epsilon": 0.1},
    {"axis": 1},
    {"renorm": True},
]


def inputs(shape=(16, 4, 4), seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype("float32")


def make_pair(arguments, gate_arguments=None, shape=(16, 4, 4)):
    gate = HardConcreteGate(logits_limit=None, **gate_arguments or {})
    gated = GatedBatchNormalization(gate=gate, **arguments)
    plain = keras.layers.BatchNormalization(**arguments)
    generator = np.random.default_rng(1)
    for layer in (gated, plain):
        layer.build(shape)
    for name in ("gamma", "beta"):
        if getattr(plain, name) is not None:
            values = generator.normal(size=4)
            getattr(gated, name).assign(values)
            getattr(plain, name).assign(values)
    return gated, plain


def assert_same_averages(gated, plain):
    np.testing.assert_allclose(gated.moving_mean, plain.moving_mean, atol=1e-6)
    np.testing.assert_allclose(gated.moving_variance, plain.moving_variance, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"axis": 1, "gate": HardConcreteGate(l0=1e-3)},
        {"center": False, "gate": HardConcreteGate(sampling="example")},
        {"scale": False, "gate": HardConcreteGate(groups=2)},
        {"renorm": True},
    ],
)
def test_layer(arguments):
    run_layer_test(GatedBatchNormalization, arguments, (4, 4))


@pytest.mark.parametrize("arguments", PLAIN)
def test_open_gates_leave_the_layer_of_keras(arguments):
    gated, plain = make_pair(arguments)
    gated.gate.logits.assign([OPEN] * 4)
    for step in range(3):
        x = inputs(seed=step)
        np.testing.assert_allclose(gated(x, training=True), plain(x, training=True), atol=1e-5)
        assert_same_averages(gated, plain)
    assert np.all(plain.moving_mean.numpy() > 0.05)
    np.testing.assert_allclose(gated(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("arguments", PLAIN)
@pytest.mark.parametrize("training", [True, False])
def test_the_gate_comes_last(arguments, training):
    gated, plain = make_pair(arguments)
    # Neither noise nor the test rule moves logits this large.
    gated.gate.logits.assign([OPEN, CLOSED, OPEN, CLOSED])
    z = np.array([1.0, 0.0, 1.0, 0.0])
    x = inputs()
    expected = np.asarray(plain(x, training=training)) * (z[:, None] if arguments.get("axis") == 1 else z)
    np.testing.assert_allclose(gated(x, training=training), expected, atol=1e-5)
    assert_same_averages(gated, plain)


@pytest.mark.parametrize("gate_arguments", [{}, {"groups": 2}])
def test_folding_the_gate_into_gamma_and_beta_equals_the_product(gate_arguments):
    gated, plain = make_pair({}, {"initial_open_probability": 0.5, **gate_arguments})
    # With these logits noise of 0.75 gives a gate near 0.3.
    noise = np.full(gated.gate.units, 0.75, "float32")
    x = inputs()
    z = np.asarray(gated.gate.positions(gated.gate.draw(training=True, noise=noise), 4))
    assert np.all((z > 0) & (z < 1))
    expected = np.asarray(plain(x, training=True)) * z
    np.testing.assert_allclose(gated(x, noise=noise, training=True), expected, atol=1e-5)
    assert_same_averages(gated, plain)


def test_a_frozen_layer_uses_and_keeps_its_averages():
    gated, plain = make_pair({})
    gated.gate.logits.assign([OPEN] * 4)
    gated.trainable = plain.trainable = False
    x = inputs()
    np.testing.assert_allclose(gated(x, training=True), plain(x, training=True), atol=1e-5)
    np.testing.assert_array_equal(gated.moving_mean, np.zeros(4))


def test_a_mask_keeps_padding_out_of_the_statistics():
    gated, plain = make_pair({})
    gated.gate.logits.assign([OPEN] * 4)
    x, mask = inputs(), np.random.default_rng(3).random((16, 4)) < 0.5
    np.testing.assert_allclose(gated(x, training=True, mask=mask), plain(x, training=True, mask=mask), atol=1e-5)
    assert_same_averages(gated, plain)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_keeps_statistics_in_float32(policy):
    gated, plain = make_pair({"dtype": policy})
    gated.gate.logits.assign([OPEN] * 4)
    # Squares of these overflow float16.
    x = keras.ops.cast(inputs() * 100, gated.compute_dtype)
    ours, theirs = gated(x, training=True), plain(x, training=True)
    np.testing.assert_allclose(np.asarray(ours, "float32"), np.asarray(theirs, "float32"), atol=2e-2)
    assert_same_averages(gated, plain)


def test_penalty_is_per_channel_unless_told_otherwise():
    gated, _ = make_pair({}, {"l0": 0.01, "initial_open_probability": 0.4})
    gated(inputs(), training=True)
    np.testing.assert_allclose(gated.losses[0], 0.01 * 4 * 0.4, rtol=1e-5)
    gated.gate.weights_per_unit = 9
    gated(inputs(), training=True)
    np.testing.assert_allclose(gated.losses[0], 0.01 * 9 * 4 * 0.4, rtol=1e-5)
