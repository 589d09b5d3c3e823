"""Comparing networks: inputs that are made up, outputs that are not numbers, models that are random."""

import sys

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import tensorflow
from tfgates.graph.equality import (
    Difference,
    agree_but_for_rounding,
    distance,
    first_difference,
    outputs_of,
    state_kept,
)
from tfgates.graph.examples import NoExamplesError, input_shapes, random_inputs
from tfgates.graph.network import Network
from tfgates.pruning import PruningError
from tfgates.pruning.surgery import Surgery

K = keras.layers


def deep(size=None):
    """Three unpadded convolutions that need at least 43 pixels."""
    inputs = keras.Input((size, size, 3))
    x = inputs
    for _ in range(3):
        x = K.Conv2D(6, 7, strides=2, activation="relu")(x)
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def test_sizes_grow_until_no_tensor_is_empty():
    model = deep()
    assert input_shapes(Network(model)) == [(2, 64, 64, 3)]
    tfgates.prune(model)
    tfgates.gate_model(model)


def test_sizes_come_from_given_inputs():
    model = deep()
    x = np.zeros((5, 43, 51, 3), "float32")
    assert input_shapes(Network(model), like=x) == [(2, 43, 51, 3)]
    assert random_inputs(Network(model), like=[x])[0].shape == (2, 43, 51, 3)
    tfgates.prune(model, inputs=x)


def test_sizes_that_are_known_stay():
    assert input_shapes(Network(deep(50)), like=np.zeros((5, 60, 60, 3))) == [(2, 50, 50, 3)]


def odd():
    """Takes sequences of 24 steps alone."""
    inputs = keras.Input((None, 3))
    x = K.Reshape((24, 3))(inputs)
    return keras.Model(inputs, K.Dense(2)(K.Dense(5)(K.Flatten()(x))))


def test_no_size_suits():
    model = odd()
    with pytest.raises(ValueError, match=r"No size among \[1, 2, .*\].*give `inputs`.* Received: .*\(None, None, 3\)"):
        tfgates.prune(model)
    tfgates.prune(model, inputs=np.ones((2, 24, 3), "float32"))
    with pytest.warns(tfgates.GatesWarning, match="`prune` will want `inputs`"):
        tfgates.gate_model(model)


def test_strings_cannot_be_made_up():
    tensorflow("Keras's lookups are made of it")
    inputs = keras.Input((3,), dtype="string")
    x = K.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(inputs)
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5)(x)))
    with pytest.raises(NoExamplesError, match="No random strings .*: give `inputs`. Received: "):
        tfgates.prune(model)
    tfgates.prune(model, inputs=ops.convert_to_tensor(np.array([["a", "b", "?"]])))
    tfgates.gate_model(model)


def test_truth_values():
    inputs = keras.Input((3,), dtype="bool")
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5)(ops.cast(inputs, "float32"))))
    tfgates.prune(model)


def test_a_model_that_does_not_take_random_numbers():
    """No number is in the vocabulary, and no index for others."""
    tensorflow("Keras's lookups are made of it")
    inputs = keras.Input((3,), dtype="int64")
    x = K.IntegerLookup(vocabulary=[7, 8], num_oov_indices=0, output_mode="multi_hot")(inputs)
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5)(x)))
    with pytest.raises(ValueError, match="`model` cannot be called on random numbers: give `inputs`.* Received: "):
        tfgates.prune(model)
    tfgates.prune(model, inputs=np.array([[7, 8, 8]]))
    tfgates.gate_model(model)


def test_outputs_that_are_no_numbers():
    inputs = keras.Input((4,))
    # About half of what goes in is negative.
    model = keras.Model(inputs, ops.log(K.Dense(3)(K.Dense(5)(inputs))))
    assert np.isnan(np.asarray(model(random_inputs(Network(model))[0]))).any()
    tfgates.prune(model)


def test_places_of_nan_must_agree(monkeypatch):
    inputs = keras.Input((4,))
    x = tfgates.layers.GatedDense(6, use_bias=False, name="hidden")(inputs)
    model = keras.Model(inputs, ops.log(K.Dense(3)(x)))
    sign = {"hidden": -1.0}
    monkeypatch.setattr(Surgery, "factor", lambda self, node, size: np.full(size, sign.get(node.name, 1.0)))
    with pytest.raises(PruningError, match="differs by nan"):
        tfgates.prune(model)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.nan),
        ([np.inf], [-np.inf], np.inf),
        ([1.0, 1.0], [1.0], np.nan),
        ([], [], 0.0),
    ],
)
def test_distance(a, b, expected):
    np.testing.assert_equal(distance(np.array(a), np.array(b)), expected)


def test_words():
    assert str(Difference("y", 0, 0.25, 2.0, 1e-4)) == (
        "differs by 0.25 where the largest output is 2, more than the tolerance of 0.0001"
    )


def test_the_state_is_put_back():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, K.BatchNormalization()(inputs))
    with state_kept(model):
        model(np.ones((3, 4)), training=True)
        assert np.array(model.layers[1].moving_mean).any()
    assert not np.array(model.layers[1].moving_mean).any()


# Half precision.


def as_numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))


def small_sums(hidden):
    """Weights of one output that is small beside the terms of its sum."""
    last = np.random.default_rng(1).normal(size=(hidden.shape[1], 1)).astype("float32")
    last -= np.linalg.pinv(hidden) @ (hidden @ last)
    return last + 1e-3 * hidden.mean(0)[:, None]


