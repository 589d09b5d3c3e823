"""The estimators of one unit, integrated over their noise, against the derivative itself."""

import keras
import numpy as np
import pytest
from keras import ops

from tfgates.gates.estimators import (
    ESTIMATORS,
    augment_reinforce,
    augment_reinforce_merge,
    disarm,
)

PROBABILITIES = [0.02, 0.3, 0.5, 0.85, 0.99]
CLOSED, OPEN = 0.7, -1.1
EXACT = OPEN - CLOSED
# Midpoints: each of the four functions is piecewise linear in u, so that the sum is off by the
# cells in which it jumps alone, at most 2 of them.
NOISE = (np.arange(200_000) + 0.5) / 200_000


def loss(state):
    return np.where(state == 1.0, OPEN, CLOSED)


def estimates(estimator, p):
    """The estimates for a fine grid of u; for two independent draws, for a grid of pairs."""
    sources, *_ = (sources for function, sources in ESTIMATORS.values() if function is estimator)
    u, other = NOISE, 1.0 - NOISE
    if "independent" in sources:
        u, other = (grid.ravel() for grid in np.meshgrid(NOISE[::400], NOISE[::400]))
    states = [(u < p).astype(float), (other < p).astype(float)]
    if "flipped" in sources:
        # Of one unit that one is flipped each time; behind all other states.
        states = [*states[: len(sources)], 1.0 - states[0]]
    losses = tuple(loss(state) for state in states)
    return estimate(estimator, losses, states, u, np.full_like(u, p))


def estimate(estimator, losses, states, noise, *arguments):
    """What it makes of arrays, which are tensors in training."""
    given = (losses, list(states), noise, *arguments[:1])
    given = keras.tree.map_structure(lambda each: ops.convert_to_tensor(each, "float32"), given)
    return ops.convert_to_numpy(estimator(*given, *arguments[1:]))


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_unbiased(name, p):
    found = np.mean(estimates(ESTIMATORS[name][0], p).astype("float64"))
    tolerance = 1e-2 if "independent" in ESTIMATORS[name][1] else 1e-4
    assert found == pytest.approx(p * (1.0 - p) * EXACT, abs=tolerance * abs(EXACT), rel=0)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_variances_order(p):
    variances = [np.var(estimates(f, p)) for f in (disarm, augment_reinforce_merge, augment_reinforce)]
    assert variances[0] <= variances[1] < variances[2]


@pytest.mark.parametrize("p", PROBABILITIES)
def test_disarm_is_arm_with_the_noise_integrated_out(p):
    states = ((p > NOISE).astype(float), (p > 1.0 - NOISE).astype(float))
    arm, rao_blackwell = estimates(augment_reinforce_merge, p), estimates(disarm, p)
    for pair in ((0.0, 1.0), (1.0, 0.0)):
        chosen = (states[0] == pair[0]) & (states[1] == pair[1])
        assert chosen.any()
        np.testing.assert_allclose(arm[chosen].mean(), rao_blackwell[chosen].mean(), rtol=2e-3)


def test_ugc_flips_where_a_difference_of_antithetic_states_is_seldom():
    losses, states = (0.0, 1.0, 3.0), [np.zeros(3), np.ones(3), np.ones(3)]
    p = np.array([0.04, 0.06, 0.97])
    arguments = (losses, states, np.zeros(3), p, 10)
    found = estimate(ESTIMATORS["ugc"][0], *arguments)
    flips, antithetic = (estimate(ESTIMATORS[name][0], *arguments) for name in ("bitflip", "disarm"))
    np.testing.assert_array_equal(found, [flips[0], antithetic[1], flips[2]])
    np.testing.assert_allclose(flips, 10 * p * (1 - p) * 3.0, rtol=1e-6)


def test_equal_losses_give_exactly_no_gradient():
    states = (np.ones(4), np.zeros(4))
    for name in sorted(set(ESTIMATORS) - {"ar"}):
        found = estimate(ESTIMATORS[name][0], (3.0, 3.0), states, np.full(4, 0.3), np.full(4, 0.6))
        np.testing.assert_array_equal(found, 0.0)
