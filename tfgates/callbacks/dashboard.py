"""The pictures that `SparsityMonitor` writes, and what its settings may be."""

import io
from typing import Any

import numpy as np

from tfgates.costs import ExpectedCost
from tfgates.pruning.picture import draw_plan
from tfgates.pruning.standing import Standing

# Bounds of a heat map, in rows and columns.
ROWS, COLUMNS = 256, 512


def gate_image(gates: Any, side: int = 8) -> np.ndarray:
    """Gate values as a grey picture in [0, 1], one square of `side` pixels per unit.

    A vector is wrapped into rows of about equal number and length; what is left of the last row is
    grey (0.5). Gated weights keep the rows and columns of their kernel, flattened to a matrix.
    """
    values = np.asarray(gates, "float32")
    if values.ndim > 1:
        return values.reshape(-1, values.shape[-1])
    columns = int(np.ceil(np.sqrt(values.size)))
    rows = -(-values.size // columns)
    picture = np.full(rows * columns, 0.5, "float32")
    picture[: values.size] = np.clip(values, 0.0, 1.0)
    return np.kron(picture.reshape(rows, columns), np.ones((side, side), "float32"))


class HeatMap:
    """Vectors in [0, 1] over time as a picture of bounded size: a row per time, the latest below.

    Args:
        rows: int. When there are more, every other row goes and from then on every other vector is left
            out, so that the whole time stays visible. Defaults to 256.
        columns: int. Longer vectors are shortened to so many means of neighbours. Defaults to 512.
    """

    def __init__(self, rows: int = ROWS, columns: int = COLUMNS) -> None:
        self._limit, self._columns = rows, columns
        self._rows: list[np.ndarray] = []
        self._every, self._seen = 1, 0

    def add(self, values: np.ndarray) -> None:
        """Adds a vector, always of the same length."""
        if self._seen % self._every == 0:
            if len(self._rows) == self._limit:
                self._rows = self._rows[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._rows.append(self._shortened(np.asarray(values, "float32")))
        self._seen += 1

    def _shortened(self, values: np.ndarray) -> np.ndarray:
        if values.size <= self._columns:
            return values
        return np.array([part.mean() for part in np.array_split(values, self._columns)], "float32")

    def image(self, least: int = 256) -> np.ndarray:
        """The picture, `(height, width)`; few rows or columns are drawn wider, to about `least` pixels."""
        picture = np.clip(np.stack(self._rows), 0.0, 1.0)
        return np.kron(picture, np.ones([max(1, least // size) for size in picture.shape], "float32"))


def plan_image(cost: ExpectedCost) -> np.ndarray:
    """What is kept and removed in each layer as the gates stand, `(height, width, 3)` of integers; needs matplotlib.

    Args:
        cost: the `tfgates.costs.ExpectedCost` of the model.
    """
    from matplotlib.image import imread

    return np.round(255 * imread(io.BytesIO(draw_plan(Standing(cost))))[..., :3]).astype("uint8")


def check_hparams(hparams: Any) -> None:
    """Raises a `ValueError` unless `hparams` is None or a dict that TensorBoard can show."""
    if hparams is None:
        return
    if not isinstance(hparams, dict) or any(
        not isinstance(name, str) or not isinstance(value, (bool, int, float, str)) for name, value in hparams.items()
    ):
        raise ValueError(
            "`hparams` must be a dict from strings to bools, ints, floats and strings, or None. "
            f"Received: hparams={hparams!r}"
        )
