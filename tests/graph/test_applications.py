"""Every network of keras.applications: gated, closed at random, pruned, reloaded without tfgates."""

import contextlib

import keras
import numpy as np
import pytest

import tfgates
from benchmarks.applications import NETWORKS, SIZES, build, close, open_all, randomise
from tests.calculus import array
from tests.graph.oracle import macs_of
from tests.reload import predict_in_fresh_process

# With most of the rules that any of them has; every one is in the slow suite.
QUICK = ("MobileNetV3Small",)

# What is reloaded elsewhere is a SavedModel, too.
OF_TENSORFLOW = keras.backend.backend() == "tensorflow"


# With random averages these amplify a change of 1e-6 of the input to 1e-4 and more of the output, open or
# closed: in float32 any two ways to compute them differ by that, so they are compared in float64.
AMPLIFYING = ("EfficientNetV2M", "EfficientNetV2L")


@contextlib.contextmanager
def precision_of(name):
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    if name in AMPLIFYING:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    try:
        yield keras.config.floatx()
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


def outputs_of(model, x):
    return array(model(x, training=False))


def assert_close(made, expected, tolerance):
    assert np.all(np.isfinite(expected)) and np.ptp(expected) > 0
    np.testing.assert_allclose(made, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def run(name, folder, dtype="float32", fractions=(0.3, 0.7), reloaded=True):
    """Gates, closes, prunes and compares, for each share that is closed; exports and reloads what is left at last."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    model = build(name)
    randomise(model, generator)
    size = SIZES.get(name, 32)
    x = generator.normal(size=(2, size, size, 3)).astype(dtype)
    gated = tfgates.gate_model(model)
    open_all(gated)
    assert_close(outputs_of(gated, x), outputs_of(model, x), 1e-6)
    for fraction in fractions:
        close(gated, fraction, generator)
        expected = outputs_of(gated, x)
        pruned = tfgates.prune(gated, min_units=1)
        assert_close(outputs_of(pruned, x), expected, 1e-4)
        plan = tfgates.plan_pruning(gated, min_units=1)
        assert pruned.count_params() == plan.params < model.count_params()
        assert macs_of(pruned) == plan.macs < plan.dense_macs
        if not any(np.all(array(gate.test_gates()) == 0.0) for gate in gated.gates):
            # `cost` is about the gates as they stand, without `min_units`.
            cost = tfgates.cost(gated)
            assert (cost.params, cost.macs) == (plan.params, plan.macs)
    if not reloaded:
        return
    pruned.save(folder / "pruned.keras")
    pruned.export(folder / "exported", verbose=False)
    for path in ("pruned.keras", "exported"):
        (made,) = predict_in_fresh_process(folder / path, x, folder, plain=True)
        assert_close(made, expected, 1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_network(name, tmp_path):
    run(name, tmp_path, fractions=(0.5,), reloaded=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name, tmp_path):
    with precision_of(name) as dtype:
        run(name, tmp_path, dtype, reloaded=OF_TENSORFLOW)


def test_no_network_is_missing():
    assert {name for name in dir(keras.applications) if name[0].isupper()} == set(NETWORKS)
