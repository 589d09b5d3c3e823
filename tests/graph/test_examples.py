"""Sizes that are made up: what a network takes shows when it is called."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_traced import Block
from tfgates.graph.examples import MANY_ENTRIES, NoExamplesError, in_parts, input_shapes, trials
from tfgates.graph.network import Network
from tfgates.graph.observed import runnable_sizes
from tfgates.graph.unrolling import NotOpenedError

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Positions(K.Layer):
    """Adds one of `length` learned vectors to each step; its shapes do not tell how many there are."""

    def __init__(self, length, **kwargs):
        super().__init__(**kwargs)
        self.length = length

    def build(self, shape):
        self.table = self.add_weight(shape=(self.length, shape[-1]), name="table")

    def call(self, x):
        return x + ops.take(self.table, ops.arange(ops.shape(x)[1]), axis=0)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return dict(super().get_config(), length=self.length)


def features(tokens, length=12):
    x = Positions(length)(K.Embedding(50, 8)(tokens))
    return K.GlobalAveragePooling1D()(x)


def head(x):
    return K.Dense(2)(K.Dense(6, activation="relu", name="hidden")(x))


def half_closed(model):
    """The model gated, with units closed."""
    gated = tfgates.gate_model(model)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 2, 3.0, -3.0))
    return gated


def test_a_position_embedding_that_is_shorter_than_the_first_size():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, head(features(tokens)))
    assert input_shapes(Network(model)) == [(2, 8)]
    pruned = tfgates.prune(half_closed(model))
    assert pruned.get_layer("hidden").units == 2


def test_sizes_of_which_a_layer_makes_no_numbers_are_the_last():
    """With JAX indices out of range give nan, and of two that do nothing can be said."""

    def attempt(sizes):
        if max(sizes) > limit and keras.backend.backend() != "jax":
            raise NotOpenedError("out of range")
        return ([np.full(3, np.nan if max(sizes) > limit else 0.0)],)

    tensors, limit = [keras.KerasTensor((None, None, 3))], 4
    assert runnable_sizes(tensors, attempt) == [(4,), (2,)]
    limit = 0
    if keras.backend.backend() == "jax":
        assert runnable_sizes(tensors, attempt) == [(8,), (32,)]
    else:
        with pytest.raises(NotOpenedError, match="out of range"):
            runnable_sizes(tensors, attempt)


def test_inputs_that_need_different_sizes():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    image = keras.Input((None, None, 3), name="image")
    x = image
    for _ in range(2):
        x = K.Conv2D(4, 7, strides=4)(x)
    x = K.Concatenate()([features(tokens), K.GlobalAveragePooling2D()(x)])
    model = keras.Model({"tokens": tokens, "image": image}, head(x))
    shapes = dict(zip([t.name for t in model.inputs], input_shapes(Network(model)), strict=True))
    assert shapes == {"tokens": (2, 8), "image": (2, 32, 32, 3)}
    tfgates.prune(half_closed(model))


def test_large_inputs_are_tried_last():
    """So that numbers of half a gigabyte are drawn for a network that takes nothing smaller alone."""
    found = list(trials([(2, None), (2, None, None, 3)]))
    many = [sum(map(math.prod, shapes)) > MANY_ENTRIES for shapes in found]
    assert many == sorted(many) and any(many) and found[0] == [(2, 32), (2, 32, 32, 3)]
    assert found.index([(2, 8), (2, 32, 32, 3)]) < found.index([(2, 512), (2, 512, 512, 3)])


def test_it_says_which_input_cannot_be_made_up():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    other = keras.Input((8,), name="other")
    x = K.Reshape((24,))(K.Embedding(50, 1)(tokens))
    model = keras.Model([tokens, other], head(K.Concatenate()([x, other])))
    message = (
        r"so that input 'tokens' cannot be made up: give `inputs`.*Received: {'tokens': \(None, None\)}; "
        "with the last size that was tried, reshape.* raises ValueError: "
    )
    with pytest.warns(tfgates.GatesWarning, match="`prune` will want `inputs`.*'tokens' cannot be made up"):
        gated = half_closed(model)
    with pytest.raises(NoExamplesError, match=message):
        tfgates.prune(gated)
    tfgates.prune(gated, inputs=[np.ones((2, 24), "int32"), np.ones((2, 8), "float32")])


def test_a_model_that_cannot_be_called_says_why():
    inputs = keras.Input((None, 3), name="steps")
    model = keras.Model(inputs, head(K.GlobalAveragePooling1D()(Positions(0)(inputs))))
    with pytest.raises(NoExamplesError, match=r"'steps' cannot be made up.* the model raises \w+Error: "):
        input_shapes(Network(model))


def test_no_place_is_left():
    inputs = keras.Input((None, 3), name="steps")
    model = keras.Model(inputs, head(K.GlobalAveragePooling1D()(inputs[:, 5000:])))
    with pytest.raises(NoExamplesError, match="nothing is left of the places at get_item"):
        input_shapes(Network(model))


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inputs = keras.Input((None, 6))
        model = keras.Model(inputs, head(K.GlobalAveragePooling1D()(Block()(inputs))))
        assert input_shapes(Network(model)) == [(2, 32, 6)]
    finally:
        keras.mixed_precision.set_global_policy("float32")


class Uncut:
    """Has a shape and no rows that can be taken: a spec of a data set, a sparse tensor."""

    shape = (64, 4)


def test_what_has_no_rows_stays_whole():
    for spec in (Uncut(), keras.KerasTensor((64, 4))):
        assert list(in_parts(spec)) == [spec]
        assert next(in_parts({"a": spec, "b": np.ones((64, 4))}))["a"] is spec


def test_batches_of_one_size_stay_whole():
    inputs = keras.Input(batch_shape=(40, 4), name="fixed")
    model = keras.Model(inputs, head(K.Dense(8, name="free")(inputs + np.ones((40, 1), "float32"))))
    given = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    gated = half_closed(model)
    pruned = tfgates.prune(gated, inputs=given)
    np.testing.assert_allclose(np.array(pruned(given)), np.array(gated(given)), rtol=1e-4, atol=1e-4)
