"""Faults of the installed Keras that make a layer compute something else than it says."""

import functools
from typing import Any

import keras
import numpy as np

from tfgates.keras_internals import calls_of, layers_within

MISPLACED = (
    "this Keras adds the bias of a channels-first layer along the last axis where that is as long as it has channels"
)


@functools.cache
def biases_go_astray() -> bool:
    """Whether adding `(1, channels, 1, 1)` to maps as wide as there are channels adds along the width.

    Found in Keras 3.15 with TensorFlow: a sum with such a tensor is taken for one of a bias over the last axis.
    """
    bias: np.ndarray = np.arange(3, dtype="float32").reshape(1, 3, 1, 1)
    found = keras.ops.convert_to_numpy(keras.ops.add(np.zeros((1, 3, 3, 3), "float32"), bias))
    return not np.array_equal(found, np.broadcast_to(bias, found.shape))


def misplaced_bias(layer: Any, shape: tuple[Any, ...]) -> str | None:
    """Why a layer with outputs of this shape adds its bias to the wrong places, or None where it does not.

    Args:
        layer: a layer.
        shape: of its outputs, the batch first.
    """
    first = getattr(layer, "data_format", None) == "channels_first" and len(shape) > 2
    if not first or getattr(layer, "bias", None) is None or shape[-1] != shape[1]:
        return None
    return MISPLACED if biases_go_astray() else None


def astray(model: keras.Model) -> list[str]:
    """The names of the layers of a functional model whose biases go to the wrong places."""
    found = []
    for layer in layers_within(model, include_self=False):
        shape = getattr(layer.output, "shape", ()) if calls_of(layer) else ()
        if misplaced_bias(layer, tuple(shape)) is not None:
            found.append(layer.name)
    return found
