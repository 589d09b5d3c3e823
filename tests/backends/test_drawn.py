"""On JAX tests draw initial weights by NumPy: of the same distributions, from Keras's seeds."""

import keras
import numpy as np
import pytest

from tests import drawn
from tests.calculus import array

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="weights are drawn by NumPy on JAX alone")
LIMITS = [
    ("uniform", {"minval": -2.0, "maxval": 1.0}, -0.5, 3.0 / np.sqrt(12.0)),
    ("normal", {}, 0.0, 1.0),
    ("truncated_normal", {"lower": -2.0, "upper": 2.0}, 0.0, 0.8796),
]


@pytest.mark.parametrize(("name", "limits", "mean", "deviation"), LIMITS)
def test_distributions(name, limits, mean, deviation):
    values = drawn.DRAWS[name](np.random.default_rng(0), (40_000,), **limits)
    assert abs(values.mean() - mean) < 0.02 and abs(values.std() - deviation) < 0.01
    if limits:
        low, high = limits.values()
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high


@on_jax
@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "random_normal"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_seed_decides(name, dtype):
    import jax

    before = jax.random.uniform
    once, again, other = (array(keras.initializers.get(name).__class__(seed=seed)((3, 4), dtype)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert np.any(once != other)
    assert jax.random.uniform is before


@on_jax
def test_what_is_compiled_draws_as_before():
    import jax

    def drawn_in(key):
        return drawn.draw("uniform", jax.random.uniform, key, shape=(3, 4), dtype="float32")

    key = np.array([1, 2], "uint32")
    np.testing.assert_array_equal(array(jax.jit(drawn_in)(key)), array(jax.random.uniform(key, (3, 4))))
    assert np.any(array(drawn_in(key)) != array(jax.random.uniform(key, (3, 4))))
