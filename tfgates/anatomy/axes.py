"""What the axes of a variable carry, and which of their positions belong to which unit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# What one axis carries: nothing that can be cut; the units of one kind, each as many positions in a row;
# or several such stretches, one behind the other.
Axis = str | tuple[str, ...] | None

# The units that stay, for each kind a boolean per unit.
Keep = Mapping[str, np.ndarray]


def stretches(axis: Axis) -> tuple[str, ...]:
    """The kinds of units that lie along an axis, one behind the other."""
    if axis is None:
        return ()
    return (axis,) if isinstance(axis, str) else axis


def spelled_out(axes: tuple[Any, ...], rank: int) -> tuple[Axis, ...]:
    """`axes` with the `...` in it, if there is one, as so many axes that carry nothing."""
    if Ellipsis not in axes:
        return axes
    at = axes.index(Ellipsis)
    return (*axes[:at], *(None,) * (rank - len(axes) + 1), *axes[at + 1 :])


def positions(axis: Axis, size: int, keep: Keep) -> np.ndarray | None:
    """Which of the `size` positions along an axis belong to units that stay; None if all kinds on it are whole."""
    kinds = stretches(axis)
    if not any(kind in keep for kind in kinds):
        return None
    length = size // len(kinds)
    parts: list[np.ndarray] = [stays_on(kind, length, keep) for kind in kinds]
    return np.flatnonzero(np.concatenate(parts))


def stays_on(kind: str, length: int, keep: Keep) -> np.ndarray:
    """Which positions of one stretch stay."""
    return np.repeat(keep[kind], length // len(keep[kind])) if kind in keep else np.ones(length, bool)


def take(value: np.ndarray, kept: Mapping[int, np.ndarray]) -> np.ndarray:
    """The positions `kept` along each axis of a variable, or of whatever is shaped like it."""
    for axis, indices in kept.items():
        value = np.take(value, indices, axis=axis)
    return value
