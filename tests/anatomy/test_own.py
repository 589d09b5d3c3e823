"""Layers of one's own with weights: a declaration is all that it takes."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_properties import check_slices
from tests.opaque import needs_values
from tfgates.anatomy import Anatomy, ChannelAnatomy, LinearAnatomy, check_anatomy, register_anatomy, registry
from tfgates.gates import HardConcreteGate

K = keras.layers
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _registry():
    """Takes back what a test registers."""
    before, gates = dict(registry.KINDS), dict(tfgates.gates.NAMES)
    yield
    tfgates.gates.NAMES.clear()
    tfgates.gates.NAMES.update(gates)
    registry.KINDS.clear()
    registry.KINDS.update(before)


class Own(keras.layers.Layer):
    """A layer of `units` that says so."""

    def __init__(self, units=6, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.units, self.use_bias, self.bias = units, use_bias, None

    def get_config(self):
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias}


class Product(Own):
    """`(x V) * tanh(x D)`, squared: nothing passes but zeros."""

    def build(self, shape):
        self.first = self.add_weight(shape=(shape[-1], self.units), name="first")
        self.second = self.add_weight(shape=(self.units, shape[-1]), name="second")

    def call(self, x):
        return ops.square((needs_values(x) @ self.first) * ops.tanh(x @ ops.transpose(self.second)))


class ProductAnatomy(Anatomy):
    variables = {"first": ("inputs", "outputs"), "second": ("outputs", "inputs")}
    widths = {"units": "outputs"}
    products = ("first", "second")


class Circulant(Own):
    """A dense layer that keeps its kernel the other way round."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(self.units, shape[-1]), name="matrix")
        self.bias = self.add_weight(shape=(self.units,), name="bias") if self.use_bias else None

    def call(self, x):
        y = x @ ops.transpose(self.matrix)
        return y if self.bias is None else y + self.bias


class CirculantAnatomy(LinearAnatomy):
    variables = {"matrix": ("outputs", "inputs"), "bias": ("outputs",)}
    widths = {"units": "outputs"}
    products = ("matrix",)


class Bend(keras.layers.Layer):
    """`x * slope + sin(x) + shift`"""

    def build(self, shape):
        self.slope = self.add_weight(shape=(shape[-1],), initializer="ones", name="slope")
        self.shift = self.add_weight(shape=(shape[-1],), name="shift")

    def call(self, x):
        return x * self.slope + ops.sin(x) + self.shift


class BendAnatomy(ChannelAnatomy):
    variables = {"slope": ("channels",), "shift": ("channels",)}


