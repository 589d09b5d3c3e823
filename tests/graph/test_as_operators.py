"""Calls that depend on sizes, and those whose operators want sizes that are known, as `Operator` layers."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_own_weights import half_closed
from tfgates.graph.as_operators import Arguments, NoOperatorError
from tfgates.graph.copier import copy_of
from tfgates.graph.network import Network
from tfgates.graph.opening import open_layer
from tfgates.graph.unrolling import NotOpenedError
from tfgates.layers import Operator

K = keras.layers
SIZES = {(101, 103): ("b", 0), (107, 109): ("t", 1), (113, 127): ("s", 1)}


class Experts(K.Layer):
    """All steps of all examples in one row, and back; two sizes that are open, and one more at the end."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside, self.out = K.Dense(6, activation="relu", name="inside"), K.Dense(4, name="out")

    def build(self, shape):
        self.inside.build((None, 4))
        self.out.build((None, 6))

    def call(self, x):
        batch, steps, width = ops.shape(x)
        y = self.out(self.inside(ops.reshape(x, (-1, width))))
        y = ops.reshape(y, (batch, steps, width))
        sink = ops.broadcast_to(ops.reshape(ops.sum(y, axis=(0, 1)), (1, 1, width)), (batch, 1, width))
        return ops.concatenate([x + y, sink], axis=1)


class Waves(K.Layer):
    """What Keras has an operator for at known sizes alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = K.Dense(4, activation="relu", name="inside")

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x) + ops.fft2((x, ops.zeros_like(x)))[0]


@pytest.fixture(scope="module", params=[Experts, Waves])
def made(request):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 3))
    x = K.Dense(8, activation="relu", name="before")(inputs)
    x = request.param(name="odd")(K.Dense(4, name="into")(x))
    x = K.Dense(5, activation="relu", name="behind")(x)
    return half_closed(keras.Model(inputs, K.Dense(2)(x)))


def test_the_layer_is_opened_and_what_is_in_it_pruned(made, tmp_path):
    gated, pruned = made
    assert "odd" not in [layer.name for layer in gated.layers]
    assert any(isinstance(layer, Operator) for layer in gated.layers)
    assert {"before", "behind"} <= {name for name, _ in gated.report.gated}
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype("float32")
    for training in (False, None):
        np.testing.assert_allclose(pruned(x, training=training), gated(x, training=training), rtol=1e-4, atol=1e-4)
    assert "needs tfgates to be loaded:" in str(tfgates.report_of(pruned))
    pruned.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(x), pruned(x), atol=1e-6)


@pytest.mark.parametrize(
    ("pair", "size"),
    [
        ((101, 103), {"size": [[0, 0]], "times": 1, "plus": 0}),
        ((220, 224), {"size": [[0, 1]], "times": 2, "plus": 6}),
        ((101 * 107, 103 * 109), {"size": [[0, 0], [1, 1]], "times": 1, "plus": 0}),
        ((3 * 101 * 107 * 113, 3 * 103 * 109 * 127), {"size": [[0, 0], [1, 1], [2, 1]], "times": 3, "plus": 0}),
        (
            (107 - 113 + 2, 109 - 127 + 2),
            {"size": [[0, 1]], "times": 1, "plus": {"size": [[1, 1]], "times": -1, "plus": 2}},
        ),
    ],
)
def test_numbers_that_depend_on_sizes(pair, size):
    assert Arguments(sizes=SIZES).written(*pair) == size


@pytest.mark.parametrize(
    "pair", [(50, 51.0), (7, 8), (101**2, 103**2), (True, False), ("a", "b"), ([1], [1, 2]), (np.ones(3), np.zeros(3))]
)
def test_what_depends_on_sizes_otherwise(pair):
    with pytest.raises(NoOperatorError):
        Arguments(sizes=SIZES).written(*pair)


class Limited(keras.layers.Layer):
    """Does something that depends on the number of steps."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return self.function(x * self.scale, ops.shape(x)[1])

    def compute_output_shape(self, shape):
        return shape


