"""The change of weights that explains best what a layer lacks, from batches, in closed form."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Of a layer with more entries in a filter than there are positions the other form is solved.
LARGEST = 8192


class TooLargeError(ValueError):
    """A layer with more entries in a filter than a system of equations is solved for."""


class Solution:
    """The `change` and the `intercept` that minimise

        sum over positions (residual - patch change - intercept)^2 + ridge * s * |change|^2,

    s the mean over the entries of the sums over positions of their squares.

    Args:
        batches: function that yields pairs of patches `(positions, entries)` and residuals `(positions, units)`, the
            same each time it is called.
        ridge: float > 0.
        has_intercept: bool; without it `intercept` is 0.

    Attributes:
        before, after: sums of the squares of the residuals, without and with the change.

    Raises:
        TooLargeError: if there are more than `LARGEST` entries and positions.
    """

    def __init__(
        self, batches: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]], ridge: float, has_intercept: bool
    ) -> None:
        positions, entries, units = 0, 0, 0
        for patches, residuals in batches():
            positions += len(patches)
            entries, units = patches.shape[1], residuals.shape[1]
        if min(entries, positions) > LARGEST:
            raise TooLargeError(f"a filter of it has {entries:,} entries, more than {LARGEST:,}")
        self._ridge = ridge
        x, y = np.zeros(entries), np.zeros(units)
        if has_intercept:
            for patches, residuals in batches():
                x += patches.sum(0, dtype=np.float64)
                y += residuals.sum(0, dtype=np.float64)
            x, y = x / positions, y / positions
        self.change = (self._by_positions if entries > positions else self._by_entries)(batches, x, y)
        self.intercept = y - x @ self.change
        self.before = self.after = 0.0
        for patches, residuals in batches():
            self.before += float(np.sum(residuals.astype(np.float64) ** 2))
            self.after += float(np.sum((residuals - patches @ self.change - self.intercept) ** 2))

    def _by_entries(self, batches: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The normal equations."""
        matrix: Any = 0.0
        right: Any = 0.0
        for patches, residuals in batches():
            # Centred first: the products of numbers far from 0 would lose what differs.
            patches = patches - x.astype(np.float32)
            matrix = matrix + (patches.T @ patches).astype(np.float64)
            right = right + (patches.T @ (residuals - y.astype(np.float32))).astype(np.float64)
        scale = np.trace(matrix) / len(matrix)
        return np.linalg.solve(matrix + self._ridge * (scale or 1.0) * np.eye(len(matrix)), right)

    def _by_positions(self, batches: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The same with a multiplier for each position in place of a weight for each entry."""
        pairs = list(batches())
        patches = np.concatenate([p for p, _ in pairs]).astype(np.float64) - x
        residuals = np.concatenate([r for _, r in pairs]).astype(np.float64) - y
        matrix = patches @ patches.T
        scale = np.trace(matrix) / patches.shape[1]
        multipliers = np.linalg.solve(matrix + self._ridge * (scale or 1.0) * np.eye(len(matrix)), residuals)
        return patches.T @ multipliers
