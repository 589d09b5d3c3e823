"""Criteria on weights against numpy written out."""

import keras
import numpy as np
import pytest

from tfgates.gating.gate_network import gate_network
from tfgates.graph.network import Network
from tfgates.importance import Units, score_units, units_of
from tfgates.importance.criteria import ON_WEIGHTS, batch_norm_scale
from tfgates.importance.units import weights_of

K = keras.layers


def filters_of(kernel, outputs):
    """Each output channel's weights as a vector, for a kernel whose last axis is the outputs."""
    return [kernel[..., i].ravel() for i in range(outputs)]


def gated_units(model, **arguments):
    network = Network(model)
    _, places, gates = gate_network(network, arguments.pop("residual", ("inner",)), **arguments)
    units = units_of(network, places)
    assert {units[key].count for key in units} == {gate.units for gate in gates.values()}
    return {found.name: found for found in units.values()}


def layers_of_all_kinds():
    inputs = keras.Input((9, 9, 3))
    x = K.Conv2D(6, 3, name="plain", use_bias=False)(inputs)
    x = K.ReLU()(K.BatchNormalization(name="norm")(x))
    x = K.Conv2DTranspose(5, 2, activation="relu", name="transposed")(x)
    x = K.SeparableConv2D(8, 3, activation="relu", name="separable")(x)
    x = K.Conv2D(8, 1, name="between")(x)
    x = K.Conv2D(8, 1, groups=4, activation="relu", name="grouped")(x)
    x = K.GlobalAveragePooling2D()(x)
    x = K.Dense(7, activation="relu", name="dense")(x)
    return keras.Model(inputs, K.Dense(2, name="last")(x))


def kernel(model, name, attribute="kernel"):
    return np.asarray(getattr(model.get_layer(name), attribute))


def test_norms_of_all_kinds_of_layers():
    model = layers_of_all_kinds()
    units = gated_units(model)
    rows = {
        "plain": filters_of(kernel(model, "plain"), 6),
        "transposed": [kernel(model, "transposed")[:, :, i, :].ravel() for i in range(5)],
        "separable": filters_of(kernel(model, "separable", "pointwise_kernel"), 8),
        # A group of two channels is a unit, and what a group reads goes as a whole.
        "between": [kernel(model, "between")[..., 2 * i : 2 * i + 2].ravel() for i in range(4)],
        "grouped": [kernel(model, "grouped")[..., 2 * i : 2 * i + 2].ravel() for i in range(4)],
        "dense": filters_of(kernel(model, "dense"), 7),
    }
    assert set(units) == set(rows)
    for name, vectors in rows.items():
        for criterion, power in (("l1", 1), ("l2", 2), ("magnitude", 2)):
            expected = [sum(abs(w) ** power for w in vector) ** (1 / power) for vector in vectors]
            np.testing.assert_allclose(score_units(ON_WEIGHTS[criterion], units[name]), expected, rtol=1e-5)


def test_geometric_median_by_pairs():
    model = layers_of_all_kinds()
    vectors = filters_of(kernel(model, "plain"), 6)
    expected = [sum(float(np.linalg.norm(a - b)) for b in vectors) for a in vectors]
    found = score_units(ON_WEIGHTS["geometric_median"], gated_units(model)["plain"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_channels_of_a_depthwise_convolution():
    inputs = keras.Input((6, 6, 4))
    x = K.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(inputs)
    x = K.Conv2D(5, 1, activation="relu", name="pointwise")(K.ReLU()(x))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
    network = Network(model)
    (node,) = [node for node in network.nodes if node.op.name == "depthwise"]
    layer, rows = weights_of(network, node)
    assert layer is model.get_layer("depthwise")
    for channel in range(8):
        expected = kernel(model, "depthwise")[:, :, channel // 2, channel % 2]
        np.testing.assert_array_equal(rows[channel].reshape(3, 3), expected)


def test_positions_of_a_flattened_map_own_the_rows_that_read_them():
    inputs = keras.Input((5, 5, 1))
    x = K.Conv2D(3, 3, activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, K.Dense(4, name="last")(K.Flatten(name="flatten")(x)))
    units = gated_units(model, flattened=True)["flatten"]
    expected = [float(np.linalg.norm(row)) for row in kernel(model, "last")]
    np.testing.assert_allclose(score_units(ON_WEIGHTS["l2"], units), expected, rtol=1e-5)


def residual():
    inputs = keras.Input((6, 6, 3))
    x = K.BatchNormalization(name="first_norm")(K.Conv2D(8, 3, padding="same", name="first")(inputs))
    y = K.Conv2D(8, 3, padding="same", activation="relu", name="inner")(x)
    y = K.BatchNormalization(name="second_norm")(K.Conv2D(8, 3, padding="same", name="second")(y))
    x = K.ReLU()(K.Add()([x, y]))
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def test_layers_of_a_stream_are_one():
    model = residual()
    units = gated_units(model, residual=("inner", "tied"))
    assert set(units) == {"first", "inner"}
    assert [layer.name for layer in units["first"].layers] == ["first", "second"]
    both = [[np.linalg.norm(v) for v in filters_of(kernel(model, name), 8)] for name in ("first", "second")]
    np.testing.assert_allclose(score_units(ON_WEIGHTS["l2"], units["first"]), np.mean(both, axis=0), rtol=1e-5)
    model.get_layer("first_norm").gamma.assign(np.arange(8.0))
    model.get_layer("second_norm").gamma.assign(-np.ones(8))
    expected = (np.arange(8.0) + 1.0) / 2.0
    np.testing.assert_allclose(score_units(batch_norm_scale, units["first"]), expected)


def test_layers_without_a_scale_are_named():
    units = gated_units(residual())
    with pytest.raises(ValueError, match="needs a BatchNormalization with a scale.*Received, without one: .'inner'.$"):
        score_units(batch_norm_scale, units["inner"])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 1)), np.array([1.0, np.nan])])
def test_what_is_no_importance_is_refused(bad):
    units = Units("layer", 2, [], [], [])
    with pytest.raises(ValueError, match="one finite number for each of the 2 units of 'layer'. Received: an array of"):
        score_units(lambda units: bad, units)
