"""Averages of batch normalisation for the gates that inference uses."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow


def network(shared=False, dropout=0.3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    normalization = keras.layers.BatchNormalization(name="first")
    x = normalization(keras.layers.Conv2D(8, 3, padding="same")(inputs))
    x = keras.layers.ReLU()(x)
    if shared:
        x = keras.layers.ReLU()(normalization(keras.layers.Conv2D(8, 3, padding="same")(x)))
    x = keras.layers.Conv2D(8, 3)(keras.layers.Dropout(dropout, seed=1)(x))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="second")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def images(count=40):
    return np.random.default_rng(0).normal(1.0, 2.0, (count, 6, 6, 2)).astype("float32")


def values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def inputs_of(model, name, x):
    layer = model.get_layer(name)
    part = keras.Model(model.input, layer._inbound_nodes[0].input_tensors[0])
    return np.asarray(part(x, training=False))


def half_closed(model):
    for gate in model.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 2 == 0, 3.0, -3.0))
    return model


@pytest.mark.parametrize("gate", ["hard_concrete", "disarm"])
def test_averages_are_those_of_the_test_gates(gate):
    # Without dropout, so that numpy can tell what the averages are.
    model = half_closed(tfgates.gate_model(network(dropout=0.0), gate=gate))
    x = images()
    weights = values(model.trainable_variables)
    assert tfgates.reestimate_statistics(model, (x, np.zeros(40)), batch_size=16) == 2
    for expected, found in zip(weights, values(model.trainable_variables), strict=True):
        np.testing.assert_array_equal(found, expected)
    order = np.random.default_rng(0).permutation(40)
    batches = [x[np.sort(order[i : i + 16])] for i in (0, 16, 32)]
    first = model.get_layer("first")
    seen = [inputs_of(model, "first", batch) for batch in batches]
    share = np.array([16, 16, 8]) / 40
    mean = sum(s * each.mean((0, 1, 2)) for s, each in zip(share, seen, strict=True))
    variance = sum(s * each.var((0, 1, 2)) for s, each in zip(share, seen, strict=True))
    np.testing.assert_allclose(first.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.moving_variance, variance, rtol=1e-4)
    # The second layer sees what the first leaves open.
    pruned = tfgates.prune(model)
    before = values([pruned.get_layer("second").moving_mean])
    tfgates.reestimate_statistics(pruned, (x, np.zeros(40)), batch_size=16)
    np.testing.assert_allclose(values([pruned.get_layer("second").moving_mean]), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gated", [False, True])
def test_renormalised_layers_keep_their_averages(gated):
    """They normalise by these in training too; what a layer behind one gathers is what inference will make."""
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.BatchNormalization(renorm=True, name="first")(keras.layers.Conv2D(8, 3, name="conv")(inputs))
    x = keras.layers.BatchNormalization(name="second")(keras.layers.Conv2D(8, 3)(keras.layers.ReLU()(x)))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))))
    model = half_closed(tfgates.gate_model(model)) if gated else model
    first, second = (model.get_layer(name) for name in ("first", "second"))
    for layer in (first, second):
        for variable in layer.non_trainable_variables:
            if "seed" not in variable.path:
                variable.assign(np.random.default_rng(1).uniform(0.5, 3.0, variable.shape))
    before, x = values(first.non_trainable_variables), images()
    assert tfgates.reestimate_statistics(model, (x,), batch_size=40) == 1
    for expected, found in zip(before, values(first.non_trainable_variables), strict=True):
        np.testing.assert_array_equal(found, expected)
    seen = inputs_of(model, "second", x)
    np.testing.assert_allclose(second.moving_mean, seen.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(second.moving_variance, seen.var((0, 1, 2)), rtol=1e-3)
    assert "call" not in vars(first)


def test_calls_of_a_shared_layer_count_alike():
    model, x = network(shared=True), images(16)
    tfgates.reestimate_statistics(model, (x,), batch_size=16)
    layer = model.get_layer("first")
    sources = keras.Model(model.input, [node.input_tensors[0] for node in layer._inbound_nodes])
    first = np.asarray(sources(x, training=False)[0])
    # The second call reads what the first one makes of the batch's own statistics.
    made = np.maximum((first - first.mean((0, 1, 2))) / np.sqrt(first.var((0, 1, 2)) + layer.epsilon), 0.0)
    second = np.asarray(model.layers[4](made))
    np.testing.assert_allclose(
        layer.moving_mean, (first.mean((0, 1, 2)) + second.mean((0, 1, 2))) / 2, rtol=1e-3, atol=1e-4
    )


def test_only_averages_change_and_frozen_ones_do_not():
    tf = tensorflow("its data are of tf.data")
    model, x = network(), images()
    model.get_layer("second").trainable = False
    own = {id(v) for v in model.get_layer("first").non_trainable_variables}
    kept = [v for v in model.variables if id(v) not in own]
    before, momentum = values(kept), model.get_layer("first").momentum
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(40))).batch(8)
    assert tfgates.reestimate_statistics(model, data, steps=2) == 1
    for expected, found in zip(before, values(kept), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert model.get_layer("first").momentum == momentum
    assert "call" not in vars(model.get_layer("first"))
    assert not np.allclose(model.get_layer("first").moving_mean, 0.0)


class Batches(keras.utils.PyDataset):
    """A sequence that would go on for ever if nobody asked how long it is."""

    num_batches = 3

    def __getitem__(self, index):
        assert index < 3
        return images(24)[8 * index : 8 * index + 8], np.zeros(8)


def test_weights_that_a_layer_sets_in_training_stay():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.SpectralNormalization(keras.layers.Conv2D(8, 3))(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    before = values(model.trainable_variables)
    assert tfgates.reestimate_statistics(model, (images(),), batch_size=16) == 1
    for expected, found in zip(before, values(model.trainable_variables), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_kind_of_data_gives_the_same():
    tf = tensorflow("its data are of tf.data")
    x, found = images(24), []
    pairs = tf.data.Dataset.from_tensor_slices((x, np.zeros(24))).batch(8)
    for data in (pairs, pairs.map(lambda x, y: x), Batches(), [(x[i : i + 8],) for i in (0, 8, 16)], (x,), x):
        model = network(dropout=0.0)
        # A list of batches is not a tuple of arrays.
        tfgates.reestimate_statistics(model, iter(data) if isinstance(data, list) else data, batch_size=8)
        found.append(values([model.get_layer("first").moving_mean])[0])
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=1e-6)


def test_a_failure_changes_nothing():
    tf = tensorflow("its data are of tf.data")
    model = network()
    before = values(model.variables)
    for data in (tf.data.Dataset.from_tensor_slices(images(8)).batch(4).concatenate(wrong()), [images(4)[..., :1]]):
        with pytest.raises(Exception, match="shape"):
            tfgates.reestimate_statistics(model, data)
    with pytest.raises(ValueError, match="`data` must have at least one batch. Received: none"):
        tfgates.reestimate_statistics(model, (images(0),))
    with pytest.raises(ValueError, match="`steps` must be a positive integer. Received: steps=0"):
        tfgates.reestimate_statistics(model, (images(),), steps=0)
    for expected, found in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert model.get_layer("first").momentum == 0.99


def wrong():
    tf = tensorflow("its data are of tf.data")
    return tf.data.Dataset.from_tensor_slices(images(4)).batch(4).map(lambda x: x[:, :0])


@pytest.mark.parametrize("data", [None, (), (images(4).tolist(),), (3.0,), {}], ids=lambda x: type(x).__name__)
def test_data_of_another_kind(data):
    with pytest.raises(ValueError, match="`data` must be a data set of batches .* Received: data="):
        tfgates.reestimate_statistics(network(), data)


@pytest.mark.parametrize("batch_size", [0, None])
def test_batch_sizes(batch_size):
    with pytest.raises(ValueError, match=f"`batch_size` must be a positive integer. Received: batch_size={batch_size}"):
        tfgates.reestimate_statistics(network(), (images(4),), batch_size=batch_size)


def test_without_batch_normalisation_there_is_nothing_to_do():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert tfgates.reestimate_statistics(model, (np.zeros((4, 4)),)) == 0


def test_single_examples_are_no_batches():
    tf = tensorflow("its data are of tf.data")
    model, data = network(), tf.data.Dataset.from_tensor_slices(images(8))
    message = "`data` must be a data set of batches, and is one of single examples.*Received: elements of shape"
    for each in (data, data.map(lambda x: (x, x))):
        with pytest.raises(ValueError, match=message):
            tfgates.reestimate_statistics(model, each)
    # By name they may come in another order than the inputs of the model.
    first, second = keras.Input((3, 2), name="b"), keras.Input((5,), name="a")
    both = keras.layers.Concatenate()([keras.layers.Flatten()(first), second])
    two = keras.Model({"b": first, "a": second}, keras.layers.BatchNormalization()(both))
    arrays = {"a": np.ones((8, 5), "float32"), "b": np.ones((8, 3, 2), "float32")}
    assert tfgates.reestimate_statistics(two, tf.data.Dataset.from_tensor_slices(arrays).batch(4)) == 1
    with pytest.raises(ValueError, match="is one of single examples"):
        tfgates.reestimate_statistics(two, tf.data.Dataset.from_tensor_slices(arrays))
    # Of a batch of numbers Keras makes one of vectors.
    inputs = keras.Input((1,))
    plain = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert tfgates.reestimate_statistics(plain, tf.data.Dataset.from_tensor_slices(np.ones(8, "float32")).batch(4)) == 1
