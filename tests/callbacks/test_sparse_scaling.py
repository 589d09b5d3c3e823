"""Scaling factors under APG inside fit, beside any optimizer."""

import contextlib

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import differentiated
from tests.reload import predict_in_fresh_process
from tests.slow import others_slow
from tfgates.callbacks import SparseScaling
from tfgates.gates import HardConcreteGate, ScalingGate
from tfgates.optimizers import APG, ScalingOptimizer, with_gate_optimizer
from tfgates.training import GatedModel

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
Y = X[:, :2] * 0.5


def make(optimizer="sgd", gates=True, **compile_arguments):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, name="first")(inputs)
    x = ScalingGate(name="factors")(x) if gates else x
    x = keras.layers.Dense(6, activation="relu", name="second")(x)
    x = ScalingGate(groups=3, name="groups")(x) if gates else x
    model = GatedModel(inputs, keras.layers.Dense(2, name="last")(x))
    model.compile(optimizer, "mse", **compile_arguments)
    return model


def fit(model, *callbacks, epochs=3, **arguments):
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks), **arguments
    )


def values(model):
    return [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]


def by_hand(model, optimizer, scaling, steps):
    """The same training, written as a loop over two optimizers."""
    loss_function = keras.losses.MeanSquaredError()
    factors = [v for v in model.trainable_variables if v.name == "scale"]
    others = [v for v in model.trainable_variables if v.name != "scale"]
    for step in range(steps):
        batch = slice(step % 6 * 8, step % 6 * 8 + 8)
        found = differentiated(lambda x, y: loss_function(y, model(x, training=True)), factors + others)
        gradients = [keras.ops.convert_to_tensor(each) for each in found(X[batch], Y[batch])]
        scaling.apply(gradients[: len(factors)], factors)
        optimizer.apply(gradients[len(factors) :], others)


SCHEDULE = {"decay_steps": 6, "decay_rate": 0.8}


@pytest.mark.parametrize("compile_arguments", others_slow([{"steps_per_execution": 4}, {}, {"jit_compile": True}], 1))
def test_exactly_the_factors_follow_apg(compile_arguments):
    def schedule():
        return keras.optimizers.schedules.ExponentialDecay(0.05, **SCHEDULE)

    model = make(keras.optimizers.Adam(schedule()), **compile_arguments)
    fit(model, SparseScaling(0.5, warmup_steps=5))
    expected = make()
    strength = keras.optimizers.schedules.PolynomialDecay(0.0, 5, end_learning_rate=0.5)
    by_hand(expected, keras.optimizers.Adam(schedule()), APG(schedule(), 0.9, strength), steps=3 * len(X) // 8)
    for a, b in zip(values(model), values(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert np.all(model.gates[0].scale.numpy() < 1.0)


OPTIMIZERS = [
    keras.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True),
    keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
    "adam",
    keras.optimizers.RMSprop(0.01, clipvalue=0.1),
    keras.optimizers.SGD(0.1, loss_scale_factor=8.0),
    keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1), {".*/(kernel|scale)": keras.optimizers.Adam()})
    ),
]


@pytest.mark.parametrize(
    "optimizer",
    others_slow(OPTIMIZERS, 2),
    ids=lambda optimizer: optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
)
def test_beside_any_optimizer(optimizer):
    if not isinstance(optimizer, str):
        optimizer = type(optimizer).from_config(optimizer.get_config())
    model = make(optimizer)
    history = fit(model, SparseScaling(2.0, learning_rate=0.1), epochs=8)
    assert isinstance(model.optimizer, ScalingOptimizer)
    zeros = sum(int(np.sum(gate.scale.numpy() == 0)) for gate in model.gates)
    assert zeros > 0
    assert history.history["open_structures"][-1] == 11 - zeros
    assert np.all(np.isfinite(np.concatenate([v.ravel() for v in values(model)])))


