"""Every kind of gate under every way Keras runs a training step: precision, XLA, loops, averages."""

import itertools

import keras
import numpy as np
import pytest

import tfgates
from tests.matrices import MATRICES
from tfgates.selection import held

SETTINGS = {
    "mixed_float16": {},
    "mixed_bfloat16": {},
    "jit_compile": {"jit_compile": True},
    "steps_per_execution": {"steps_per_execution": 3},
    "accumulation": {},
    "averages": {},
}
GATES = ("hard_concrete", "disarm", "scaling", "generator")
# Scaling factors have no probabilities that a budget could move; SparseScaling makes them sparse.
CELLS = [
    (setting, gate, budget)
    for setting, gate, budget in itertools.product(SETTINGS, GATES, (False, True))
    if not (budget and gate == "scaling")
]
QUICK = [
    ("mixed_float16", "scaling", False),
    ("mixed_bfloat16", "generator", True),
    ("jit_compile", "disarm", True),
    ("accumulation", "hard_concrete", True),
]

X = np.random.default_rng(0).normal(size=(48, 6, 6, 2)).astype("float32")
Y = (X.sum(axis=(1, 2, 3)) > 0).astype("int32")


def network():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(6, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(8, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", dtype="float32")(x))


def optimizer_of(setting):
    if setting == "accumulation":
        return keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    if setting == "averages":
        return keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
    return keras.optimizers.Adam(0.01)


def gated(setting, gate, budget):
    budget = tfgates.Budget(macs=0.6) if budget else None
    generator = "forward" if gate == "generator" else None
    kind = "hard_concrete" if generator else gate
    model = tfgates.gate_model(network(), gate=kind, generator=generator, budget=budget, seed=1)
    model.compile(optimizer_of(setting), "sparse_categorical_crossentropy", metrics=["accuracy"], **SETTINGS[setting])
    return model


def gate_variables(model, gate):
    if gate == "generator":
        (generator,) = [layer for layer in model.layers if isinstance(layer, tfgates.layers.GateGenerator)]
        return generator.trainable_variables
    return [variable for one in model.gates for variable in one.trainable_variables]


def run(setting, gate, budget):
    if setting.startswith("mixed"):
        keras.config.set_dtype_policy(setting)
    model = gated(setting, gate, budget)
    variables = gate_variables(model, gate)
    assert variables
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    callbacks = [tfgates.callbacks.SparseScaling(0.05)] if gate == "scaling" else []
    history = model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks).history
    for name, values in history.items():
        assert np.all(np.isfinite(values)), name
    assert all(v.dtype == "float32" for v in variables)
    for one in model.gates:
        assert keras.backend.standardize_dtype(one.open_probability().dtype) == "float32"
        assert keras.backend.standardize_dtype(one.test_gates().dtype) == "float32"
    for old, variable in zip(before, variables, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        assert np.all(np.isfinite(new))
        assert np.any(new != old), variable.path
    if budget:
        assert model.multipliers.dtype == "float32"
        assert np.all(keras.ops.convert_to_numpy(model.multipliers) >= 0.0)
        assert int(keras.ops.convert_to_numpy(model._structure_step)) == 12
    check_pruning(setting, model, gate)


def check_pruning(setting, model, gate):
    """Closes half of each gate and removes it: the same outputs, to the precision of the policy."""
    if gate != "generator":
        for one in model.gates:
            variable = one.trainable_variables[0]
            values = keras.ops.convert_to_numpy(variable).copy()
            values[: one.units // 2] = 0.0 if gate == "scaling" else -10.0
            values[-1] = 1.0
            variable.assign(values)
    plan = tfgates.plan_pruning(model)
    small = tfgates.prune(model, plan=plan)
    # With a budget more may be closed than the gates themselves close, to keep it.
    with held(plan.selection.values):
        expected = keras.ops.convert_to_numpy(keras.ops.cast(model(X[:8], training=False), "float32"))
    found = keras.ops.convert_to_numpy(keras.ops.cast(small(X[:8], training=False), "float32"))
    tolerance = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2}.get(setting, 1e-5)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    if model.budget is not None:
        assert tfgates.cost(small).dense_macs <= 0.6 * tfgates.cost(model).dense_macs
    if gate != "generator":
        assert small.count_params() < 0.75 * model.count_params()


@pytest.mark.parametrize(
    ("setting", "gate", "budget"),
    [pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.slow) for cell in CELLS],
)
def test_cell(setting, gate, budget):
    run(setting, gate, budget)


def test_the_matrix_is_whole():
    assert len(CELLS) == MATRICES["precision"].cells
    assert set(QUICK) < set(CELLS)
