"""What the way of running a step must not change, and what an average of the weights is."""

import keras
import numpy as np
import pytest

import tfgates

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X[:, :2] * 0.5


def trained(optimizer, gate_optimizer, batch_size=4, frozen=False, **compile_arguments):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="tanh")(inputs)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)), gate="disarm", seed=1)
    for gate in model.gates:
        gate.trainable = not frozen
    model.compile(optimizer, "mse", gate_optimizer=gate_optimizer, **compile_arguments)
    model.fit(X, Y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
    return model


def weights(model):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]


def test_several_steps_per_execution_are_the_same_steps():
    arguments = (keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.02))
    one = weights(trained(*arguments))
    three = weights(trained(keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.02), steps_per_execution=3))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_accumulated_gradients_are_those_of_the_larger_batch():
    small = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    accumulated = weights(trained(small, None, batch_size=4, frozen=True))
    whole = weights(trained(keras.optimizers.SGD(0.1), None, batch_size=8, frozen=True))
    other = weights(trained(keras.optimizers.SGD(0.1), None, batch_size=4, frozen=True))
    for a, b, c in zip(accumulated, whole, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        # A control: the batches of 4 one by one lead elsewhere.
        assert np.max(np.abs(a - c)) > 1e-4


@pytest.mark.parametrize("average_gates", [False, True])
def test_averages_of_the_weights_beside_an_optimizer_of_the_gates(average_gates):
    """At the end of `fit` the variables of an optimizer with `use_ema` have their averages."""
    plain = (keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.5))
    averaged = (
        keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
        keras.optimizers.SGD(0.5, use_ema=average_gates, ema_momentum=0.5),
    )
    last, average = trained(*plain), trained(*averaged)
    for a, b in zip(last.trainable_variables, average.trainable_variables, strict=True):
        is_gate = a.path.endswith("logits")
        same = np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        assert same == (is_gate and not average_gates), a.path


def test_one_loss_scale_for_weights_and_gates():
    """Whether Keras adds it or the user: the gates keep their optimizer, and gradients are unscaled."""
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=64.0)
    plain = trained(keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.02))
    scaled = trained(given, keras.optimizers.Adam(0.02))
    assert isinstance(scaled.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(scaled.optimizer.inner_optimizer, keras.optimizers.MultiOptimizer)
    assert scaled.optimizer.initial_scale == 64.0
    for a, b in zip(weights(plain), weights(scaled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("given", [False, True])
def test_gates_of_a_budget_have_an_optimizer_under_mixed_float16(given):
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="tanh")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
    model = tfgates.gate_model(network, budget=tfgates.Budget(macs=0.5))
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if given else optimizer, "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    inner = model.optimizer.inner_optimizer
    assert [type(one).__name__ for one in (inner.weights_optimizer, inner.gate_optimizer)] == ["SGD", "Adam"]
