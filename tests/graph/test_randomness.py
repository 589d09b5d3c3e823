"""Networks that are random at inference: compared with the same seeds, or refused by name before any training."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_phase import X, assert_same, half_closed
from tfgates.graph.equality import outputs_of, state_kept

K = keras.layers


class Noise(K.Layer):
    """Random at inference, from a seed that no layer holds."""

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="tests")
class SeededNoise(K.Layer):
    """Random at inference, from a seed of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.generator)


def lambda_layer():
    return K.Lambda(lambda x: x + keras.random.normal(ops.shape(x), dtype=x.dtype), name="jitter")


def behind(layer, **keywords):
    inputs = keras.Input((6,))
    x = layer(K.Dense(5, name="before")(inputs), **keywords)
    return keras.Model(inputs, K.Dense(3)(K.Dense(8, activation="relu", name="after")(x)))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("layer", [lambda: Noise(name="noise"), lambda_layer])
def test_noise_without_seeds_is_refused_at_gating(layer, policy):
    keras.config.set_dtype_policy(policy)
    model = behind(layer())
    name = model.layers[2].name
    for function in (tfgates.gate_model, tfgates.prune):
        with pytest.raises(
            ValueError, match=f"`model` gives other outputs each time.* Received: .*layers {name} "
        ) as e:
            function(model)
        assert str(e.value).endswith(f"({type(model.layers[2]).__name__})")


def test_in_a_nested_model():
    with pytest.raises(ValueError, match=r"layers .*/noise \(Noise\)"):
        tfgates.gate_model(nested())


def nested():
    inputs, inner = keras.Input((6,)), keras.Input((6,))
    base = keras.Model(inner, Noise(name="noise")(K.Dense(6)(inner)), name="base")
    return keras.Model(inputs, K.Dense(2)(K.Dense(8)(base(inputs))))


@pytest.mark.parametrize(
    ("layer", "keywords"),
    [
        (SeededNoise, {}),
        (lambda: K.Dropout(0.4), {"training": True}),
        (lambda: K.GaussianNoise(0.4), {"training": True}),
        (lambda: K.GaussianDropout(0.4), {"training": True}),
        (lambda: K.AlphaDropout(0.4), {"training": True}),
    ],
)
def test_noise_with_seeds_is_compared(layer, keywords):
    model = behind(layer(), **keywords)
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("after").units == 4
    assert np.abs(np.asarray(pruned(X)) - np.asarray(pruned(X))).max() > 1e-3
    if keywords:
        assert_same(gated, pruned, training=False)


def test_recurrent_and_attention():
    inputs = keras.Input((5, 6))
    x = K.LSTM(6, dropout=0.3, recurrent_dropout=0.2, return_sequences=True)(K.Dense(8)(inputs), training=True)
    x = x + K.MultiHeadAttention(2, 4, dropout=0.3)(x, x, training=True, use_causal_mask=True)
    model = keras.Model(inputs, K.Dense(3)(K.Dense(8, activation="relu")(x)))
    pruned = tfgates.prune(half_closed(model))
    (node,) = next(layer for layer in pruned.layers if isinstance(layer, K.MultiHeadAttention))._inbound_nodes
    assert node.arguments.kwargs["use_causal_mask"] and node.arguments.kwargs["training"]


def test_noise_is_back_after_a_comparison():
    model = behind(K.Dropout(0.4), training=True)
    a, b = (outputs_of(model, X, {}) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])
    assert model.layers[2].rate == 0.4
    with state_kept(model):
        first = np.asarray(model(X))
    with state_kept(model):
        np.testing.assert_array_equal(first, np.asarray(model(X)))
