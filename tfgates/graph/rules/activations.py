"""Activation functions: which of them treat each number by itself."""

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.normalization import PReLUAnatomy
from tfgates.graph.probe import obstacle, scales_along
from tfgates.graph.values import map_constants
from tfgates.keras_internals import tells_training

# What is tried on it, and the result, for each function that is still there.
_OBSTACLES: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()

# More than one axis of places, none as long as another.
SHAPE = (2, 3, 5, 7)


def call_at_inference(op: Any, x: Any) -> Any:
    """Calls a layer on data outside of any model."""
    return op(x, training=False) if tells_training(op) else op(x)


def is_linear(function: Any) -> bool:
    """Whether there is no activation."""
    return function is None or function is keras.activations.linear


def has_slopes(function: Any) -> bool:
    """Whether an activation is a `keras.layers.PReLU`."""
    return isinstance(anatomy_of(function), PReLUAnatomy)


def weights_of(function: Any) -> list[Any]:
    """The weights of an activation that is a layer."""
    return list(function.weights) if isinstance(function, keras.Layer) else []


def obstacle_of(function: Any, axis: int | None = None) -> str | None:
    """Why an activation does not treat each channel by itself, alike at all places; None if it does.

    Functions, and layers without weights, are tried on numbers (`tfgates.graph.probe`). Of layers
    with weights only `keras.layers.PReLU` is known.

    Args:
        function: what a layer has as `activation`.
        axis: int, the axis of the channels. By default a PReLU can have one weight only.
    """
    if is_linear(function):
        return None
    if isinstance(function, keras.Layer) and not function.built:
        return "is a layer that is not built: call the model on data once"
    if has_slopes(function):
        others = [size for i, size in enumerate(function.alpha.shape, start=1) if i != axis]
        return None if all(size == 1 for size in others) else "has weights along other axes than the channels' too"
    if weights_of(function):
        return "is a layer with weights that tfgates has no rule for"
    return tried(function)


def tried(function: Any) -> str | None:
    """`obstacle` of a function or a layer without weights, found once."""
    call = as_function(function)
    try:
        if function not in _OBSTACLES:
            _OBSTACLES[function] = obstacle(call, SHAPE) or obstacle(call, (6, 11))
        return _OBSTACLES[function]
    except TypeError:
        # Neither hashed nor referred to weakly: tried each time.
        return obstacle(call, SHAPE) or obstacle(call, (6, 11))


def as_function(function: Any) -> Callable[..., Any]:
    if isinstance(function, keras.Layer):
        return lambda x: call_at_inference(function, x)
    return function


def is_elementwise(function: Any, axis: int | None = None) -> bool:
    """Whether an activation treats each channel along `axis` by itself, alike at all places."""
    return obstacle_of(function, axis) is None


def is_homogeneous(function: Any) -> bool:
    """Whether f(z * x) = z * f(x) for z >= 0: a gate's factor can be moved through it."""
    if is_linear(function) or has_slopes(function):
        return True
    return not weights_of(function) and tried(function) is None and scales_along(as_function(function))


def through(function: Any, value: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The constants after an activation; nan where the function is not elementwise."""
    if is_linear(function):
        return value
    if not is_elementwise(function, axis):
        return np.full(value.shape, np.nan)
    if weights_of(function):
        alpha = np.asarray(keras.ops.convert_to_numpy(function.alpha), np.float64).reshape(-1)
        return np.where(value < 0.0, alpha * np.minimum(value, 0.0), value)
    return map_constants(as_function(function), value)


def zero_stays(function: Any) -> bool:
    """Whether f(0) = 0, for any channel."""
    if has_slopes(function):
        return function.built
    return is_elementwise(function) and float(through(function, np.zeros(1))[0]) == 0.0
