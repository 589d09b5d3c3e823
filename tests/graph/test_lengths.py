"""Networks that take sequences of any length are counted for the length that is asked for."""

import keras
import numpy as np
import pytest

import tfgates

K = keras.layers


def attending(steps=None, read=None):
    query, value = keras.Input((steps, 6), name="query"), keras.Input((read, 6), name="value")
    x = K.MultiHeadAttention(4, 3, name="attention")(query, value) + query
    # Products without weights.
    x = K.LayerNormalization()(x + keras.ops.matmul(keras.ops.matmul(x, keras.ops.transpose(value, (0, 2, 1))), value))
    return keras.Model([query, value], K.Dense(2)(K.Dense(5, activation="relu")(x)))


def test_the_length_is_asked_for():
    model = attending()
    with pytest.raises(ValueError, match=r"attention.*MACs need every dimension.*: give `length`"):
        _ = tfgates.cost(model).macs
    with pytest.raises(ValueError, match=r"`budget`.*give `length`"):
        tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    for length in (0, 2.0, True):
        with pytest.raises(ValueError, match=f"`length` must be a positive integer.*Received: length={length}"):
            tfgates.cost(model, length=length)
    with pytest.raises(ValueError, match=r"as many sizes for input 'query'.*without the batch, 2. Received: \(7,\)"):
        _ = tfgates.cost(model, length={"query": (7,)}).macs


def test_what_is_counted_is_that_of_a_network_of_this_length():
    model = attending()
    assert tfgates.cost(model, length=7).macs == tfgates.cost(attending(7, 7)).macs
    shapes = {"query": (7, 6), "value": (3, 6)}
    assert tfgates.cost(model, length=shapes).macs == tfgates.cost(attending(7, 3)).macs
    # For this call alone.
    assert np.isnan(tfgates.cost(model).dense["macs"])


def test_a_gated_network_remembers_its_length(tmp_path):
    gated = tfgates.gate_model(attending(), budget=tfgates.Budget(macs=0.7), length=7)
    wanted = tfgates.cost(attending(7, 7)).macs
    assert tfgates.cost(gated).dense_macs == wanted
    gated.save(tmp_path / "gated.keras")
    assert tfgates.cost(keras.models.load_model(tmp_path / "gated.keras")).dense_macs == wanted
    with pytest.warns(tfgates.GatesWarning):
        small = tfgates.prune(gated)
    assert tfgates.cost(small).macs <= 0.7 * wanted
    # The sizes of an example do as well.
    example = [np.ones((2, 7, 6), "float32"), np.ones((2, 3, 6), "float32")]
    gated = tfgates.gate_model(attending(), inputs=example)
    assert tfgates.cost(gated).dense_macs == tfgates.cost(attending(7, 3)).macs
