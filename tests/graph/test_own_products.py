"""Weights that a layer of a user's has itself and multiplies by are dense layers of the network."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.odd_layers import Experts as OddExperts
from tests.slow import others_slow
from tfgates.graph.network import Network
from tfgates.graph.own_products import is_last_axis, is_plain, of_matrices, spelled_out
from tfgates.layers import StackedDense, Weight

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
    "way, kind",
    [
        ("@", K.Dense),
        ("dot", K.Dense),
        ("tensordot", K.Dense),
        ("...", K.Dense),
        ("swapped", StackedDense),
        ("places", Weight),
        ("first", Weight),
    ],
)
def test_ways_to_write_a_product(way, kind):
    network = Network(network_of(Product(way, name="product"), (4, 4)))
    kinds = {node.name: type(node.op) for node in network.nodes}
    assert kinds["product/matrix"] is kind
    assert [node.index for node in network.nodes] == [*range(len(network.nodes))]
    assert len(network.nodes) == (4 if kind is Weight else 3)


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
        assert is_plain(weight) is (not arguments)


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


class Experts(K.Layer):
    """A mixture of three experts, two for each place, their kernels in one weight, however that is written."""

    def __init__(self, way, **kwargs):
        super().__init__(**kwargs)
        self.way = way

    def build(self, shape):
        width = shape[-1]
        shapes = {"router": (width, 3), "up": (3, width, 8), "bias": (3, 8), "down": (3, 8, width)}
        if self.way == "halves":
            shapes["down"] = (3, 4, width)
        self.parts = {name: self.add_weight(shape=shapes[name], initializer="normal", name=name) for name in shapes}

    def call(self, x):
        up, bias, down = self.parts["up"], self.parts["bias"], self.parts["down"]
        best, which = ops.top_k(ops.softmax(ops.matmul(x, self.parts["router"])), 2)
        share = ops.sum(ops.one_hot(which, 3) * best[..., None], axis=-2)
        if self.way == "einsum":
            hidden = ops.relu(ops.einsum("bsd,edf->bsef", x, up) + bias)
            return ops.sum(ops.einsum("bsef,efd->bsed", hidden, down) * share[..., None], axis=2)
        if self.way == "one":
            hidden = ops.tanh(ops.einsum("edf,...d->...ef", up, x) + bias)
            return ops.einsum("...ef,efd->...d", hidden * share[..., None], down)
        if self.way == "matmul":
            hidden = ops.relu(ops.matmul(x[:, None], up) + bias[:, None])
            return ops.sum(ops.matmul(hidden, down) * ops.transpose(share, (0, 2, 1))[..., None], axis=1)
        places = ops.reshape(x, (-1, x.shape[-1]))
        hidden = ops.einsum("td,edf->etf", places, up) + ops.expand_dims(bias, 1)
        hidden = (hidden[..., ::2] + 1.0) * ops.silu(hidden[..., 1::2])
        made = ops.matmul(hidden, down) * ops.transpose(ops.reshape(share, (-1, 3)))[..., None]
        return ops.reshape(ops.sum(made, axis=0), ops.shape(x))


@pytest.mark.parametrize("way", others_slow(["halves", "einsum", "one", "matmul"], 1))
def test_units_of_stacked_kernels_go(way, tmp_path):
    keras.utils.set_random_seed(0)
    model = network_of(Experts(way, name="experts"))
    units = 4 if way == "halves" else 8
    gated = tfgates.gate_model(model)
    assert dict(gated.report.gated)["experts/up"].split()[0] == str(units)
    assert ("experts/bias", "goes with the gate of experts/up") in gated.report.skipped
    gate = next(gate for gate in gated.gates if gate.name == "experts_up_gate")
    generator = np.random.default_rng(0)
    for variable in gated.trainable_variables:
        variable.assign(generator.normal(size=variable.shape, scale=0.5))
    for each in gated.gates:
        each.logits.assign(np.full(each.unit_shape, 4.0))
    gate.logits.assign(np.where(np.arange(units) % 2, -4.0, generator.uniform(0.0, 3.0, units)))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    # Each expert is computed for each of the five places.
    lost = 3 * (4 * 4 + units // 2 * 4)
    assert plan.dense_macs == 5 * (4 * 4 + 4 * 3 + 3 * 8 * 4 + 3 * (units) * 4 + 4 * 2)
    assert (plan.dense_macs - plan.macs, plan.dense_params - plan.params) == (5 * lost, lost + 3 * 4)
    assert pruned.count_params() == plan.params
    assert tfgates.cost(gated).macs == tfgates.cost(pruned).macs == plan.macs
    pruned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = generator.normal(size=(3, 5, 4)).astype("float32")
    expected = np.array(gated(x, training=False))
    for mode in ({}, {"training": False}):
        for each in (pruned, loaded):
            np.testing.assert_allclose(np.array(each(x, **mode)), expected, rtol=1e-4, atol=1e-5)


def test_biases_of_experts_are_not_taken_for_those_of_places():
    """Of three experts with one unit each, for three examples: `keras.ops.add` would add to the examples."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2, 4))
    layer = OddExperts("first", name="experts")
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(layer(inputs))))
    gate = next(g for g in gated.gates if g.name.startswith("experts"))
    for variable in gated.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    gate.logits.assign([-9.0, 9.0, -9.0, -9.0])
    small = tfgates.prune(gated)
    assert small.get_layer("experts_up").kernel_shape[-1] == 1
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    np.testing.assert_allclose(np.array(small(x)), np.array(gated(x, training=False)), atol=1e-4)


