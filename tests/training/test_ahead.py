"""The first step of a training is traced once, and nothing else is different for it."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = X[:, :2]


@keras.saving.register_keras_serializable(package="tests")
class Traced(keras.layers.Layer):
    """Counts its calls in training: within `fit`, traces."""

    calls = 0

    def call(self, inputs, training=None):
        Traced.calls += bool(training)
        return inputs


def network():
    inputs = keras.Input((6,))
    x = Traced()(keras.layers.Dense(8, activation="relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def gated(**arguments):
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.5))
    model.compile("adam", "mse", **arguments)
    return model


DATA = {
    "arrays": lambda: (X, Y),
    "data set": lambda: (tensorflow("its data are of tf.data").data.Dataset.from_tensor_slices((X, Y)).batch(16),),
}


@pytest.mark.parametrize("make", DATA.values(), ids=DATA)
@pytest.mark.parametrize("metrics", [None, ["mae"]])
def test_one_trace(make, metrics):
    data = make()
    model = gated(metrics=metrics)
    Traced.calls = 0
    model.fit(*data, epochs=2, shuffle=False, verbose=0)
    assert Traced.calls == 1
    assert not metrics or "mae" in model.get_metrics_result()


def test_keras_alone_traces_twice():
    """The control; should it fail one day, what is tested here is no longer needed."""
    model = network()
    model.compile("adam", "mse")
    Traced.calls = 0
    model.fit(X, Y, verbose=0)
    assert Traced.calls == 2


def test_both_trainings_of_compress_are_traced_once():
    Traced.calls = 0
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            Traced.calls = 0

        def on_train_end(self, logs=None):
            seen.append(Traced.calls)

    tfgates.compress(network(), (X, Y), tfgates.Budget(macs=0.5), "mse", 2, callbacks=[Seen()], verbose=0)
    assert seen == [1, 1]


def test_training_is_the_same(monkeypatch):
    weights = []
    for ahead in (True, False):
        keras.utils.set_random_seed(3)
        model = gated(metrics=["mae"])
        if not ahead:
            monkeypatch.setattr("tfgates.training.gated_model.build_ahead", lambda *arguments: None)
        history = model.fit(X, Y, epochs=2, verbose=0, shuffle=False).history
        weights.append([*model.get_weights(), history["mae"], history["loss"]])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_metric_that_cannot_take_one_example_gets_what_it_expects():
    def whole_batches(y_true, y_pred):
        assert y_true.shape[0] != 1
        return keras.ops.mean(y_pred)

    model = gated(metrics=[whole_batches])
    logs = model.fit(X, Y, batch_size=16, verbose=0).history
    assert np.isfinite(logs["whole_batches"][0])


def test_sparse_scaling_finds_an_optimizer_that_it_can_replace():
    inputs = keras.Input((6,))
    x = tfgates.layers.GatedDense(8, gate="scaling")(inputs)
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x))
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0, callbacks=[tfgates.callbacks.SparseScaling(0.1)])
    assert type(model.optimizer).__name__ == "ScalingOptimizer"
