"""What nested models are called with."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_phase import X, assert_same, half_closed, held_open
from tfgates.graph.equality import state_kept
from tfgates.graph.network import Network

K = keras.layers


def base():
    inputs = keras.Input((6,), name="x")
    x = K.BatchNormalization()(K.Dense(8, name="first")(inputs))
    x = K.Dropout(0.5)(K.ReLU()(x))
    return keras.Model(inputs, K.BatchNormalization()(K.Dense(8, name="second")(x)), name="base")


def around(inner, **keywords):
    inputs = keras.Input((6,))
    x = K.ReLU()(inner(K.Dense(6, name="before")(inputs), **keywords))
    return keras.Model(inputs, K.Dense(3)(K.BatchNormalization()(K.Dense(8, name="after")(x))))


@pytest.mark.parametrize("keywords", [{"training": True}, {"training": False}, {}])
def test_the_mode_of_a_nested_model_survives(keywords):
    model = around(base(), **keywords)
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    assert [pruned.get_layer(name).units for name in ("before", "first", "after")] == [3, 4, 4]
    with_noise = bool(keywords.get("training"))
    with state_kept(pruned):
        a, b = (np.asarray(pruned(X)) for _ in range(2))
    assert (np.abs(a - b).max() > 1e-3) == with_noise
    for each in (model, gated, pruned):
        for layer in each._flatten_layers():
            if isinstance(layer, K.Dropout):
                layer.rate = 0.0
    for call in ({"training": False}, {}):
        assert_same(gated, pruned, **call)
    held_open(gated)
    for call in ({"training": False}, {}, {"training": True}):
        assert_same(model, gated, **call)
    assert np.allclose(model(X), model(X, training=False), atol=1e-4) != with_noise


def test_a_nested_model_in_a_nested_model():
    inputs = keras.Input((6,))
    model = around(keras.Model(inputs, base()(inputs, training=False)), training=True)
    network = Network(model)
    modes = [node.kwargs["training"] for node in network.nodes if isinstance(node.op, K.BatchNormalization)]
    assert modes == [True, True, True]
    tfgates.prune(half_closed(model))


def test_a_sequential_model():
    model = around(keras.Sequential([keras.Input((6,)), K.Dense(8), K.BatchNormalization(), K.Dense(6)]), training=True)
    tfgates.prune(half_closed(model))


def test_other_keywords_of_a_nested_model_are_refused():
    model = around(base())
    # Functional models take none in a graph; their subclasses may.
    model.get_layer("base")._inbound_nodes[-1].arguments.kwargs["temperature"] = 2.0
    with pytest.raises(ValueError, match=r"Nested model 'base' must be called with .* Received: temperature=2.0"):
        tfgates.gate_model(model)


def test_a_masked_nested_model_stays_whole():
    inputs = keras.Input((7, 4))
    inner = keras.Input((7, 4))
    base = keras.Model(inner, K.LSTM(6)(inner), name="base")
    mask = ops.any(inputs > 0.5, axis=-1)
    # Keras attaches the mask to what comes in, which a Functional model does not hand on.
    with pytest.warns(UserWarning, match="does not support masking"):
        x = base(K.Dense(5, name="unused")(inputs)[..., :4], mask=mask)
    model = keras.Model(inputs, K.Dense(2)(K.Dense(8, name="after")(x)))
    with pytest.warns(UserWarning, match="does not support masking"):
        gated = half_closed(model)
        assert ("base", "Functional stays whole: it is called with a `mask`") in gated.report.skipped
        pruned = tfgates.prune(gated)
    assert pruned.get_layer("after").units == 4
    x = np.random.default_rng(0).normal(size=(5, 7, 4)).astype("float32")
    with pytest.warns(UserWarning, match="does not support masking"):
        np.testing.assert_allclose(pruned(x), gated(x), atol=1e-4)


def test_gates_in_what_stays_whole_are_refused():
    inputs, inner = keras.Input((7, 4)), keras.Input((7, 4))
    base = keras.Model(inner, K.Dense(6)(tfgates.layers.GatedDense(6, name="gated")(inner)), name="base")
    with pytest.warns(UserWarning, match="does not support masking"):
        x = base(inputs, mask=ops.any(inputs > 0.5, axis=-1))
        model = keras.Model(inputs, K.Dense(2)(x))
        with pytest.raises(
            ValueError, match=r"Gates must be where .*Received: model='functional.*', in which gates .*gate"
        ):
            tfgates.prune(model)


def test_a_nested_model_called_with_a_mask_and_without_stays_whole():
    inputs, inner = keras.Input((7, 4)), keras.Input((7, 4))
    base = keras.Model(inner, K.Dense(6)(inner), name="base")
    with pytest.warns(UserWarning, match="does not support masking"):
        x = base(inputs) + base(inputs, mask=ops.any(inputs > 0.5, axis=-1))
        model = keras.Model(inputs, K.Dense(2)(K.Dense(8, name="after")(x)))
        pruned = tfgates.prune(half_closed(model))
    assert pruned.get_layer("after").units == 4 and len(pruned.get_layer("base")._inbound_nodes) == 2
    assert pruned.count_params() == model.count_params() - 4 * 6 - 4 - 4 * 2
