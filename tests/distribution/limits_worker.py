"""Compiles models on two logical CPUs as Keras cannot train them; prints the messages as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

import tfgates

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
DEVICES = ["CPU:0", "CPU:1"]
TO_ONE = tf.distribute.MirroredStrategy(DEVICES, tf.distribute.ReductionToOneDevice())
COLLECTIVE = tf.distribute.MirroredStrategy(DEVICES)
ONE = tf.distribute.MirroredStrategy(["CPU:0"], tf.distribute.ReductionToOneDevice())


def message(strategy, optimizer, budget=None, train=False, **arguments):
    """The message of the refusal, or "" without one."""
    with strategy.scope():
        inputs = keras.Input((3,))
        x = keras.layers.Dense(4, activation="relu")(inputs)
        model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)), budget=budget)
        try:
            model.compile(optimizer(), "mse", **arguments)
        except ValueError as error:
            return str(error)
        if train:
            model.fit(np.ones((8, 3), "float32"), np.ones((8, 2), "float32"), batch_size=2, verbose=0)
        return ""


def accumulating():
    return keras.optimizers.SGD(gradient_accumulation_steps=2)


def overwriting():
    return keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2)


sgd = keras.optimizers.SGD
budget = tfgates.Budget(macs=0.6)
print(
    json.dumps(
        {
            "accumulation": message(TO_ONE, accumulating),
            "accumulation with a budget": message(TO_ONE, accumulating, budget),
            "accumulation on one replica": message(ONE, accumulating),
            "overwriting": message(TO_ONE, overwriting),
            "overwriting, scaled": message(TO_ONE, lambda: keras.optimizers.LossScaleOptimizer(overwriting())),
            "steps": message(COLLECTIVE, sgd, steps_per_execution=2),
            "jit": message(TO_ONE, sgd, jit_compile=True),
            "allowed: averages": message(TO_ONE, lambda: sgd(use_ema=True)),
            "allowed: steps": message(TO_ONE, sgd, train=True, steps_per_execution=2),
            "allowed: one replica": message(ONE, sgd, train=True, steps_per_execution=2, jit_compile=True),
        }
    )
)
