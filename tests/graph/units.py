"""What tests of gated units share."""

import numpy as np
from keras import ops


def randomised(model, seed=0):
    """Random numbers in the weights and statistics of a model; gates stay as they are."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if getattr(variable, "belongs_to_gate", False) or "seed" in variable.name:
            continue
        value = 0.4 * generator.normal(size=variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)


def close_half(model, seed=0, highest=5.0):
    """Closes half of the units of each gate; the others are more or less open."""
    generator = np.random.default_rng(seed)
    for gate in model.gates:
        closed = generator.permutation(gate.units) < gate.units // 2
        value = np.where(closed, -5.0, generator.uniform(0.2, highest, gate.units))
        getattr(gate, gate.variable_name).assign(value)


def same_outputs(first, second, batches=(1, 5), tolerance=1e-5):
    """Asserts that two models compute the same, in each of the ways in which they are called at inference."""
    generator = np.random.default_rng(1)
    for batch in batches:
        x = [generator.normal(size=(batch, *tensor.shape[1:])).astype("float32") for tensor in first.inputs]
        x = x[0] if len(x) == 1 else x
        for call in ({"training": False}, {}):
            expected, found = (flat(model(x, **call)) for model in (first, second))
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_allclose(a, b, atol=tolerance * max(np.abs(a).max(), 1e-6), rtol=0)


def flat(outputs):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(ops.convert_to_numpy(y)) for y in outputs]