def scaled(policy, factor=1.0, wrong=1.0, between=None):
    """Outputs that are small beside the sums that they come of. `factor`: of one layer's weights, out of the next one's
    again; `wrong`: of the weights of one unit alone; `between`: a layer that changes nothing."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 16)).astype("float32")
    kernel = generator.normal(size=(16, 64)).astype("float32")
    hidden = np.maximum(x @ kernel, 0.0)
    last = small_sums(hidden)
    inputs = keras.Input((16,))
    y = K.Dense(64, activation="relu", use_bias=False, dtype=policy)(inputs)
    y = y if between is None else between(y)
    model = keras.Model(inputs, K.Dense(1, use_bias=False, dtype=policy)(y))
    kernel, last = factor * kernel, last / factor
    kernel[:, 7] *= wrong
    model.set_weights([kernel, last])
    return model, x


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_rounding_to_half_precision_is_told_from_a_fault(policy):
    model, x = scaled(policy)
    # Float16 tells eight times smaller numbers apart than bfloat16.
    allowed = 2e-2 if "bfloat16" in policy else 2e-3
    # Weights that are rounded themselves hide more in such a sum.
    other, faulty = scaled(policy, 1.1)[0], scaled(policy, 1.1, 4.0 if policy == "bfloat16" else 1.2)[0]
    expected = outputs_of(model, x)
    assert all(first_difference(expected, each, x, allowed) is not None for each in (other, faulty))
    assert agree_but_for_rounding(model, other, x)
    assert not agree_but_for_rounding(model, faulty, x)
    layers = [*model.layers[1:], *other.layers[1:]]
    assert {layer.dtype_policy.name for layer in layers} == {policy}
    np.testing.assert_array_equal(expected, outputs_of(model, x))


@keras.saving.register_keras_serializable()
class Insisting(K.Layer):
    """Computes in the dtype that it was made with, whatever its policy says."""

    def call(self, x):
        if keras.backend.standardize_dtype(x.dtype) != "bfloat16":
            raise TypeError("bfloat16 is wanted")
        return x


def test_layers_that_insist_on_half_precision():
    policy = "mixed_bfloat16"
    model, x = scaled(policy, between=Insisting(dtype=policy))
    other, faulty = (scaled(policy, 1.1, wrong, Insisting(dtype=policy))[0] for wrong in (1.0, 4.0))
    assert agree_but_for_rounding(model, other, x)
    assert not agree_but_for_rounding(model, faulty, x)
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"bfloat16"}


def test_outputs_that_rounding_makes_infinite_allow_nothing():
    """The logarithm of what rounding may make 0."""
    inputs = keras.Input((1,))
    made = []
    for weight in (1.0, 2.0):
        y = K.Dense(1, dtype="bfloat16")(inputs)
        model = keras.Model(inputs, ops.log(ops.relu(y)))
        model.set_weights([np.full((1, 1), weight, "float32"), np.full(1, -1.0, "float32")])
        made.append(model)
    x = np.array([[1.0 + 2.0**-8], [3.0]], "float32")
    assert agree_but_for_rounding(made[0], made[0], x) and not agree_but_for_rounding(*made, x)


@pytest.mark.parametrize("policy, share", [("mixed_float16", 1e-3), ("float32", 0.1)])
def test_rounding_of_float32_itself(policy, share):
    """Outputs so small that in float32 they are rounding too."""
    model, x = scaled(policy)
    other, faulty = scaled(policy, 1.1)[0], scaled(policy, 1.1, 1.01)[0]
    kernel, last = model.get_weights()
    hidden = np.maximum(x @ kernel, 0.0)
    last -= np.linalg.pinv(hidden) @ (hidden @ last) * (1.0 - share)
    for each, factor in ((model, 1.0), (other, 1.1), (faulty, 1.1)):
        each.set_weights([each.get_weights()[0], last / factor])
    assert first_difference(outputs_of(model, x), other, x, 1e-4) is not None
    assert agree_but_for_rounding(model, other, x)
    assert not agree_but_for_rounding(model, faulty, x)


def test_what_jumps_is_no_rounding():
    """A sign whose argument is 0: a rounding of the weights changes the outputs by as much as a fault."""
    inputs = keras.Input((8,))
    x = np.random.default_rng(0).choice([-1.0, 1.0], (64, 8)).astype("float32")
    made = []
    for offset in (0.0, 0.3):
        y = ops.sign(K.Dense(24, use_bias=False, name="signs")(inputs))
        model = keras.Model(inputs, K.Dense(2)(y) + offset)
        model.set_weights([np.random.default_rng(0).choice([-1.0, 1.0], (8, 24)), np.ones((24, 2)) / 24, np.zeros(2)])
        made.append(model)
    assert agree_but_for_rounding(made[0], made[0], x) and not agree_but_for_rounding(*made, x)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_small_outputs_in_half_precision_are_pruned(policy, monkeypatch):
    model, x = scaled(policy)
    gated = tfgates.gate_model(model)
    (gate,) = gated.gates
    logits = np.linspace(0.5, 2.5, gate.units)
    logits[[3, 11]] = -8.0
    gate.logits.assign(logits)
    # Small outputs of what is left: factors that are folded are rounded in other places.
    hidden = np.maximum(x @ as_numpy(model.layers[1].kernel), 0.0) * as_numpy(gate.test_gates())
    gated.layers[-1].kernel.assign(small_sums(hidden))
    small = tfgates.prune(gated, inputs=x)
    assert small.layers[1].units == 62 and small.layers[1].dtype_policy.name == policy
    monkeypatch.setattr(sys.modules["tfgates.pruning.prune"], "agree_but_for_rounding", lambda *arguments: False)
    with pytest.raises(PruningError, match="more than the tolerance of 0.02"):
        tfgates.prune(gated, inputs=x)
