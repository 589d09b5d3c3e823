"""One flat list of calls: nested models, dicts of inputs, arguments given by keyword."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph.network import Network

K = keras.layers


def both_follow(model):
    """Asserts that the gated and the pruned network compute what the model does."""
    generator = np.random.default_rng(0)
    x = [generator.normal(size=(3, *t.shape[1:])).astype("float32") for t in model.inputs]
    x = x[0] if len(x) == 1 else x
    expected = np.asarray(model(x, training=False))
    assert np.abs(expected).max() > 0.0
    for other in (tfgates.gate_model(model, compensate=True), tfgates.prune(model)):
        np.testing.assert_allclose(np.asarray(other(x, training=False)), expected, atol=1e-5)


def head(x):
    return K.Dense(2)(K.Dense(6, activation="relu")(x))


def difference(**names):
    """A model of two inputs that treats them differently."""
    a, b = (keras.Input((4,), name=names.get(k)) for k in ("first", "second"))
    return a, b, K.Dense(4)(a) - 3.0 * K.Dense(4)(b)


@pytest.mark.parametrize("keys", [("z", "a"), ("a", "z")])
def test_a_nested_model_called_on_a_dict(keys):
    a, b, y = difference(first=keys[0], second=keys[1])
    nested = keras.Model([a, b], y)
    inputs = [keras.Input((4,)), keras.Input((4,))]
    both_follow(keras.Model(inputs, head(nested(dict(zip(keys, inputs, strict=True))))))


def test_a_nested_model_made_with_a_dict():
    a, b, y = difference(first="two", second="one")
    nested = keras.Model({"two": a, "one": b}, y)
    inputs = [keras.Input((4,)), keras.Input((4,))]
    both_follow(keras.Model(inputs, head(nested({"two": inputs[0], "one": inputs[1]}))))


# Keras warns of it, and does it.
@pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")
def test_a_nested_model_of_one_input_called_on_a_dict():
    a = keras.Input((4,), name="image")
    nested = keras.Model(a, K.Dense(4)(a))
    inputs = keras.Input((4,))
    both_follow(keras.Model(inputs, head(nested({"image": inputs}))))


def test_nested_calls_that_cannot_be_followed():
    a = keras.Input((4, 1), name="signal")
    nested = keras.Model(a, K.Dense(3)(K.Flatten()(a)))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, head(nested(inputs)))
    message = r"must be called on one tensor of the same rank.*\{'signal': \(None, 4, 1\)\}. Received: \(None, 4\)"
    with pytest.raises(ValueError, match=message):
        Network(model)


def test_first_arguments_by_keyword():
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(8, 3, activation="relu")(inputs=inputs)
    x = K.BatchNormalization()(inputs=x)
    y = K.Conv2D(8, 1)(inputs=x)
    x = K.Add()(inputs=[x, y])
    x = K.Concatenate()(inputs=[x, y])
    nested = keras.Sequential([keras.Input(x.shape[1:]), K.Conv2D(5, 3), K.Flatten()])
    both_follow(keras.Model(inputs, head(nested(inputs=x))))


def test_attention_by_keyword():
    inputs = keras.Input((5, 6))
    x = K.Dense(8, activation="relu")(inputs)
    x = K.MultiHeadAttention(2, 3)(value=x, query=inputs)
    both_follow(keras.Model(inputs, head(K.Flatten()(x))))
