"""finish: the size of the budget, the averages of the data, compiled as the user compiled."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow

X = np.random.default_rng(0).normal(2.0, 3.0, size=(64, 4)).astype("float32")
Y = X[:, :2] * 0.5


def gated():
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.ReLU()(x)))
    return tfgates.gate_model(network, budget=tfgates.Budget(params=0.5), seed=1)


def test_what_comes_out_fits_the_budget_and_is_ready_to_use():
    model = gated()
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.2), "mse", metrics=["mae"], weighted_metrics=["mse"])
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    small = tfgates.finish(model, (X, Y), batch_size=64)
    assert tfgates.cost(small).params <= 0.5 * tfgates.cost(model).dense_params
    assert not any(type(layer).__module__.startswith("tfgates") for layer in small.layers)
    (layer,) = [layer for layer in small.layers if isinstance(layer, keras.layers.BatchNormalization)]
    seen = keras.Model(small.input, layer._inbound_nodes[0].input_tensors[0])(X)
    np.testing.assert_allclose(layer.moving_mean, np.mean(seen, axis=0), rtol=1e-3, atol=1e-3)
    logs = small.evaluate(X, Y, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "mae", "mse"}
    assert isinstance(small.optimizer, keras.optimizers.AdamW) and small.optimizer.weight_decay == 0.2
    before = logs["loss"]
    small.fit(X, Y, epochs=20, verbose=0)
    assert small.evaluate(X, Y, verbose=0, return_dict=True)["loss"] < before


class Above(keras.metrics.MeanAbsoluteError):
    """Without the `get_config` that its argument needs."""

    def __init__(self, bound, **kwargs):
        super().__init__(**kwargs)


def test_a_metric_that_cannot_be_made_again_is_named():
    model = gated()
    model.compile("adam", "mse", metrics=[Above(0.5)])
    with pytest.warns(tfgates.GatesWarning, match="What is left is not compiled.*'bound'") as said:
        assert not tfgates.finish(model, (X, Y)).compiled
    assert [each.filename for each in said if "compile" in str(each.message)] == [__file__]


def test_a_function_as_learning_rate_is_kept():
    model = gated()
    model.compile(keras.optimizers.SGD(lambda: 0.25, momentum=0.5), "mse")
    small = tfgates.finish(model, (X, Y))
    assert small.optimizer.learning_rate == 0.25 and small.optimizer.momentum == 0.5


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_is_shown_on_demand(verbose, capsys):
    inputs = keras.Input((6,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    gated = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.ReLU()(x))))
    gated.gates[0].logits.assign([9.0] * 4 + [-9.0] * 4)
    tfgates.finish(gated, (np.zeros((40, 6), "float32"),), batch_size=16, verbose=verbose)
    printed = capsys.readouterr().out
    assert ("Gathering averages of batch normalisation" in printed and "3/3" in printed) if verbose else not printed


class Positive(keras.layers.Layer):
    """Complains of numbers that nobody should give it."""

    def call(self, x):
        tf = tensorflow("its layer asserts by TensorFlow")
        with tf.control_dependencies([tf.debugging.assert_greater_equal(x, 0.0, "below 0")]):
            return tf.identity(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def of_positive():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(Positive()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    return tfgates.gate_model(model, budget=tfgates.Budget(params=0.5), seed=1)


def test_where_no_inputs_can_be_made_up_data_take_their_place():
    model = of_positive()
    with pytest.raises(ValueError, match="`model` cannot be called on random numbers: give `inputs`"):
        tfgates.prune(model)
    small = tfgates.finish(model, (np.abs(X), Y))
    assert tfgates.cost(small).params <= 0.5 * tfgates.cost(model).dense_params
    with pytest.raises(Exception, match="below 0"):
        tfgates.finish(model, (np.abs(X), Y), inputs=X)


def test_compress_compares_on_its_data_too():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, activation="relu")(Positive()(inputs))))
    for importance in (None, "magnitude"):
        small = tfgates.compress(
            model, (np.abs(X), Y), tfgates.Budget(params=0.5), "mse", epochs=4, verbose=0, importance=importance
        )
        assert tfgates.cost(small).params <= 0.5 * tfgates.cost(model).params