def test_beside_optimizers_for_gates_and_weights():
    """The logits of other gates keep the optimizer that was compiled for them."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,))
    x = HardConcreteGate(name="drawn", l0=1.0)(keras.layers.Dense(8, name="first")(inputs))
    x = ScalingGate(name="factors")(keras.layers.Dense(8, name="second")(x))
    model = GatedModel(inputs, keras.layers.Dense(2, name="last")(x))
    model.compile(with_gate_optimizer(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.1)), "mse")
    before = {w.path: np.array(w) for w in model.trainable_weights}
    fit(model, SparseScaling(2.0, learning_rate=0.1))
    moved = {w.path for w in model.trainable_weights if np.any(np.array(w) != before[w.path])}
    assert moved == {"drawn/logits", "factors/scale"}
    assert np.any(model.get_layer("factors").scale.numpy() == 0.0)


def test_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    model = make(keras.optimizers.SGD(0.05))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    fit(model, SparseScaling(2.0), epochs=6)
    assert isinstance(model.optimizer.inner_optimizer, ScalingOptimizer)
    assert any(np.any(gate.scale.numpy() == 0) for gate in model.gates)


def test_the_learning_rate_is_followed():
    model = make(keras.optimizers.SGD(0.1))
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: [0.1, 0.0][epoch])
    after = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after.append(values(model)))
    fit(model, SparseScaling(0.5), rates, watch, epochs=2)
    moved = make().gates[0].scale.numpy() - model.gates[0].scale.numpy()
    assert np.any(moved != 0)
    assert float(model.optimizer.learning_rate) == 0.0
    # At rate 0 the kernels stand still and the factors move by momentum alone.
    np.testing.assert_array_equal(after[0][0], after[1][0])


@pytest.mark.parametrize(
    "when_reached, steps_per_execution",
    [
        ("fine_tune", 3),
        ("stop", 1),
        pytest.param("fine_tune", 1, marks=pytest.mark.slow),
        pytest.param("stop", 3, marks=pytest.mark.slow),
    ],
)
def test_stops_at_a_wanted_count(when_reached, steps_per_execution):
    model = make(keras.optimizers.SGD(0.05), steps_per_execution=steps_per_execution)
    callback = SparseScaling(0.2, stop_at=6, when_reached=when_reached)
    history = fit(model, callback, epochs=40).history["open_structures"]
    assert history[0] > history[-1] == 6
    reached = history.index(6)
    if when_reached == "stop":
        assert len(history) == reached + 1 < 40
    else:
        assert len(history) == 40
        assert len(set(history[reached:])) == 1
        assert float(model.optimizer.scaling.stopped.numpy()) == 1.0


def test_is_saved_and_resumed_to_the_bit(tmp_path):
    def callback():
        return SparseScaling(0.4, warmup_steps=20, stop_at=5)

    optimizer = {"learning_rate": 0.05, "beta_1": 0.8}
    whole, first = make(keras.optimizers.Adam(**optimizer)), make(keras.optimizers.Adam(**optimizer))
    fit(whole, callback(), epochs=6)
    fit(first, callback(), epochs=3)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(second.optimizer, ScalingOptimizer)
    fit(second, callback(), epochs=3)
    for a, b in zip(values(whole), values(second), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(whole.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_backup_and_restore(tmp_path):
    whole, broken, again = (make(keras.optimizers.Adam(0.05)) for _ in range(3))
    fit(whole, SparseScaling(0.4), epochs=4)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = str(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        fit(broken, keras.callbacks.BackupAndRestore(backup), SparseScaling(0.4), Interrupt(), epochs=4)
    history = fit(again, keras.callbacks.BackupAndRestore(backup), SparseScaling(0.4), epochs=4)
    assert history.epoch == [2, 3]
    for a, b in zip(values(whole), values(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_too_late():
    model = make()
    fit(model, epochs=1)
    with pytest.raises(ValueError, match=r"from the first training step .* Received: .* trained for 6 steps"):
        fit(model, SparseScaling(0.1))
    model.compile("sgd", "mse")
    fit(model, SparseScaling(0.1), epochs=1)
    fit(model, SparseScaling(0.1), epochs=1)
    with pytest.raises(ValueError, match=r"only under the same settings .* Received: strength=0.2"):
        fit(model, SparseScaling(0.2))
    with pytest.raises(ValueError, match=r"only under the same settings .* Received: learning_rate=0.5"):
        fit(model, SparseScaling(0.1, learning_rate=0.5))


def test_the_pruned_network_needs_no_tfgates(tmp_path):
    """SparseScaling compiles with an optimizer of tfgates, which `prune` must not take along."""
    model = make()
    fit(model, SparseScaling(0.1), epochs=1)
    path = tmp_path / "pruned.keras"
    pruned = tfgates.prune(model)
    pruned.save(path)
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    (found,) = predict_in_fresh_process(str(path), x, tmp_path, plain=True)
    np.testing.assert_allclose(found, pruned(x, training=False), atol=1e-5)


def test_a_built_optimizer_at_its_start():
    plain, built = make("adam"), make("adam")
    built.optimizer.exclude_from_weight_decay(var_names=["bias"])
    built.optimizer.build(built.trainable_variables)
    for model in (plain, built):
        fit(model, SparseScaling(0.5), epochs=1)
    for a, b in zip(values(plain), values(built), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_gates_are_left_alone():
    model = make()
    model.gates[0].trainable = False
    model.compile("sgd", "mse")
    fit(model, SparseScaling(1.0))
    np.testing.assert_array_equal(model.gates[0].scale, np.ones(8))
    assert np.all(model.gates[1].scale.numpy() < 1.0)


def test_models_that_do_not_fit():
    with pytest.raises(ValueError, match=r"a trainable tfgates.gates.ScalingGate. Received: model="):
        fit(make(gates=False), SparseScaling(0.1))
    model = keras.Sequential([keras.layers.Dense(6), ScalingGate(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    # Keras builds it before the callbacks are asked with the other backends.
    unbuilt = keras.backend.backend() == "tensorflow"
    with pytest.raises(ValueError, match="needs a built model") if unbuilt else contextlib.nullcontext():
        fit(model, SparseScaling(0.1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"strength": -1.0},
        {"momentum": 1.0},
        {"warmup_steps": -1},
        {"stop_at": -2},
        {"when_reached": "never"},
    ],
)
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"`{name}` must .* Received: {name}="):
        SparseScaling(**{"strength": 0.1, **arguments})


def test_a_schedule_has_its_own_warm_up():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    with pytest.raises(ValueError, match="`warmup_steps` must be 0 where `strength` is a schedule.* Received: .*=50"):
        SparseScaling(schedule, warmup_steps=50)
