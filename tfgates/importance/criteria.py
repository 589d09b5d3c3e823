"""Criteria of importance on weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfgates.importance.units import Units

Criterion = Callable[[Units], Any]


def l1_norm(units: Units) -> np.ndarray:
    """`sum |w|` over a unit's weights.

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, arXiv 1608.08710, section 3.1.
    """
    return np.mean([np.abs(rows).sum(axis=1) for rows in units.weights], axis=0)


def l2_norm(units: Units) -> np.ndarray:
    """`sqrt(sum w^2)` over a unit's weights."""
    return np.mean([np.sqrt((rows**2).sum(axis=1)) for rows in units.weights], axis=0)


def batch_norm_scale(units: Units) -> np.ndarray:
    """`|gamma|` of the batch normalisation behind the units.

    Reference: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017, arXiv
    1708.06519.
    """
    missing = [
        layer.name
        for layer, normalization in zip(units.layers, units.normalizations, strict=True)
        if getattr(normalization, "gamma", None) is None
    ]
    if missing:
        raise ValueError(
            "`importance='batch_norm'` needs a BatchNormalization with a scale straight behind each layer: leave "
            f"the others out by `layers`, or take another importance. Received, without one: {missing}"
        )
    scales = [np.abs(ops.convert_to_numpy(getattr(behind, "gamma", None))) for behind in units.normalizations]
    return np.mean([units.by_unit(scale).mean(axis=1) for scale in scales], axis=0)


def geometric_median(units: Units) -> np.ndarray:
    """`sum_j |w_i - w_j|`: units near the geometric median of their layer can be made up for by the others.

    Reference: He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
    Acceleration", CVPR 2019, arXiv 1811.00250, equation 4.
    """
    return np.mean([distances(rows).sum(axis=1) for rows in units.weights], axis=0)


def distances(rows: np.ndarray) -> np.ndarray:
    """Euclidean distances between all pairs of rows."""
    squares = (rows**2).sum(axis=1)
    # Rounding must not leave a row at a distance from itself.
    squared = np.maximum(squares[:, None] + squares - 2.0 * rows @ rows.T, 0.0)
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(squared)


# Criteria on weights by name; "taylor" and "random" need more than weights.
ON_WEIGHTS: dict[str, Criterion] = {
    "magnitude": l2_norm,
    "l1": l1_norm,
    "l2": l2_norm,
    "batch_norm": batch_norm_scale,
    "geometric_median": geometric_median,
}
NEEDS_DATA = "taylor"
NAMES = (*ON_WEIGHTS, NEEDS_DATA, "random")


def score_units(criterion: Criterion, units: Units) -> np.ndarray:
    """The scores that a criterion gives to units, a float64 array `(count,)`.

    Raises:
        ValueError: unless it is one finite number for each unit.
    """
    scores = np.asarray(criterion(units), np.float64)
    if scores.shape != (units.count,) or not np.all(np.isfinite(scores)):
        raise ValueError(
            f"`importance` must give one finite number for each of the {units.count} units of {units.name!r}. "
            f"Received: an array of shape {scores.shape} with {int(np.sum(~np.isfinite(scores)))} that are not finite"
        )
    return scores
