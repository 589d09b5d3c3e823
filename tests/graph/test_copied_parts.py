"""Layers whose configs make no layer like them are copied attribute by attribute."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import tensorflow
from tests.graph.test_own_weights import half_closed
from tests.opaque import needs_values
from tfgates.graph.copied_parts import NotCopiedError, copy_by_attributes

K = keras.layers


class Mixture(K.Layer):
    """Takes arguments that it keeps under other names and does not write down, and asks for values."""

    def __init__(self, units, kind, **kwargs):
        super().__init__(**kwargs)
        self.width, self.parts = units, [kind(units, name=f"part_{i}") for i in range(2)]
        self.drop, self.table = K.Dropout(0.2, seed=1), {"scale": ops.ones((1,))}
        self.activation = keras.activations.get("relu")

    def build(self, shape):
        self.mix = self.add_weight(shape=(2,), name="mix")
        self.count = self.add_weight(shape=(), trainable=False, name="count")
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        first, second = (part(needs_values(x)) for part in self.parts)
        return self.drop(self.activation(first * self.mix[0] + second * self.mix[1])) * self.table["scale"]


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = K.Dense(8, activation="relu", name="before")(inputs)
    x = K.Dense(6, activation="relu", name="behind")(Mixture(5, K.Dense, name="mixture")(x))
    return keras.Model(inputs, K.Dense(2)(x))


def test_the_rest_of_the_network_is_gated_and_pruned():
    model = network()
    gated, pruned = half_closed(model)
    assert [name for name, _ in gated.report.gated] == ["behind"]
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    np.testing.assert_allclose(pruned(x), gated(x), atol=1e-5)
    mixture, copy = model.get_layer("mixture"), pruned.get_layer("mixture")
    assert copy is not mixture and copy.width == 5
    assert not {id(v) for v in copy.variables} & {id(v) for v in mixture.variables}
    # It trains by itself.
    before = [np.array(v) for v in mixture.weights]
    pruned.compile("sgd", "mse")
    pruned.fit(x, np.ones((4, 2)), verbose=0)
    assert len(copy.trainable_variables) == len(mixture.trainable_variables) == 5
    assert not np.allclose(np.array(copy.mix), before[0])
    for v, value in zip(mixture.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(v), value)


def test_what_cannot_be_shared():
    layer = Mixture(5, K.Dense)
    layer.build((None, 3))
    weight = layer.mix
    layer.function = lambda x: x * weight
    with pytest.raises(NotCopiedError, match="what a function holds is not known"):
        copy_by_attributes(layer)
    del layer.function
    assert isinstance(copy_by_attributes(layer), Mixture)
    layer = K.Layer()
    layer.model = keras.Sequential([keras.Input((2,)), K.Dense(1)])
    with pytest.raises(NotCopiedError, match="is a model, or has an activity regularizer"):
        copy_by_attributes(layer)


def test_weights_that_no_attribute_holds():
    class Hidden(K.Layer):
        def build(self, shape):
            self.add_weight(shape=(2,), name="lost")

    layer = Hidden()
    layer.build((None, 2))
    with pytest.raises(NotCopiedError, match="not those of its attributes"):
        copy_by_attributes(layer)


def test_what_can_change_is_not_shared():
    layer = Mixture(5, K.Dense)
    layer.build((None, 3))
    layer.numbers, layer.note = np.ones((2,)), len
    copy = copy_by_attributes(layer)
    layer.numbers[0] = 2.0
    np.testing.assert_array_equal(copy.numbers, [1.0, 1.0])
    layer.note = [].append
    with pytest.raises(NotCopiedError, match="builtin_function_or_method"):
        copy_by_attributes(layer)


def test_variables_of_tensorflow_are_not_shared():
    tf = tensorflow("its variables")
    layer = K.Layer()
    layer.state = tf.Variable(1.0)
    with pytest.raises(NotCopiedError, match="what a ResourceVariable holds is not known"):
        copy_by_attributes(layer)


def test_frozen_parts_can_be_trained_again():
    layer = Mixture(5, K.Dense)
    layer.build((None, 3))
    for part in (layer.parts[0], layer):
        part.trainable = False
        copy = copy_by_attributes(layer)
        assert [v.name for v in copy.trainable_variables] == [v.name for v in layer.trainable_variables]
        copy.parts[0].trainable = copy.trainable = True
        assert [v.name for v in copy.trainable_variables] == ["mix", "kernel", "bias", "kernel", "bias"]
