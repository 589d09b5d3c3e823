"""The links and their derivatives against numpy."""

import numpy as np
import pytest
from keras import ops

from tests.calculus import gradients
from tests.training.enumeration import cubic, sigmoid
from tfgates.gates import links

CASES = [
    (links.ScaledSigmoid(7.0), lambda x: sigmoid(7.0 * x)),
    (links.ScaledSigmoid(2.0), lambda x: sigmoid(2.0 * x)),
    (links.HardSigmoid(7.0), lambda x: np.clip(x + 0.5, 0.0, 1.0)),
    (links.HardSigmoid(3.5), lambda x: np.clip(0.5 * x + 0.5, 0.0, 1.0)),
    (links.CallableLink(cubic), lambda x: np.clip(0.5 + x + x**3, 0.0, 1.0)),
]
INSIDE = np.linspace(-0.3, 0.3, 7)


def slope_of_log_odds(link, logits):
    (slope,) = gradients(lambda x: ops.sum(link.log_odds(x)), [ops.convert_to_tensor(logits, "float32")])
    return slope


@pytest.mark.parametrize(("link", "expected"), CASES)
def test_probability_and_log_odds(link, expected):
    logits = np.linspace(-1.5, 1.5, 31)
    probability = ops.convert_to_numpy(link.probability(ops.convert_to_tensor(logits, "float32")))
    np.testing.assert_allclose(probability, expected(logits), atol=1e-6)
    p = expected(INSIDE)
    log_odds = ops.convert_to_numpy(link.log_odds(ops.convert_to_tensor(INSIDE, "float32")))
    np.testing.assert_allclose(log_odds, np.log(p / (1.0 - p)), atol=1e-5)


@pytest.mark.parametrize(("link", "expected"), CASES)
def test_derivative_of_log_odds(link, expected):
    p = expected(INSIDE)
    derivative = (expected(INSIDE + 1e-5) - expected(INSIDE - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope_of_log_odds(link, INSIDE), derivative / (p * (1.0 - p)), rtol=1e-4)


@pytest.mark.parametrize(("link", "expected"), CASES)
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_inverse(link, expected, probability):
    assert expected(np.array(link.inverse(probability))) == pytest.approx(probability, abs=1e-6)


def test_at_and_beyond_its_bounds_a_link_has_no_gradient():
    for link in (links.HardSigmoid(7.0), links.CallableLink(cubic)):
        np.testing.assert_array_equal(slope_of_log_odds(link, [-40.0, -0.9, 0.9, 40.0]), 0.0)


def test_far_out_a_sigmoid_keeps_its_slope():
    np.testing.assert_array_equal(slope_of_log_odds(links.ScaledSigmoid(7.0), [-40.0, 40.0]), 7.0)


def test_names_and_errors():
    assert isinstance(links.get("sigmoid", 3.0), links.ScaledSigmoid)
    assert links.get("hard_sigmoid", 3.0).slope == 3.0
    assert links.get(cubic).function is cubic
    with pytest.raises(ValueError, match=r"`link` must be one of .*Received: link='tanh'"):
        links.get("tanh")
    with pytest.raises(ValueError, match=r"`link` must be a non-decreasing function .*Received: link="):
        links.get(lambda logits: -logits).inverse(0.5)
    with pytest.raises(ValueError, match=r"that reaches `initial_open_probability`, 0.9"):
        links.get(lambda logits: 0.5 * ops.sigmoid(logits)).inverse(0.9)
