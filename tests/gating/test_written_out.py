"""Attention and gated linear units that are written out: one gate for all that goes together, removed exactly."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates

K = keras.layers
STEPS, WIDTH, HEADS = 7, 12, 4


@keras.saving.register_keras_serializable(package="tests")
class Rotation(K.Layer):
    """Turns the pairs of numbers of each head by the step, as rotary embeddings do."""

    def call(self, x):
        angle = ops.cast(ops.arange(ops.shape(x)[1]), x.dtype)[None, :, None, None]
        first, second = ops.split(x, 2, axis=-1)
        cosine, sine = ops.cos(angle), ops.sin(angle)
        return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def compute_output_shape(self, shape):
        return shape


def projected(x, heads, name, bias="nh"):
    shape = (None, heads, 4)
    return K.EinsumDense("btm,mnh->btnh", shape, bias_axes=bias, name=name)(x)


def grouped(x):
    """Two heads of keys and values for four of queries, which are rotated, as in Llama."""
    query, key = Rotation()(projected(x, HEADS, "query")), Rotation()(projected(x, 2, "key"))
    key, value = (ops.repeat(t, 2, axis=2) for t in (key, projected(x, 2, "value")))
    y = ops.dot_product_attention(query, key, value, is_causal=True)
    return K.EinsumDense("btnh,nhm->btm", (None, WIDTH), bias_axes="m", name="out")(y)


def by_einsum(x):
    """With a mask, a softmax of its own and dropout; kernels as Gemma has them."""
    query, key = projected(x, HEADS, "query", bias=None), projected(x, HEADS, "key", bias=None)
    value = K.EinsumDense("btm,nmh->btnh", (None, HEADS, 4), bias_axes="h", name="value")(x)
    scores = ops.einsum("btnh,bsnh->bnts", query, key) * 0.5
    weights = K.Dropout(0.1)(K.Softmax()(scores, mask=ops.cast(ops.ones((1, 1, 1, 1)), "bool")))
    y = ops.einsum("bnts,bsnh->btnh", weights, value)
    return K.EinsumDense("btnh,nhm->btm", (None, WIDTH), name="out")(y)


def of_one(x):
    """One head of keys and values for all of queries, which are told apart on an axis of their own, as in PaliGemma."""
    query, key, value = (projected(x, heads, name) for heads, name in ((HEADS, "query"), (1, "key"), (1, "value")))
    query = K.Reshape((-1, 1, HEADS, 4))(Rotation()(query))
    weights = K.Softmax()(ops.einsum("btkgh,bskh->bkgts", query, Rotation()(key)))
    y = K.Reshape((-1, HEADS, 4))(ops.einsum("bkgts,bskh->btkgh", weights, value))
    return K.EinsumDense("btnh,nhm->btm", (None, WIDTH), bias_axes="m", name="out")(y)


def by_reshaping(x):
    """One dense layer for all three, whose outputs are cut into heads, as in GPT."""
    parts = ops.split(K.Dense(3 * HEADS * 4, name="value")(x), 3, axis=-1)
    query, key, value = (ops.transpose(ops.reshape(t, (-1, STEPS, HEADS, 4)), (0, 2, 1, 3)) for t in parts)
    weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * 0.5, axis=-1)
    y = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
    return K.Dense(WIDTH, name="out")(ops.reshape(y, (-1, STEPS, HEADS * 4)))


def network(attention, steps=None):
    inputs = keras.Input((steps, WIDTH))
    x = K.LayerNormalization()(inputs + attention(inputs))
    hidden = ops.silu(K.Dense(10, name="gate")(x)) * K.Dense(10, use_bias=False, name="up")(x)
    x = K.LayerNormalization()(x + K.Dense(WIDTH, name="down")(hidden))
    both = K.Dense(12, name="both")(x)
    x = x + K.Dense(WIDTH, name="last")(ops.gelu(both[..., :6]) * both[..., 6:])
    return keras.Model(inputs, K.Dense(3)(K.LayerNormalization()(x)))


def randomised(model):
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "logits" not in weight.path:
            weight.assign(generator.normal(size=weight.shape) * 0.4)
    return model


ATTENTIONS = {"grouped": (grouped, 2), "einsum": (by_einsum, HEADS), "reshaping": (by_reshaping, HEADS)}
ATTENTIONS["of one"] = (of_one, HEADS)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_heads_and_gated_units_are_removed_exactly(name):
    attention, heads = ATTENTIONS[name]
    model = randomised(network(attention, STEPS if name == "reshaping" else None))
    gated = tfgates.gate_model(model, length=STEPS)
    maker = "query" if name == "of one" else "value"
    assert dict(gated.report.gated) == {maker: f"{heads} heads", "gate": "10 units", "both": "6 units"}
    assert gated.report.carried["up"] == ["gate"]
    for gate in gated.gates:
        logits = np.where(np.arange(gate.units) % 2, 4.6, -4.6)
        # One that is neither open nor closed.
        logits[-1] = 0.2
        gate.logits.assign(logits)
    plan, cost = tfgates.plan_pruning(gated), tfgates.cost(gated)
    small = tfgates.prune(gated, plan=plan)
    x = np.random.default_rng(1).normal(size=(3, STEPS, WIDTH)).astype("float32")
    np.testing.assert_allclose(small(x), gated(x), atol=1e-5)
    assert small.count_params() == plan.params == cost.params
    assert tfgates.cost(small, length=STEPS).macs == cost.macs < 0.7 * cost.dense_macs
    assert small.get_layer("out").kernel.shape[0] == model.get_layer("out").kernel.shape[0] // 2
    assert small.get_layer("up").units == 5 and small.get_layer("both").units == 6
    # Without any head the branch goes; what its projection adds stays.
    next(gate for gate in gated.gates if gate.name == f"{maker}_gate").logits.assign([-4.6] * heads)
    assert "out" in tfgates.plan_pruning(gated).dropped


def test_criteria_see_what_goes_together():
    model = randomised(network(by_reshaping, STEPS))
    kernel = model.get_layer("value").kernel.numpy()
    for part in range(3):
        # The second head of queries, keys and values.
        kernel[:, part * 16 + 4 : part * 16 + 8] *= 1e-3
    model.get_layer("value").kernel.assign(kernel)
    small = tfgates.prune_by(model, budget=tfgates.Budget(params=0.9), layers="value")
    left = np.delete(kernel, np.arange(4, 8), axis=1)[:, :12]
    np.testing.assert_allclose(small.get_layer("value").kernel[:, :12], left)


def test_beside_attention_of_keras():
    inputs = keras.Input((STEPS, WIDTH))
    x = K.LayerNormalization()(inputs + K.MultiHeadAttention(2, 3, name="attention")(inputs, inputs) * 0.5)
    x = K.Dense(WIDTH)(K.Dense(6, name="gate")(x) * K.Dense(6, activation="sigmoid", name="up")(x))
    model = keras.Model(inputs, K.Dense(2)(K.LayerNormalization()(x)))
    gated = tfgates.gate_model(model)
    assert dict(gated.report.gated) == {"attention": "2 heads", "gate": "6 units"}
