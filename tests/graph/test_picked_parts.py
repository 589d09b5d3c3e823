"""Queries, keys and values that are cut out of one tensor behind a transposition lose heads."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.units import close_half, randomised, same_outputs
from tfgates.graph.network import Network

K = keras.layers
STEPS, WIDTH, HEADS, SIZE = 5, 6, 4, 3
CUTS = {
    "unstack": lambda x: ops.unstack(x, axis=0),
    "items": lambda x: (x[0], x[1], x[-1]),
    "split": lambda x: [ops.squeeze(part, 0) for part in ops.split(x, 3, axis=0)],
    "split and item": lambda x: [part[0] for part in ops.split(x, 3, axis=0)],
}


class Attention(K.Layer):
    """Attention as a layer without weights, of tensors that another layer of it turns."""

    def call(self, query, key, value):
        query, key = Turned()(query, key)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        y = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
        return ops.reshape(y, (ops.shape(y)[0], STEPS, HEADS * SIZE))


class Turned(K.Layer):
    def call(self, query, key):
        angle = ops.arange(1.0, STEPS + 1.0)[:, None]
        return query * ops.cos(angle), key * ops.sin(angle)


def network(cut, steps=STEPS, attention=None, order=(2, 0, 3, 1, 4)):
    inputs = keras.Input((steps, WIDTH))
    x = K.Dense(3 * HEADS * SIZE, name="parts")(inputs)
    x = ops.reshape(x, (-1, STEPS, 3, HEADS, SIZE)) if steps else K.Reshape((-1, 3, HEADS, SIZE))(x)
    query, key, value = cut(ops.transpose(x, order))
    if attention is not None:
        return keras.Model(inputs, K.Dense(2)(attention(query, key, value)))
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    y = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
    y = ops.reshape(y, (-1, STEPS, HEADS * SIZE)) if steps else K.Reshape((-1, HEADS * SIZE))(y)
    return keras.Model(inputs, K.Dense(2)(y))


CASES = [(cut, STEPS, None) for cut in CUTS] + [("unstack", None, None), ("items", STEPS, Attention())]


@pytest.mark.parametrize(("cut", "steps", "attention"), CASES)
def test_heads_go(cut, steps, attention):
    model = network(CUTS[cut], steps, attention)
    gated = tfgates.gate_model(model, length=STEPS)
    assert dict(gated.report.gated) == {"parts": f"{HEADS} heads"}
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    (parts,) = [layer.units for layer in pruned.layers if layer.name == "parts"]
    assert parts == 3 * HEADS // 2 * SIZE and plan.params == pruned.count_params() and not plan.kept
    if steps:
        same_outputs(gated, pruned)
    else:
        x = np.random.default_rng(0).normal(size=(2, STEPS, WIDTH)).astype("float32")
        np.testing.assert_allclose(gated(x), pruned(x), atol=1e-5)


class Positions(K.Layer):
    """Adds to scores what queries say of how far keys are away."""

    def build(self, shapes):
        self.table = self.add_weight(shape=(STEPS, STEPS, SIZE), initializer="normal", name="table")

    def call(self, inputs):
        scores, query = inputs
        return scores + ops.einsum("bqd,qkd->bqk", query, self.table)


def folded(windows):
    """Heads are folded into the batch, and windows of places too, with positions that queries are multiplied with."""
    inputs = keras.Input((windows * STEPS, WIDTH))
    x = ops.reshape(inputs, (-1, STEPS, WIDTH)) if windows > 1 else inputs
    x = ops.reshape(K.Dense(3 * HEADS * SIZE, name="parts")(x), (-1, STEPS, 3, HEADS, SIZE))
    x = ops.reshape(ops.transpose(x, (2, 0, 3, 1, 4)), (3, -1, STEPS, SIZE))
    query, key, value = ops.unstack(x, axis=0)
    scores = Positions()([ops.matmul(query * 0.5, ops.transpose(key, (0, 2, 1))), query])
    x = ops.reshape(ops.matmul(ops.softmax(scores, axis=-1), value), (-1, HEADS, STEPS, SIZE))
    x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, STEPS, HEADS * SIZE))
    x = K.Dense(WIDTH, name="out")(x)
    x = ops.reshape(x, (-1, windows * STEPS, WIDTH)) if windows > 1 else x
    return keras.Model(inputs, K.Dense(2)(x))


@pytest.mark.parametrize("windows", [1, 2])
def test_heads_that_are_folded_into_the_batch_lose_features(windows):
    """Which are the same of all heads: those of queries and keys, and those of values."""
    gated = tfgates.gate_model(folded(windows))
    assert sorted(gate.units for gate in gated.gates) == [SIZE, SIZE, WIDTH]
    assert dict(gated.report.gated)["out"] == f"{WIDTH} units"
    randomised(gated)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) == 1, -5.0, 2.0))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    units = {layer.name: layer.units for layer in pruned.layers if isinstance(layer, K.Dense)}
    assert (units["parts"], units["out"]) == (3 * HEADS * (SIZE - 1), WIDTH - 1) and not plan.kept
    assert plan.params == pruned.count_params()
    places = windows * STEPS
    products = places * STEPS * HEADS * 3
    of_layers = places * (WIDTH * 3 * HEADS * SIZE + HEADS * SIZE * WIDTH + WIDTH * 2)
    assert plan.dense_macs == products * SIZE + of_layers
    assert plan.macs == tfgates.plan_pruning(pruned).dense_macs
    same_outputs(gated, pruned)


def kinds(model):
    return [type(node.op).__name__ for node in Network(model).nodes]


def test_what_is_read_whole_too_is_left_as_it_is():
    def whole(x):
        return x[0], x[1], x[2] + ops.mean(x, axis=0)

    assert kinds(network(whole))[2] == "Transpose"
    assert kinds(network(CUTS["items"]))[1] == "GetItem"


def test_what_is_an_output_too_is_left_as_it_is():
    inputs = keras.Input((STEPS, WIDTH))
    x = ops.transpose(ops.reshape(K.Dense(6)(inputs), (-1, STEPS, 3, 2)), (2, 0, 1, 3))
    assert kinds(keras.Model(inputs, [x, K.Dense(2)(x[0])]))[2] == "Transpose"
