"""Arrays of numbers among the arguments of an operator."""

from typing import Any

import keras
import numpy as np


def is_array(x: Any) -> bool:
    """Whether an argument is an array of numbers, of numpy or the backend."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, (keras.KerasTensor, keras.Variable))


def along_channels(array: Any, axis: int, size: int, rank: int) -> np.ndarray:
    """The constant that an array is for each channel of the tensor that it is broadcast to; nan if it is none."""
    array = np.asarray(keras.ops.convert_to_numpy(array), np.float64)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    others = tuple(i for i in range(rank) if i != axis)
    lowest, highest = array.min(axis=others), array.max(axis=others)
    return np.broadcast_to(np.where(lowest == highest, lowest, np.nan), (size,))


def narrowed(array: Any, keep: np.ndarray, axis: int, rank: int) -> Any:
    """An array without the channels that go."""
    place = axis - (rank - len(array.shape))
    if place < 0 or array.shape[place] == 1 or keep.all():
        return array
    return np.compress(keep, np.asarray(keras.ops.convert_to_numpy(array)), axis=place)
