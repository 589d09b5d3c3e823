"""Declarations of one's own, and what is said of wrong ones."""

import keras
import numpy as np
import pytest

from tfgates.anatomy import Anatomy, LinearAnatomy, anatomy_of, check_anatomy, declared_base, register_anatomy, registry

K = keras.layers
X = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")


class Bilinear(keras.layers.Layer):
    """`(x U) * (x V)`, with a number to add to all."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, shape):
        self.first = self.add_weight(shape=(shape[-1], self.width))
        self.second = self.add_weight(shape=(self.width, shape[-1]))
        self.offset = self.add_weight(shape=())

    def call(self, x):
        return (x @ self.first) * (x @ keras.ops.transpose(self.second)) + self.offset

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Right(Anatomy):
    variables = {"first": ("inputs", "outputs"), "second": ("outputs", "inputs"), "offset": ()}
    widths = {"width": "outputs"}
    products = ("first", "second")


@pytest.fixture(autouse=True)
def _registry():
    """Takes back what a test registers."""
    before = dict(registry.KINDS)
    yield
    registry.KINDS.clear()
    registry.KINDS.update(before)


def test_a_class_of_ones_own():
    with pytest.raises(ValueError, match="`layer` must have an anatomy. Received: layer=<Bilinear"):
        check_anatomy(Bilinear(5), X)
    assert register_anatomy(Bilinear)(Right) is Right
    layer = Bilinear(5)
    check_anatomy(layer, X)
    anatomy = anatomy_of(layer)
    assert anatomy.counts(layer) == {"inputs": 6, "outputs": 5}
    assert anatomy.parameters(layer, {"inputs": 2}) == 21 and anatomy.macs(layer, {"outputs": 3}) == 180


def test_a_single_layer():
    layer, other = Bilinear(5), Bilinear(5)
    register_anatomy(layer)(Right)
    check_anatomy(layer, X)
    assert anatomy_of(other) is None


def test_a_subclass_is_not_its_base_class():
    class Special(K.Dense):
        def call(self, x):
            return keras.ops.flip(super().call(x), axis=-1)

    assert anatomy_of(Special(3)) is None and declared_base(Special) is K.Dense
    assert anatomy_of(keras.Sequential([K.Dense(3)])) is None and anatomy_of("kernel") is None
    register_anatomy(Special)(type("SpecialAnatomy", (type(anatomy_of(K.Dense(3))),), {}))
    with pytest.raises(ValueError, match="SpecialAnatomy does not fit: the smaller layer computes something else"):
        check_anatomy(Special(5), X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": {**Right.variables, "offset": None}}, "tuples of None, names and .* Received: offset=None"),
        ({"variables": {**Right.variables, "offset": (3,)}}, r"Received: offset=\(3,\)"),
        ({"variables": {**Right.variables, "offset": (..., ...)}}, "Received: offset="),
        ({"widths": {"width": "heads"}}, r"`widths` of Wrong must name .*\['inputs', 'outputs'\]. Received: widths="),
        ({"applied": "places"}, r"`applied` of Wrong .* of \['inputs', 'outputs'\]. Received: applied='places'"),
    ],
)
def test_what_is_no_declaration(changes, message):
    with pytest.raises(ValueError, match=message):
        register_anatomy(Bilinear)(type("Wrong", (Right,), changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variables": {**Right.variables, "offset": ("outputs",)}},
            r"Received: offset=\('outputs',\) for the shape \(\)",
        ),
        ({"variables": {**Right.variables, "second": (None, "inputs")}}, "does not fit|Received"),
        ({"variables": {**Right.variables, "first": ("outputs", "inputs")}}, "does not fit|cannot|Received"),
        (
            {"variables": {name: Right.variables[name] for name in ("first", "second")}},
            "must name all the weights of 'bilinear.*'. Received: nothing of",
        ),
    ],
)
def test_what_does_not_fit(changes, message):
    register_anatomy(Bilinear)(type("Wrong", (Right,), changes))
    with pytest.raises(ValueError, match=message):
        check_anatomy(Bilinear(5), X)


def test_a_width_that_is_not_written_down():
    register_anatomy(Bilinear)(type("Wrong", (Right,), {"widths": {}}))
    with pytest.raises(ValueError, match="."):
        check_anatomy(Bilinear(5), X)


def test_kinds_are_layers():
    with pytest.raises(ValueError, match="`kinds` must be layers or classes of layers. Received: <class 'int'>"):
        register_anatomy(int)(Right)


def test_stretches_of_different_kinds_are_not_counted():
    register_anatomy(Bilinear)(
        type("Odd", (Right,), {"variables": {"first": ("inputs", ("outputs", "others"))}, "products": ("first",)})
    )
    layer = Bilinear(6)
    layer(X)
    assert anatomy_of(layer).counts(layer) == {"inputs": 6, "outputs": 3, "others": 3}
    with pytest.raises(ValueError, match="must be of one kind of units to be counted. Received: first="):
        anatomy_of(layer).summands(layer)


def test_linear_layers_say_how_inputs_mix():
    for layer, shape in [
        (K.Conv2D(4, 2), (1, 2, 2, 6)),
        (K.Conv2D(4, 2, groups=2), (1, 2, 2, 6)),
        (K.SeparableConv2D(4, 2, depth_multiplier=2), (1, 2, 2, 6)),
        (K.Conv2DTranspose(4, 1), (1, 1, 1, 6)),
        (K.Dense(4), (1, 6)),
    ]:
        keras.utils.set_random_seed(0)
        layer.build(shape)
        anatomy = anatomy_of(layer)
        assert isinstance(anatomy, LinearAnatomy) and anatomy.uniform(layer)
        values = {path: np.array(getattr(layer, path)) for path in anatomy.products}
        matrix = anatomy.mixing(layer, values)
        for i in range(6):
            x = np.zeros(shape, "float32")
            x[..., i] = 1.0
            np.testing.assert_allclose(np.array(layer(x)).ravel(), matrix[i], atol=1e-6)
