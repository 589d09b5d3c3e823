"""Transformers that are written by hand, of Keras's layers and operators alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfgates
from tests.hub.test_families import assert_alike, close

pytestmark = pytest.mark.slow


def mlp(x, i, activation="gelu"):
    """Behind a normalisation, with the sum."""
    y = layers.LayerNormalization()(x)
    y = layers.Dense(24, activation=activation, name=f"layer_{i}_hidden")(y)
    return layers.Add(name=f"layer_{i}_sum")([x, layers.Dense(16, name=f"layer_{i}_out")(y)])


def encoder():
    """Masks of an embedding, normalisation behind the sums."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(30, 16, mask_zero=True)(tokens)
    for i in range(2):
        y = layers.MultiHeadAttention(4, 4, name=f"layer_{i}_attention")(x, x)
        x = layers.LayerNormalization()(layers.Add(name=f"layer_{i}_add")([x, y]))
        y = layers.Dense(24, activation="relu", name=f"layer_{i}_hidden")(x)
        y = layers.Dense(16, name=f"layer_{i}_out")(y)
        x = layers.LayerNormalization()(layers.Add(name=f"layer_{i}_sum")([x, y]))
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def decoder():
    """Queries, keys and values of dense layers, heads by reshapes, products of matrices, a causal mask."""
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(30, 16)(tokens)
    causal = np.triu(np.full((12, 12), -1e9, "float32"), 1)
    for i in range(2):
        y = layers.LayerNormalization()(x)
        q, k, v = (
            ops.transpose(ops.reshape(layers.Dense(16, name=f"layer_{i}_{name}")(y), (-1, 12, 4, 4)), (0, 2, 1, 3))
            for name in ("query", "key", "value")
        )
        weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0 + causal)
        y = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 12, 16))
        x = layers.Add(name=f"layer_{i}_add")([x, layers.Dense(16, name=f"layer_{i}_projection")(y)])
        x = mlp(x, i)
    return keras.Model(tokens, layers.Dense(30)(x))


def both():
    """An encoder and a decoder that reads it, SwiGLU in the second."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    x = layers.Embedding(30, 16)(source)
    x = layers.Add(name="layer_0_add")([x, layers.MultiHeadAttention(4, 4, name="layer_0_attention")(x, x)])
    x = mlp(x, 0)
    y = layers.Embedding(30, 16)(target)
    inner = layers.MultiHeadAttention(4, 4, name="layer_1_attention")(y, y, use_causal_mask=True)
    y = layers.Add(name="layer_1_add")([y, inner])
    y = layers.Add(name="layer_1_cross_add")([y, layers.MultiHeadAttention(4, 4, name="layer_1_cross")(y, x)])
    z = layers.LayerNormalization()(y)
    z = layers.Dense(24, activation="silu", name="layer_1_hidden")(z) * layers.Dense(24, name="layer_1_gate")(z)
    y = layers.Add(name="layer_1_sum")([y, layers.Dense(16, name="layer_1_out")(z)])
    return keras.Model([source, target], layers.Dense(30)(y))


@keras.saving.register_keras_serializable("tests")
class Positions(layers.Layer):
    """Adds a vector of its own to each place."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


def vision():
    """Patches by a convolution, places with weights of their own."""
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 4, 4, name="patches")(images)
    x = Positions()(layers.Reshape((16, 16))(x))
    for i in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(4, 4, name=f"layer_{i}_attention")(y, y)
        x = mlp(layers.Add(name=f"layer_{i}_add")([x, y]), i)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def data(model, steps):
    generator = np.random.default_rng(steps)
    made = []
    for tensor in model.inputs:
        shape = (3, *(size or steps for size in tensor.shape[1:]))
        integers = "int" in tensor.dtype
        made.append(generator.integers(0, 30, shape) if integers else generator.normal(size=shape).astype("float32"))
    return made if len(made) > 1 else made[0]


@pytest.mark.parametrize(
    ("make", "residual"),
    [(encoder, "block"), (encoder, "layer"), (decoder, "block"), (both, "block"), (vision, "block")],
)
def test_half_of_the_heads_and_units_and_a_layer_go(make, residual):
    model = make()
    generator = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(generator.normal(size=variable.shape) * 0.3)
    gated = tfgates.gate_model(model, residual=("inner", residual), length=9)
    kinds = [what for _, what in gated.report.gated]
    assert [sum(word in what for what in kinds) >= 2 for word in ("heads", "units", "the whole")] == [True] * 3
    close(gated)
    small = tfgates.prune(gated)
    assert small.count_params() < 0.8 * model.count_params()
    for steps in (9, 6):
        assert_alike(gated, small, data(model, steps))