def test_draws_for_each_example_need_the_examples_first():
    """Along the axis of the experts they would be drawn for experts, silently where there are as many examples."""
    inputs = keras.Input((2, 4))
    x = K.Dense(4, activation="relu", name="behind")(OddExperts("first", name="experts")(inputs))
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(x)), "disarm", sampling="example")
    assert [gate.name for gate in gated.gates] == ["behind_gate"]
    assert "draws along the first axis" in dict(gated.report.skipped)["experts/up"]


def test_what_becomes_of_a_constant_differs_from_kernel_to_kernel():
    inputs = keras.Input((4,))
    hidden = ops.sigmoid(StackedDense("bd,edf->bef", (3, 4, 6), name="up")(inputs))
    outputs = StackedDense("bef,efd->bd", (3, 6, 2), name="down")(hidden)
    with pytest.raises(ValueError, match="constant differs from kernel to kernel"):
        tfgates.gate_model(keras.Model(inputs, outputs))


def test_several_products_with_one_stack():
    class Twice(K.Layer):
        def build(self, shape):
            self.stack = self.add_weight(shape=(2, shape[-1], 3), name="stack")

        def call(self, x):
            both = [ops.einsum(equation, x, self.stack) for equation in ("bsd,edf->besf", self.again)]
            return ops.sum(both[0], axis=(1, 2)) + ops.sum(both[1], axis=(1, 2))

    for again, kind in (("bsd,edf->besf", StackedDense), ("bsd,edf->bsef", Weight)):
        layer = Twice(name="twice")
        layer.again = again
        inputs = keras.Input((2, 4))
        network = Network(keras.Model(inputs, layer(inputs)))
        assert type(network.nodes[0].op) is kind and len(network.nodes) == 5 + (kind is Weight)


@pytest.mark.parametrize(
    "subscripts, ranks, expected",
    [
        ("...d, edf -> ...ef", (3, 3), "abd,edf->abef"),
        ("edf,...d->...ef", (3, 2), "edf,ad->aef"),
        ("bsd,edf->bsef", (3, 3), "bsd,edf->bsef"),
        ("...d,...f->...df", (3, 2), "...d,...f->...df"),
    ],
)
def test_dots_are_spelled_out(subscripts, ranks, expected):
    assert spelled_out(subscripts, list(ranks)) == expected


@pytest.mark.parametrize(
    "shape, kernel",
    [
        ((3, 5, 4), (3, 4, 6)),
        ((2, 1, 5, 4), (3, 4, 6)),
        ((2, 3, 5, 4), (3, 4, 6)),
        ((5, 4), (3, 4, 6)),
        ((1, 5, 4), (2, 3, 4, 6)),
    ],
)
def test_products_of_matrices_as_equations(shape, kernel):
    a, b = np.random.default_rng(0).normal(size=shape), np.random.default_rng(1).normal(size=kernel)
    np.testing.assert_allclose(np.einsum(of_matrices(len(shape), len(kernel), shape), a, b), a @ b)
