"""Functions of single numbers are found by what they do."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.graph.probe import obstacle, scales_along
from tfgates.graph.rules import activations

SHAPE = (2, 3, 5, 7)


class Doubled:
    """A callable that is no function."""

    __hash__ = None  # type: ignore[assignment] (what Python does for classes that cannot be hashed)

    def __call__(self, x):
        return x * 2.0


ALONE = [
    ops.gelu, ops.sin, ops.round, Doubled(), functools.partial(ops.clip, x_min=-1.0, x_max=1.0),
    lambda x: ops.where(x > 0.0, x, 0.1 * x), lambda x: x * ops.sigmoid(1.7 * x) + 2.0,
]  # fmt: skip
NOT_ALONE = [
    (lambda x: ops.softmax(x, axis=1), "treats channels or places differently"),
    (lambda x: x - ops.mean(x), "mixes"),
    (lambda x: x / ops.max(ops.abs(x)), "mixes channels or places"),
    (lambda x: x + 1e-4 * ops.max(x), "mixes"),
    (lambda x: ops.sort(x, axis=-1), "treats channels or places differently"),
    (lambda x: ops.roll(x, 1, axis=0), "treats channels or places differently"),
    (lambda x: x * np.arange(7, dtype="float32"), "treats channels or places differently"),
    (lambda x: x + float(np.sum(SHAPE)) * (x.shape[-1] == 1), "treats tensors of other shapes differently"),
    (lambda x: keras.random.normal(x.shape), "is random"),
    (lambda x: keras.random.dropout(x, 0.5, seed=3), "treats channels or places differently"),
    (lambda x: x[:1], "changes the shape"),
    (lambda x: ops.reshape(x, (3, 70)), "changes the shape"),
    (lambda x: x @ np.eye(5, dtype="float32"), "cannot be tried on numbers: InvalidArgumentError"),
]


@pytest.mark.parametrize("function", ALONE)
def test_functions_of_single_numbers(function):
    assert obstacle(function, SHAPE) is None


@pytest.mark.parametrize(("function", "reason"), NOT_ALONE)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="names an error of TensorFlow")
def test_other_functions(function, reason):
    assert reason in obstacle(function, SHAPE)
    assert not activations.is_elementwise(function) and not activations.is_homogeneous(function)
    assert np.isnan(activations.through(function, np.zeros(2))).all() and not activations.zero_stays(function)


def test_several_tensors():
    dtypes = ["bool", "float32", "float32"]
    assert obstacle(ops.where, SHAPE, dtypes) is None
    assert "mixes" in obstacle(lambda c, x, y: ops.where(c, x, ops.max(y)), SHAPE, dtypes)


@pytest.mark.parametrize("name", sorted(set(dir(keras.activations)) - {"get", "serialize", "deserialize"}))
def test_every_activation_of_keras(name):
    function = getattr(keras.activations, name)
    if not callable(function):
        return
    # The last takes arguments that it needs.
    mixes = name in ("softmax", "log_softmax", "glu", "sparsemax", "threshold")
    assert activations.is_elementwise(function) is not mixes
    assert activations.is_homogeneous(function) is (name in ("linear", "relu", "leaky_relu"))
    away = ("exponential", "hard_sigmoid", "log_sigmoid", "sigmoid", "softplus", "sparse_plus", "sparse_sigmoid")
    assert activations.zero_stays(function) is not (mixes or name in (*away, "squareplus"))


@pytest.mark.parametrize("bound", [6.0, 5e4])
def test_what_scales_along_does_so_for_large_numbers_too(bound):
    assert scales_along(ops.relu) and scales_along(lambda x: ops.leaky_relu(x, 0.3))
    assert not scales_along(lambda x: ops.clip(x, 0.0, bound))
    assert not scales_along(ops.tanh)


def test_what_was_found_of_a_function_is_kept(monkeypatch):
    calls = []

    def function(x):
        calls.append(x)
        return ops.relu(x)

    assert activations.is_elementwise(function)
    tried = len(calls)
    assert activations.is_elementwise(function) and len(calls) == tried


def test_layers():
    assert activations.is_elementwise(keras.layers.ELU()) and not activations.is_elementwise(keras.layers.Softmax())
    assert activations.is_homogeneous(keras.layers.LeakyReLU())
    dense = keras.layers.Dense(3)
    assert "is not built" in activations.obstacle_of(dense)
    dense.build((None, 3))
    assert "layer with weights" in activations.obstacle_of(dense)


class InTraining(keras.layers.Layer):
    """In training alone something else: of all channels, of each by itself, or noise."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x, training=False):
        return self.function(x) if training else x


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: x - ops.mean(x, -1, keepdims=True), 12),
        (lambda x: 2.0 * x, 6),
        (lambda x: x + keras.random.normal(ops.shape(x)), 6),
    ],
    ids=["all channels", "each by itself", "noise"],
)
def test_what_layers_do_in_training_counts(function, left):
    inputs = keras.Input((5,))
    x = InTraining(function, name="own")(keras.layers.Dense(12, name="first")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    first = model.get_layer("first")
    for variable in first.weights:
        variable.assign(np.asarray(variable) * (np.arange(12) < 6))
    plan = tfgates.plan_pruning(model)
    assert {row.name: row.units_left for row in plan.layers}["first"] == left
    assert [reason.endswith("in training") for _, reason in plan.alone] == [True] * (left == 12)
