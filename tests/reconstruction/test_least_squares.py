"""The closed form against numpy's least squares with the ridge as further rows."""

import numpy as np
import pytest

from tfgates.reconstruction import least_squares
from tfgates.reconstruction.least_squares import Solution, TooLargeError


def by_rows(x, y, ridge, has_intercept):
    """The same minimum: rows for the ridge, a column of ones for the intercept."""
    centred = x - x.mean(0) if has_intercept else x
    scale = np.sqrt(ridge * np.sum(centred**2) / x.shape[1])
    ones = np.ones((len(x), 1)) if has_intercept else np.zeros((len(x), 0))
    rows = np.block([[x, ones], [scale * np.eye(x.shape[1]), np.zeros((x.shape[1], ones.shape[1]))]])
    found = np.linalg.lstsq(rows, np.concatenate([y, np.zeros((x.shape[1], y.shape[1]))]), rcond=None)[0]
    return found[: x.shape[1]], found[x.shape[1]] if has_intercept else np.zeros(y.shape[1])


@pytest.mark.parametrize("has_intercept", [True, False])
@pytest.mark.parametrize("entries", [5, 60])
@pytest.mark.parametrize("ridge", [1e-4, 0.1])
def test_the_minimum(entries, ridge, has_intercept):
    rng = np.random.default_rng(entries)
    x = (rng.normal(size=(40, entries)) + 2.0).astype("float32")
    y = (x[:, :3] @ rng.normal(size=(3, 4)) + 1.5 + 0.1 * rng.normal(size=(40, 4))).astype("float32")
    parts = [(x[:15], y[:15]), (x[15:], y[15:])]
    solution = Solution(lambda: iter(parts), ridge, has_intercept)
    change, intercept = by_rows(x.astype("float64"), y.astype("float64"), ridge, has_intercept)
    np.testing.assert_allclose(x @ solution.change + solution.intercept, x @ change + intercept, atol=2e-3)
    np.testing.assert_allclose(solution.intercept, intercept, atol=5e-3)
    assert solution.before == pytest.approx(np.sum(y.astype("float64") ** 2))
    assert solution.after == pytest.approx(np.sum((y - x @ change - intercept) ** 2), rel=1e-2, abs=1e-3)
    assert solution.after < solution.before


def test_inputs_that_are_all_zero_change_nothing_but_the_intercept():
    x, y = np.zeros((6, 2), "float32"), np.full((6, 1), 3.0, "float32")
    solution = Solution(lambda: iter([(x, y)]), 0.01, True)
    np.testing.assert_array_equal(solution.change, 0.0)
    np.testing.assert_allclose(solution.intercept, 3.0)


def test_what_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(least_squares, "LARGEST", 4)
    x, y = np.ones((6, 5), "float32"), np.ones((6, 1), "float32")
    with pytest.raises(TooLargeError, match="5 entries, more than 4"):
        Solution(lambda: iter([(x, y)]), 0.01, True)
