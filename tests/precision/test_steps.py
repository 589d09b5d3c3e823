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
