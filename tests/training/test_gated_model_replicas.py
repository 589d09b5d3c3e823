"""Bernoulli gates under `tf.distribute.MirroredStrategy`, in a process with two logical devices."""

import json
import pathlib

import numpy as np
import pytest

from tests import forked

PROGRAM = """
import json, sys
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from tfgates import GatedModel, gates, layers
sampling, normalise = sys.argv[1], sys.argv[2] == "True"

def train():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    gate = gates.BernoulliGate(estimator="arm", initial_open_probability=0.5, sampling=sampling, seed=1)
    x = layers.GatedDense(4, activation="tanh", gate=gate)(inputs)
    if normalise:
        x = keras.layers.BatchNormalization(synchronized=True)(x)
    model = GatedModel(inputs, keras.layers.Dense(2)(x))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(16, 3)).astype("float32")
    y = generator.normal(size=(16, 2)).astype("float32")
    for _ in range(4):
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    return model.gates[0].logits.numpy().tolist()

single = train()
devices = ["CPU:0", "CPU:1"]
with tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice()).scope():
    mirrored = train()
print(json.dumps([single, mirrored]))
"""


def trained(sampling, normalise):
    """The logits after a few steps on one device and on two."""
    done = forked.run(["-c", PROGRAM, sampling, normalise], cwd=pathlib.Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [False, True])
def test_one_draw_per_batch_gives_the_update_of_one_device(normalise):
    single, mirrored = trained("batch", normalise)
    assert np.any(single != 0.0)
    np.testing.assert_allclose(mirrored, single, atol=1e-5)


@pytest.mark.slow
def test_draws_per_example_train():
    single, mirrored = trained("example", False)
    assert np.all(np.isfinite(mirrored))
    assert np.all(mirrored != 0.0)
    assert np.any(mirrored != single)