def network(*layers, size=5):
    """Of the 6 channels of the first layer 0, 2 and 3 are closed."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size,))
    gate = HardConcreteGate()
    x = gate(K.Dense(6, name="first")(inputs))
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, K.Dense(2, name="last")(x))
    gate.logits.assign([-5.0, 5.0, -5.0, -5.0, 5.0, 5.0])
    for layer in layers:
        for weight in layer.weights:
            weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    return model


def check(model):
    """What is pruned, which compares the outputs, is what was planned, to each variable."""
    plan = tfgates.plan_pruning(model)
    pruned = tfgates.prune(model, plan=plan)
    check_slices(plan)
    again = tfgates.plan_pruning(pruned)
    assert pruned.count_params() == plan.params == again.dense_params < plan.dense_params
    assert plan.macs == again.dense_macs < plan.dense_macs


def units(plan):
    return {row.name: row.units_left for row in plan.layers}


def test_without_a_declaration_all_around_it_stays():
    plan = tfgates.plan_pruning(network(Product(name="own")))
    assert units(plan)["first"] == 6
    assert [name for name, _ in plan.alone] == ["own"]


def test_a_layer_through_which_nothing_passes_but_zeros():
    register_anatomy(Product)(ProductAnatomy)
    model = network(Product(name="own"))
    plan = tfgates.plan_pruning(model)
    assert units(plan) == {"first": 3, "own": 6, "last": 2} and plan.alone == []
    check(model)
    check_anatomy(model.get_layer("own"), np.random.default_rng(0).normal(size=(3, 6)))
    # A constant other than 0 has to stay.
    assert units(tfgates.plan_pruning(network(K.Activation("sigmoid"), Product(name="own"))))["first"] == 6


def test_its_outputs_are_gated():
    register_anatomy(Product)(ProductAnatomy)
    model = network(Product(name="own"), Product(4, name="next"))
    gated = tfgates.gate_model(keras.Model(model.inputs, model.outputs), gate="hard_concrete")
    assert {"own", "next"} <= {name for name, _ in gated.report.gated}
    (own,) = [gate for gate in gated.gates if gate.name.startswith("own")]
    own.logits.assign([5.0, -5.0, 5.0, 5.0, -5.0, 5.0])
    assert units(tfgates.plan_pruning(gated))["own"] == 4
    check(gated)


@pytest.mark.parametrize("use_bias", [True, False])
def test_constants_and_factors_go_into_a_linear_layer(use_bias):
    register_anatomy(Circulant)(CirculantAnatomy)
    model = network(K.Activation("sigmoid"), Circulant(4, use_bias, name="own"))
    pruned = tfgates.prune(model)
    assert pruned.get_layer("own").matrix.shape == (4, 3) and pruned.get_layer("own").bias is not None
    expected = 0.5 * np.array(model.get_layer("own").matrix)[:, [0, 2, 3]].sum(axis=1)
    if use_bias:
        expected = expected + np.array(model.get_layer("own").bias)
    np.testing.assert_allclose(pruned.get_layer("own").bias, expected, rtol=1e-5)
    assert "Rescaling" not in {type(layer).__name__ for layer in pruned.layers}


def test_a_linear_layer_that_can_have_no_bias_keeps_constants():
    class Bare(Circulant):
        def __init__(self, units=6, **kwargs):
            super().__init__(units, False, **kwargs)

        def get_config(self):
            config = super().get_config()
            del config["use_bias"]
            return config

    register_anatomy(Bare)(CirculantAnatomy)
    assert units(tfgates.plan_pruning(network(Bare(4, name="own"))))["first"] == 3
    model = network(K.Activation("sigmoid"), Bare(4, name="own"))
    assert units(tfgates.plan_pruning(model))["first"] == 6
    tfgates.prune(model)


def test_a_layer_that_treats_each_channel_by_itself():
    register_anatomy(Bend)(BendAnatomy)
    model = network(Bend(name="own"), size=4)
    plan = tfgates.plan_pruning(model)
    assert units(plan) == {"first": 3, "own": 3, "last": 2}
    pruned = tfgates.prune(model, plan=plan)
    # What is closed is the constant `shift` behind it.
    shift, kernel = np.array(model.get_layer("own").shift), np.array(model.get_layer("last").kernel)
    expected = np.array(model.get_layer("last").bias) + shift[[0, 2, 3]] @ kernel[[0, 2, 3]]
    np.testing.assert_allclose(pruned.get_layer("last").bias, expected, rtol=1e-5)
    check(model)


def test_zeros_that_stay_reach_padded_convolutions():
    def places(keeps_zero):
        inputs = keras.Input((6, 6, 3))
        x = Scale(name="own")(K.Conv2D(8, 3, use_bias=False, name="first")(inputs))
        model = keras.Model(inputs, K.Conv2D(2, 3, padding="same")(x))
        register_anatomy(Scale)(type("ScaleAnatomy", (BendAnatomy,), {"keeps_zero": keeps_zero}))
        try:
            return [name for name, _ in tfgates.gate_model(model).report.gated]
        except ValueError:
            return []

    class Scale(Bend):
        def call(self, x):
            return x * self.slope

    assert places(True) == ["first"] and places(False) == []


def test_what_cannot_be_followed_is_kept_with_the_reason():
    register_anatomy(Product)(type("HalfAnatomy", (Anatomy,), {"variables": {"first": (None, None)}, "products": ()}))
    plan = tfgates.plan_pruning(network(Product(name="own")))
    assert plan.alone == [("own", "own: its anatomy says of no variable that it carries 'inputs'")]


def test_products_are_variables():
    with pytest.raises(ValueError, match=r"`products` of A must name .* Received: products=\('kernel',\), variables"):
        register_anatomy(Product)(type("A", (Anatomy,), {"variables": {"first": ("inputs", "outputs")}}))


PAGES = {"extending.md": ROOT / "docs" / "guides" / "extending.md", "CONTRIBUTING.md": ROOT / "CONTRIBUTING.md"}


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run_as_they_stand(page, capsys, costs_of_the_page):
    text, names = PAGES[page].read_text(), {}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, page, "exec"), names)
    assert capsys.readouterr().out == "".join(re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    declarations = re.findall(r"@tfgates.anatomy.register_anatomy.*?(?:\n\n|```)", text, re.DOTALL)
    assert declarations and all(len(declaration.splitlines()) <= 12 for declaration in declarations)


class LowRank(K.Layer):
    """A product of two matrices, a rank between them."""

    def __init__(self, units, rank, **kwargs):
        super().__init__(**kwargs)
        self.units, self.rank = units, rank

    def build(self, shape):
        self.u = self.add_weight(shape=(shape[-1], self.rank), name="u")
        self.v = self.add_weight(shape=(self.rank, self.units), name="v")

    def call(self, x):
        return keras.ops.matmul(keras.ops.matmul(x, self.u), self.v)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rank": self.rank}


def declared(products=("u", "v"), widths=None, v=("rank", "outputs")):
    layer = LowRank(8, 4)
    members = {"variables": {"u": ("inputs", "rank"), "v": v}, "products": products}
    members["widths"] = {"units": "outputs", "rank": "rank"} if widths is None else widths
    register_anatomy(layer)(type("LowRankAnatomy", (Anatomy,), members))
    check_anatomy(layer, np.random.default_rng(0).normal(size=(4, 6)).astype("float32"))


def test_multiply_accumulates_are_compared():
    declared()
    for products, count in ((("u",), 24), (("v",), 32), ((), 0)):
        message = f"`products` of LowRankAnatomy must name each .*which make {count} .* where a call makes 56"
        with pytest.raises(ValueError, match=message):
            declared(products)


def test_a_declaration_of_which_no_smaller_layer_can_be_made_is_named():
    for arguments in ({"widths": {"units": "outputs"}}, {"v": ("outputs", "rank")}):
        with pytest.raises(ValueError, match="LowRankAnatomy does not fit: no smaller layer can be made"):
            declared(**arguments)
