"""Reconstruction: what a pruned network computes comes back to what the network before does."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.pruning.lineage import origins_of
from tfgates.reconstruction import least_squares

L = keras.layers


def images(count=48, seed=3):
    """Smooth images, so that channels say much of each other, as those of trained networks do."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(count, 4, 4, 3))
    return np.repeat(np.repeat(base, 3, axis=1), 3, axis=2).astype("float32")


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, L.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            for variable in (layer.beta, layer.moving_mean):
                variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


def residual():
    inputs = keras.Input((12, 12, 3))
    x = L.Conv2D(12, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = shortcut = L.ReLU()(L.BatchNormalization()(x))
    x = L.Conv2D(16, 3, padding="same", activation="relu", name="first")(x)
    x = L.Conv2D(12, 3, padding="same", use_bias=False, name="second")(x)
    x = L.ReLU()(L.Add()([L.BatchNormalization(name="norm")(x), shortcut]))
    x = L.DepthwiseConv2D(3, strides=2, name="depthwise")(x)
    x = L.Conv2D(24, 3, groups=2, strides=2, name="grouped")(x)
    x = L.Dense(20, activation="relu", name="hidden")(L.Flatten()(x))
    return randomise(keras.Model(inputs, L.Dense(5, activation="softmax", name="last")(x)))


def distance(a, b, x):
    return float(np.mean((np.asarray(a(x, training=False)) - np.asarray(b(x, training=False))) ** 2))


def test_what_was_lost_comes_back():
    keras.utils.set_random_seed(0)
    dense, x, unseen = residual(), images(192), images(192, seed=4)
    rng = np.random.default_rng(0)
    for variable in dense.trainable_variables:
        # The same on each backend.
        if len(variable.shape) > 1:
            limit = np.sqrt(6.0 / (np.prod(variable.shape[:-1]) + np.prod(variable.shape[:-2]) * variable.shape[-1]))
            variable.assign(rng.uniform(-limit, limit, variable.shape))
    weights = [np.array(v) for v in dense.variables]
    small = tfgates.prune_by(dense, tfgates.Budget(macs=0.5), residual="tied")
    lost = distance(small, dense, unseen)
    widths = [v.shape for v in small.variables]
    found = tfgates.reconstruct(small, dense, (x,))
    # Channels that were never trained say little of each other.
    assert distance(small, dense, unseen) < 0.6 * lost
    assert [v.shape for v in small.variables] == widths
    for before, variable in zip(weights, dense.variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(variable))
    assert [row["layer"] for row in found.layers] == ["stem", "first", "second", "grouped", "hidden", "last"]
    for row in found.layers:
        assert row["error_after"] <= row["error_before"] + 1e-6
    # What reads nothing but the images has nothing to make up for.
    assert found.layers[0]["error_before"] < 1e-6
    assert found.unchanged == [("depthwise", "DepthwiseConv2D is no Dense, Conv1D, Conv2D or Conv3D")]
    assert "hidden: " in str(found) and "depthwise: left as it is" in str(found)
    assert found.to_dict()["layers"] == found.records()


def test_against_least_squares_by_numpy():
    """A closed hidden unit that the others can say exactly: its reader takes it from them."""
    rng = np.random.default_rng(1)
    inputs = keras.Input((6,))
    x = L.Dense(5, name="first")(inputs)
    dense = keras.Model(inputs, L.Dense(3, name="last")(x))
    kernel = rng.normal(size=(6, 5)).astype("float32")
    # Unit 4, the one to go, is the sum of 0 and 1, plus 2.
    kernel[:, 4] = kernel[:, 0] + kernel[:, 1]
    dense.get_layer("first").set_weights([kernel, np.float32([0, 0, 0, 0, 2])])
    small = tfgates.prune_by(dense, tfgates.Budget(params=0.9), lambda units: np.r_[np.ones(4), 0.0])
    assert small.get_layer("first").units == 4
    data = rng.normal(size=(100, 6)).astype("float32")
    tfgates.reconstruct(small, dense, (data,), ridge=1e-9)
    old, old_bias = dense.get_layer("last").get_weights()
    expected = old[:4] + np.outer([1, 1, 0, 0], old[4])
    new, bias = small.get_layer("last").get_weights()
    np.testing.assert_allclose(new, expected, atol=1e-4)
    np.testing.assert_allclose(bias, old_bias + 2.0 * old[4], atol=1e-4)
    np.testing.assert_allclose(small(data), dense(data), atol=1e-4)


@pytest.mark.parametrize("has_reader", [True, False])
def test_a_layer_without_bias_leaves_its_offset_to_a_normalisation_alone(has_reader):
    rng = np.random.default_rng(2)
    inputs = keras.Input((6,))
    x = L.Dense(5, activation="relu", name="first")(inputs)
    y = L.Dense(4, use_bias=False, name="second")(x)
    z = L.BatchNormalization(name="norm")(y)
    dense = randomise(keras.Model(inputs, z if has_reader else [z, y]))
    data = rng.normal(size=(60, 6)).astype("float32")
    small = tfgates.prune_by(dense, tfgates.Budget(params=0.8))
    before = np.array(small.get_layer("norm").moving_mean)
    tfgates.reconstruct(small, dense, (data,))
    assert np.allclose(before, np.asarray(small.get_layer("norm").moving_mean)) == (not has_reader)
    first = (lambda m: m(data)) if has_reader else (lambda m: m(data)[0])
    assert np.mean((np.asarray(first(small)) - np.asarray(first(dense))).mean(0) ** 2) < (1e-8 if has_reader else 1.0)


def test_both_means_of_batch_renormalisation_take_up_an_offset():
    inputs = keras.Input((6,))
    x = L.Dense(4, use_bias=False, name="second")(L.Dense(5, activation="relu", name="first")(inputs))
    dense = keras.Model(inputs, L.BatchNormalization(renorm=True, name="norm")(x))
    data = np.random.default_rng(2).normal(size=(60, 6)).astype("float32")
    small = tfgates.prune_by(dense, tfgates.Budget(params=0.8))
    tfgates.reconstruct(small, dense, (data,))
    norm = small.get_layer("norm")
    assert np.abs(norm.moving_mean).max() > 1e-3
    np.testing.assert_array_equal(norm.renorm_mean, norm.moving_mean)


def test_nested_models_and_layers_that_are_called_twice():
    keras.utils.set_random_seed(3)
    inner_inputs = keras.Input((8,))
    inner = keras.Model(
        inner_inputs, L.Dense(8, name="b")(L.Dense(16, activation="relu", name="a")(inner_inputs)), name="base"
    )
    inputs = keras.Input((8,))
    shared = L.Dense(8, activation="tanh", name="shared")
    x = shared(shared(inner(inputs)))
    dense = keras.Model(inputs, L.Dense(3, name="last")(x))
    small = tfgates.prune_by(dense, tfgates.Budget(params=0.8))
    data = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    found = tfgates.reconstruct(small, dense, (data,))
    assert [row["layer"] for row in found.layers] == ["a", "b", "last"]
    assert found.unchanged == [("shared", "it is called more than once")]


def test_data_sets_and_dicts_of_inputs():
    first, second = keras.Input((4,), name="first"), keras.Input((3,), name="second")
    x = L.Concatenate()([L.Dense(8, activation="relu")(first), second])
    dense = keras.Model({"first": first, "second": second}, L.Dense(2)(x))
    small, again = (tfgates.prune_by(dense, tfgates.Budget(params=0.7)) for _ in range(2))
    rng = np.random.default_rng(0)
    data = {"second": rng.normal(size=(32, 3)).astype("float32"), "first": rng.normal(size=(32, 4)).astype("float32")}
    lost = distance(small, dense, data)
    batches = [({name: value[start : start + 8] for name, value in data.items()}, 0) for start in (0, 8, 16, 24)]
    tfgates.reconstruct(small, dense, iter(batches))
    assert distance(small, dense, data) < lost
    # Arrays that come alone, by name or not, are all the inputs.
    tfgates.reconstruct(again, dense, data)
    np.testing.assert_allclose(again.predict(data, verbose=0), small.predict(data, verbose=0), atol=1e-5)


def test_a_layer_that_is_too_large_is_named(monkeypatch):
    keras.utils.set_random_seed(0)
    dense = residual()
    small = tfgates.prune_by(dense, tfgates.Budget(macs=0.5))
    monkeypatch.setattr(least_squares, "LARGEST", 50)
    found = tfgates.reconstruct(small, dense, (images(60),), batch_size=60)
    assert "first" in dict(found.unchanged)
    assert "entries, more than 50" in dict(found.unchanged)["first"]


def test_where_layers_come_from_is_kept_for_what_prune_returned():
    dense = residual()
    small = tfgates.prune_by(dense, tfgates.Budget(macs=0.5))
    origin = origins_of(small)["first"]
    assert origin.name == "first" and origin.kept.shape == (16,)
    assert origin.kept.sum() == small.get_layer("first").filters
    # The kernel that is left is that of the units that are said to be.
    kernel = np.asarray(dense.get_layer("first").kernel)[..., origin.kept]
    np.testing.assert_array_equal(kernel, np.asarray(small.get_layer("first").kernel))


def test_mistakes():
    dense, x = residual(), images(8)
    small = tfgates.prune_by(dense, tfgates.Budget(macs=0.5))
    with pytest.raises(ValueError, match="`steps` must be a positive integer. Received: steps=0"):
        tfgates.reconstruct(small, dense, (x,), steps=0)
    with pytest.raises(ValueError, match="`ridge` must be positive. Received: ridge=0"):
        tfgates.reconstruct(small, dense, (x,), ridge=0.0)
    with pytest.raises(ValueError, match="`small` must be what `tfgates.prune`"):
        tfgates.reconstruct(dense, dense, (x,))
    with pytest.raises(ValueError, match="`dense` must have no gates"):
        tfgates.reconstruct(small, tfgates.gate_model(dense), (x,))
    with pytest.raises(ValueError, match="`data` must have at least one batch"):
        tfgates.reconstruct(small, dense, iter([]))
    other = keras.Sequential([keras.Input((12, 12, 3)), L.Conv2D(4, 3, name="stem"), L.Flatten(), L.Dense(5)])
    with pytest.raises(ValueError, match="layer 'stem' of it had 12 units. Received: a network with 4 units there"):
        tfgates.reconstruct(small, other, (x,))
    with pytest.raises(ValueError, match="`data` must have the inputs of the model"):
        tfgates.reconstruct(small, dense, ({"wrong": x},))


def test_nothing_is_changed_by_a_failure(monkeypatch):
    dense = residual()
    small = tfgates.prune_by(dense, tfgates.Budget(macs=0.5))
    before = [np.array(v) for v in small.variables]
    fit, calls = least_squares.Solution, []

    def fails_late(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise MemoryError("no more")
        return fit(*arguments)

    monkeypatch.setattr("tfgates.reconstruction.layerwise.Solution", fails_late)
    with pytest.raises(MemoryError):
        tfgates.reconstruct(small, dense, (images(8),))
    for value, variable in zip(before, small.variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable))


def test_branches_that_stand_in_another_order():
    """Two nested models beside each other: laid out flat, their layers alternate."""

    def tower(name):
        inputs = keras.Input((12, 12, 3))
        x = L.Conv2D(8, 3, activation="relu")(inputs)
        return keras.Model(inputs, L.Conv2D(6, 3, activation="relu")(x), name=name)

    inputs = keras.Input((12, 12, 3))
    x = L.Concatenate()([tower("one")(inputs), tower("two")(inputs)])
    dense = keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    small, x = tfgates.prune_by(dense, tfgates.Budget(macs=0.5)), images()
    before = distance(small, dense, x)
    found = tfgates.reconstruct(small, dense, (x,))
    assert len(found.layers) == 5 and distance(small, dense, x) < before
