"""Matrices that a layer of a user's has itself and multiplies by are dense layers of the network."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.graph.network import Network
from tfgates.graph.own_products import is_last_axis, is_matrix
from tfgates.layers import Weight

K = keras.layers


class Mixed(K.Layer):
    """Multiplies by matrices of its own, one of them twice; one is frozen, one fixed, and one is read otherwise too."""

    def build(self, shape):
        width = shape[-1]
        self.up = self.add_weight(shape=(width, 8), regularizer="l2", initializer="normal", name="up")
        self.down = self.add_weight(shape=(8, width), initializer="normal", name="down")
        self.square = self.add_weight(shape=(width, width), initializer="normal", name="square")
        self.fixed = self.add_weight(shape=(width, width), initializer="normal", trainable=False, name="fixed")

    def call(self, x):
        x = ops.matmul(x, self.fixed)
        for _ in range(2):
            y = ops.relu(ops.matmul(x, self.up))
            x = ops.tanh(ops.einsum("bth,hd->btd", y, self.down))
        return ops.matmul(x, self.square) + ops.sum(self.square)


def network_of(layer, shape=(5, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, K.Dense(2, name="last")(layer(K.Dense(shape[-1], name="first")(inputs))))


def test_channels_of_own_matrices_go(tmp_path):
    keras.utils.set_random_seed(0)
    mixed = Mixed(name="mixed")
    model = network_of(mixed)
    mixed.down.trainable = False
    gated = tfgates.gate_model(model)
    assert dict(gated.report.gated) == {"mixed/up": "8 units"}
    kinds = {layer.name: type(layer) for layer in gated.layers if layer.name.startswith("mixed_")}
    assert kinds["mixed_down"] is K.Dense and kinds["mixed_square"] is kinds["mixed_fixed"] is Weight
    assert gated.get_layer("mixed_up").losses and not gated.get_layer("mixed_down").kernel.trainable
    gated.gates[0].logits.assign(np.where(np.arange(8) % 2, -4.0, 4.0))
    pruned = tfgates.prune(gated)
    assert pruned.count_params() == model.count_params() - 4 * 4 - 4 * 4
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    pruned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (pruned, loaded):
        np.testing.assert_allclose(np.array(each(x)), np.array(gated(x)), rtol=1e-4, atol=1e-5)
    # The layers are the model's own where nothing is copied.
    same = tfgates.gate_model(model, copy_weights=False)
    assert {id(mixed.up), id(mixed.down)} <= {id(v) for v in same.weights}


class Product(K.Layer):
    """One product with a matrix, however it is written."""

    def __init__(self, way=None, **kwargs):
        super().__init__(**kwargs)
        self.way = way

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]), initializer="normal", name="matrix")

    def call(self, x):
        ways = {
            "@": lambda: x @ self.matrix,
            "dot": lambda: ops.dot(x, self.matrix),
            "tensordot": lambda: ops.tensordot(x, self.matrix, 1),
            "...": lambda: ops.einsum("...d,df->...f", x, self.matrix),
            "swapped": lambda: ops.einsum("btd,fd->btf", x, self.matrix),
            "places": lambda: ops.einsum("btd,ts->bsd", x, self.matrix),
            "first": lambda: ops.matmul(self.matrix, x),
        }
        return ways[self.way]()


@pytest.mark.parametrize(
    "way, is_dense",
    [("@", 1), ("dot", 1), ("tensordot", 1), ("...", 1), ("swapped", 0), ("places", 0), ("first", 0)],
)
def test_ways_to_write_a_product(way, is_dense):
    network = Network(network_of(Product(way, name="product"), (4, 4)))
    kinds = {node.name: type(node.op) for node in network.nodes}
    assert kinds["product/matrix"] is (K.Dense if is_dense else Weight)
    assert [node.index for node in network.nodes] == [*range(len(network.nodes))]
    assert len(network.nodes) == (3 if is_dense else 4)


def test_the_dtype_that_a_layer_computes_in():
    # Elsewhere Keras says float32 for what operators make of float64.
    for dtype in ("mixed_bfloat16", "float64") if keras.backend.backend() == "tensorflow" else ("mixed_bfloat16",):
        network = Network(network_of(Product("@", name="product", dtype=dtype)))
        (node,) = [node for node in network.nodes if node.name == "product/matrix"]
        assert type(node.op) is K.Dense and network.dtypes[node.outputs[0]] == node.op.compute_dtype
    # Not cast as a dense layer casts its kernel.
    for arguments in ({}, {"autocast": False}, {"weight_autocast": False}):
        weight = Weight((4, 4), dtype="mixed_bfloat16", **arguments)
        weight.build(None)
        assert is_matrix(weight) is (not arguments)


@pytest.mark.parametrize(
    "subscripts, rank, expected",
    [
        ("btd,df->btf", 3, True),
        ("b d, d f -> b f", 2, True),
        ("...d,df->...f", 4, True),
        ("...td,df->...tf", 3, True),
        ("btd,fd->btf", 3, False),
        ("btd,df->bft", 3, False),
        ("btd,df", 3, False),
        ("btd,dfg->btfg", 3, False),
        ("bdd,df->bdf", 3, False),
        ("btd,dt->btt", 3, False),
        ("btd,df->bf", 3, False),
        ("td,df->tf", 3, False),
        ("bd...,df->bf...", 3, False),
    ],
)
def test_equations(subscripts, rank, expected):
    assert is_last_axis(subscripts, rank) is expected
