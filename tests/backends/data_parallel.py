"""Training with `keras.distribution.DataParallel` on eight devices, against one device; JAX alone."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import keras
import numpy as np

import tfgates
from tests.calculus import array

K = keras.layers
CASES = (("hard_concrete", "batch"), ("disarm", "batch"), ("arm", "example"))


def run(gate, sampling, devices):
    """The variables and logs of a training: dropout, batch statistics, a budget whose multipliers move."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    found = keras.distribution.list_devices("cpu")
    assert len(found) == 8
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found) if devices == 8 else None)
    inputs = keras.Input((6,))
    x = K.BatchNormalization()(K.Dense(8, activation="tanh")(inputs))
    x = K.Dense(8, activation="relu")(K.Dropout(0.2, seed=1)(x))
    budget = tfgates.Budget(macs=0.5, warm_up=1, ramp=4)
    model = keras.Model(inputs, K.Dense(2)(x))
    gated = tfgates.gate_model(model, gate, seed=2, sampling=sampling, budget=budget)
    gated.compile(keras.optimizers.SGD(0.1), "mse", gate_optimizer=keras.optimizers.SGD(0.1))
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    logs = gated.fit(x, x[:, :2], batch_size=16, epochs=2, shuffle=False, verbose=0).history
    return [array(variable) for variable in gated.variables], logs


for gate, sampling in CASES:
    (one, logs_one), (eight, logs_eight) = (run(gate, sampling, devices) for devices in (1, 8))
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for name, values in logs_one.items():
        np.testing.assert_allclose(values, logs_eight[name], rtol=1e-4, atol=1e-5)
    print("equal", gate, sampling, flush=True)