FAR = {
    "slice": lambda x, steps: x[:, : min(steps, 512)],
    "number": lambda x, steps: x / min(steps, 512),
    "from one on": lambda x, steps: x / max(steps, 200),
    "other calls": lambda x, steps: x * 2.0 if steps > 200 else x,
    "other numbers": lambda x, steps: x * (2.0 if steps > 200 else 3.0),
}
NEAR = {
    "number": lambda x, steps: x / max(steps, 4),
    "one step": lambda x, steps: x * 2.0 if steps == 1 else x,
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.skipif(keras.config.backend() == "torch", reason="PyTorch makes what is as large as such sizes")
def test_what_follows_a_size_up_to_a_limit_is_not_followed(name):
    inputs, layer = keras.Input((None, 3)), Limited(FAR[name])
    outputs = layer(inputs)
    with pytest.raises(NotOpenedError, match="up to a limit"):
        open_layer(layer, (inputs,), {}, [outputs])


def test_limits_that_keras_computes_are_followed():
    """As the window of attention is that is no longer than the sequence."""

    def function(x, steps):
        most, least = ops.minimum(steps, 8), ops.maximum(4, steps)
        return x * ops.cast(most, x.dtype) / ops.cast(least, x.dtype)

    inputs, layer = keras.Input((None, 3)), Limited(function)
    model = keras.Model(inputs, layer(inputs))
    opened = copy_of(Network(model))
    for steps in (1, 6, 20):
        x = np.random.default_rng(0).normal(size=(2, steps, 3)).astype("float32")
        np.testing.assert_allclose(opened(x), model(x), rtol=1e-6)
    assert not any(isinstance(each, Limited) for each in opened.layers)


@pytest.mark.parametrize("name", NEAR)
def test_what_is_another_case_for_few_steps_is_not_followed(name):
    inputs, layer = keras.Input((None, 3)), Limited(NEAR[name])
    outputs = layer(inputs)
    with pytest.raises(NotOpenedError, match="gives something else at inference"):
        open_layer(layer, (inputs,), {}, [outputs])


class Filled(K.Layer):
    """Fills a mask up to the length of what it is for, as PaliGemma does, whose images have none; or cuts it off."""

    def __init__(self, first, cuts, **kwargs):
        super().__init__(**kwargs)
        self.first, self.cuts, self.dense = first, cuts, K.Dense(4)
        self.dense.build((None, None, 4))

    def call(self, x, other):
        values, mask = (x, other) if self.first else (other, x)
        steps = ops.shape(values)[1]
        more = steps - ops.shape(mask)[1]
        mask = ops.pad(mask, ((0, 0), (max(more, 0) if self.cuts else more, 0)), constant_values=1.0)[:, :steps]
        return self.dense(values) * ops.reshape(mask, (ops.shape(mask)[0], ops.shape(mask)[1], 1))

    def compute_output_shape(self, x_shape, other_shape):
        return (None, None, 4)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("cuts", [True, False])
def test_what_is_the_same_for_two_lengths_that_are_alike_is_tried_for_others(first, cuts):
    inputs = keras.Input((None, 4)), keras.Input((None,))
    layer = Filled(first, cuts)
    tensors = inputs if first else inputs[::-1]
    model = keras.Model(inputs, layer(*tensors))
    if cuts:
        # One of the lengths is the longer one in all that is followed.
        with pytest.raises(NotOpenedError):
            open_layer(layer, tensors, {}, [model.output])
        return
    opened = copy_of(Network(model))
    assert not any(isinstance(each, Filled) for each in opened.layers)
    generator = np.random.default_rng(0)
    for steps, known in ((5, 5), (7, 2)):
        x = [generator.normal(size=shape).astype("float32") for shape in ((2, steps, 4), (2, known))]
        np.testing.assert_allclose(opened(x), model(x), rtol=1e-6)
