"""Attention with gates on its heads against Keras's and against numpy."""

import json

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array
from tests.reload import predict_in_fresh_process
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedDense, GatedLayer, GatedMultiHeadAttention

K = keras.layers
OPEN, CLOSED = 4.6, -4.6
DRAW = np.random.default_rng(0)
# Keras's attention wants values as wide as keys with JAX.
VALUES = 2 if keras.backend.backend() == "jax" else 3
QUERY, VALUE = (DRAW.normal(size=(3, length, 6)).astype("float32") for length in (5, 4))


def make(logits=None, gate_arguments=None, **arguments):
    gate = HardConcreteGate(seed=1, **gate_arguments or {})
    layer = GatedMultiHeadAttention(4, 2, value_dim=VALUES, bias_initializer="normal", gate=gate, **arguments)
    layer.build(QUERY.shape, VALUE.shape)
    if logits is not None:
        layer.gate.logits.assign(logits)
    return layer


def plain_of(layer):
    """The layer of Keras with the same weights."""
    plain = K.MultiHeadAttention.from_config(K.MultiHeadAttention.get_config(layer))
    plain.build(QUERY.shape, VALUE.shape)
    for name in ("query", "key", "value", "output"):
        getattr(plain, f"{name}_dense").set_weights(getattr(layer, f"{name}_dense").get_weights())
    return plain


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ({}, {}),
        ({"sliding_window": 2, "use_bias": False}, {"use_causal_mask": True}),
        ({"use_gate": True, "dropout": 0.1}, {"attention_mask": DRAW.random((3, 5, 4)) < 0.7}),
    ],
)
def test_open_gates_leave_the_layer_of_keras(arguments, call):
    layer = make([OPEN] * 4, **arguments)
    plain = plain_of(layer)
    if arguments.get("use_gate"):
        plain._gate_dense.set_weights(layer._gate_dense.get_weights())
    np.testing.assert_allclose(layer(QUERY, VALUE, **call), plain(QUERY, VALUE, **call), atol=1e-6)


def test_heads_are_scaled_by_their_gates():
    z = np.array([1.0, 0.0, 0.5, 0.0])
    layer = make(np.where(z == 1, OPEN, np.where(z == 0, CLOSED, 0.0)))
    plain = plain_of(layer)
    plain.output_dense.kernel.assign(z[:, None, None] * layer.output_dense.kernel.numpy())
    np.testing.assert_allclose(layer(QUERY, VALUE), plain(QUERY, VALUE), atol=1e-6)
    # Without any head the bias of the output is left.
    layer.gate.logits.assign([CLOSED] * 4)
    np.testing.assert_allclose(layer(QUERY, VALUE)[0, 0], layer.output_dense.bias, atol=1e-6)


@pytest.mark.parametrize("gate_arguments", [{}, {"groups": 2}, {"axis": None}], ids=str)
def test_the_gate_multiplies_the_kernel_or_the_heads(monkeypatch, gate_arguments):
    results = []
    for on_kernel in (True, False):
        monkeypatch.setattr(GatedLayer, "_cheaper_on_kernel", lambda *_, decision=on_kernel: decision)
        keras.utils.set_random_seed(3)
        layer = make(gate_arguments={"initial_open_probability": 0.6, **gate_arguments})
        results.append([np.asarray(layer(QUERY, VALUE, training=True)) for _ in range(3)])
    for first, second in zip(*results, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
    assert np.any(results[0][0] != results[0][1])


def test_one_draw_per_example():
    layer = make(gate_arguments={"sampling": "example", "initial_open_probability": 0.5})
    same = np.tile(QUERY[:1], (32, 1, 1))
    assert len(np.unique(np.asarray(layer(same, same, training=True))[:, 0, 0])) > 5
    assert len(np.unique(np.asarray(layer(same, same, training=False))[:, 0, 0])) == 1


def test_the_penalty_counts_the_weights_of_a_head():
    layer = make(gate_arguments={"l0": 0.01})
    assert layer.gate.weights_per_unit == 6 * (2 + 2 + 2 * VALUES) + 2 + 2 + VALUES
    layer(QUERY, VALUE, training=True)
    (penalty,) = layer.losses
    expected = 0.01 * layer.gate.weights_per_unit * np.sum(layer.gate.open_probability())
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_masks_go_through():
    tokens = np.array([[1, 2, 0, 0, 0], [3, 1, 2, 1, 0]])
    words, layer = K.Embedding(4, 6, mask_zero=True), make([OPEN] * 4)
    # Keras takes the mask off what attention reads.
    x, y = words(tokens), layer(words(tokens), words(tokens))
    np.testing.assert_allclose(y, plain_of(layer)(x, x), atol=1e-6)
    np.testing.assert_array_equal(y._keras_mask, tokens != 0)


def test_config_training_and_file(tmp_path):
    config = GatedMultiHeadAttention(4, 2, gate=HardConcreteGate(seed=1)).get_config()
    again = GatedMultiHeadAttention.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    inputs = keras.Input((5, 6))
    noise = tfgates.layers.GateNoise(4, seed=1)(inputs)
    generator = tfgates.layers.GateGenerator([4], initial_logits=0.0, seed=2, name="generator")
    model = tfgates.GatedModel(inputs, again(query=inputs, value=inputs, logits=generator(inputs)[0], noise=noise))
    model.compile("sgd", "mse")
    before = [array(v) for v in generator.trainable_variables]
    model.fit(QUERY, QUERY, verbose=0)
    after = [np.asarray(keras.ops.convert_to_numpy(v)) for v in generator.trainable_variables]
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
    model.save(tmp_path / "model.keras")
    (found,) = predict_in_fresh_process(str(tmp_path / "model.keras"), QUERY, str(tmp_path))
    np.testing.assert_allclose(found, model(QUERY, training=False), atol=1e-6)


def test_half_precision_is_for_the_heads_not_for_the_gate():
    keras.config.set_dtype_policy("mixed_bfloat16")
    layer = make()
    noise = keras.ops.convert_to_tensor([0.999] * 4, "float32")
    y = layer(QUERY, VALUE, noise=noise, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert layer.gate.logits.dtype == "float32"


def test_weights_are_no_units_of_attention():
    with pytest.raises(ValueError, match="`granularity` must be 'unit' for attention.*Received: granularity='weight'"):
        GatedMultiHeadAttention(2, 3, granularity="weight")
    assert GatedDense(2).gated != GatedMultiHeadAttention.gated
