"""To callbacks and loggers the learning rate of a gated model is that of its weights; gates keep their pace."""

import itertools
import json

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tests.slow import others_slow
from tfgates.optimizers import GatedOptimizer, ScalingOptimizer

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :2] * 0.5


def gated(optimizer=None, gate="hard_concrete", budget=None, **compile_arguments):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
    model = tfgates.gate_model(network, gate, budget=budget or tfgates.Budget(macs=0.5), seed=1)
    model.compile(optimizer or keras.optimizers.Adam(1e-3), "mse", **compile_arguments)
    return model


def rates(model):
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return tuple(
        float(keras.ops.convert_to_numpy(o.learning_rate))
        for o in (model.optimizer, inner.weights_optimizer, inner.gate_optimizer)
    )


CALLBACKS = {
    "scheduler": lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau("loss", 0.25, patience=1, min_delta=1e6),
}


@pytest.mark.parametrize(
    ("scaled", "callback"),
    others_slow(itertools.product([False, True], CALLBACKS), [(False, "scheduler"), (True, "plateau")]),
)
def test_callbacks_set_the_rate_of_the_weights(callback, scaled, tmp_path):
    optimizer = keras.optimizers.Adam(1e-3)
    # It holds from the first step, so that both callbacks see each epoch.
    budget = tfgates.Budget(macs=1.0, warm_up=0, ramp=0)
    model = gated(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer, budget=budget)
    # Keras writes by TensorFlow there.
    board = [keras.callbacks.TensorBoard(tmp_path)] if keras.backend.backend() == "tensorflow" else []
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[CALLBACKS[callback](), *board]).history
    pace = tfgates.optimizers.gate_learning_rate(model.gates, 2)
    np.testing.assert_allclose(rates(model), (2.5e-4, 2.5e-4, pace), rtol=1e-6)
    seen = [5e-4, 2.5e-4] if callback == "scheduler" else [1e-3, 1e-3]
    np.testing.assert_allclose(history["learning_rate"], seen, rtol=1e-6)
    # The board looks when callbacks before it are done.
    if board:
        np.testing.assert_allclose(scalars(tmp_path)["epoch_learning_rate"][-1], 2.5e-4, rtol=1e-6)


def scalars(folder):
    """The scalars of a TensorBoard callback, a list of values for each tag."""
    tf = tensorflow("keras.callbacks.TensorBoard writes by TensorFlow")
    found = {}
    for path in folder.glob("train/events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                if value.tag.startswith("epoch_"):
                    found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    return found


def test_a_schedule_counts_the_steps_of_the_weights():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.125])
    model = gated(keras.optimizers.SGD(schedule))
    model.fit(X, Y, batch_size=8, verbose=0)
    assert rates(model)[:2] == (0.125, 0.125)
    with pytest.raises(TypeError, match="learning rate"):
        model.optimizer.learning_rate = 0.1


@pytest.mark.parametrize(
    "arguments",
    others_slow([{"jit_compile": True}, {"steps_per_execution": 2}, {"run_eagerly": True}], 1),
    ids=str,
)
def test_the_rate_that_was_set_is_the_one_that_is_used(arguments):
    """At a rate of 0 weights stand still while gates move, and the reverse."""
    model = gated(keras.optimizers.SGD(0.1), **arguments)
    (gate,) = model.gates
    for rate in (0.1, 0.0):
        model.optimizer.learning_rate = rate
        before = [np.array(v) for v in (model.layers[-1].kernel, gate.logits)]
        model.fit(X, Y, batch_size=8, verbose=0)
        moved = [np.any(np.array(v) != b) for v, b in zip((model.layers[-1].kernel, gate.logits), before, strict=True)]
        assert moved == [rate > 0, True]


def test_saved_and_restored_with_the_rate_that_was_set(tmp_path):
    model = gated()
    model.fit(X, Y, verbose=0)
    model.optimizer.learning_rate = 0.0625
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, GatedOptimizer)
    assert rates(loaded) == rates(model)
    for each in (model, loaded):
        each.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = GatedOptimizer.from_config(model.optimizer.get_config())
    assert float(again.learning_rate) == 0.0625
    assert float(again.gate_optimizer.learning_rate) == float(model.optimizer.gate_optimizer.learning_rate)


@pytest.mark.parametrize("scaled", [False, True])
def test_written_down_and_read_again(scaled):
    """As JSON, with the schedule of the weights."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.25)
    written = json.dumps(
        keras.optimizers.serialize(
            gated(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer).optimizer
        )
    )
    again = keras.optimizers.get(json.loads(written))
    inner = again.inner_optimizer if scaled else again
    assert isinstance(inner, GatedOptimizer) and inner.weights_optimizer.momentum == 0.25
    assert float(again.learning_rate) == 0.5
    assert json.dumps(keras.optimizers.serialize(again)) == written


def test_on_replicas():
    tf = tensorflow("it uses a strategy of TensorFlow")
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = gated()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[CALLBACKS["scheduler"]()])
    assert rates(model)[0] == pytest.approx(2.5e-4)


def test_a_loss_scale_of_the_optimizer_is_kept_for_both():
    plain, scaled = (gated(keras.optimizers.SGD(0.1, loss_scale_factor=factor)) for factor in (None, 64.0))
    assert scaled.optimizer.loss_scale_factor == scaled.optimizer.gate_optimizer.loss_scale_factor == 64.0
    scaled.set_weights(plain.get_weights())
    for each in (plain, scaled):
        each.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(plain.trainable_variables, scaled.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_averages_of_the_weights_are_found_by_the_callback_that_swaps_them():
    model = gated(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
    swapped = model.fit(
        X, Y, batch_size=8, validation_data=(X, Y), verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()]
    ).history["val_loss"]
    other = gated(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
    plain = other.fit(X, Y, batch_size=8, validation_data=(X, Y), verbose=0).history["val_loss"]
    assert swapped != plain
    with pytest.raises(AttributeError, match="`optimizers` are those with averages"):
        _ = gated().optimizer.optimizers


def test_scaling_factors_beside_gates_of_another_kind():
    """Of three optimizers the callbacks see that of the weights, which the factors follow."""
    inputs = keras.Input((4,))
    x = tfgates.layers.GatedDense(8, gate="hard_concrete")(inputs)
    x = tfgates.gates.ScalingGate()(x)
    model = tfgates.GatedModel(inputs, keras.layers.Dense(2)(x), penalty={"macs": 1.0})
    model.compile("adam", "mse")
    callbacks = [tfgates.callbacks.SparseScaling(0.01), CALLBACKS["scheduler"]()]
    model.fit(X, Y, verbose=0, callbacks=callbacks)
    assert isinstance(model.optimizer, ScalingOptimizer)
    weights, *others = model.optimizer.optimizers
    assert others == [] and weights.learning_rate is model.optimizer.learning_rate
    assert float(weights.learning_rate) == pytest.approx(5e-4)
