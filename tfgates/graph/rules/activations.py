"""Activation functions: which of them treat each number by itself."""

import keras
import numpy as np

from tfgates.graph.rule import map_constants

# Names of keras.activations that act on each number alone; softmax, glu and their like do not.
ELEMENTWISE = {
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid",
    "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus",
    "swish", "tanh", "tanh_shrink", "threshold",
}  # fmt: skip

# f(z * x) = z * f(x) for z >= 0: a gate's factor can be moved through these.
HOMOGENEOUS = {"linear", "relu", "leaky_relu"}


def name_of(function):
    """Name of a Keras activation, or None for a function that is not Keras's own."""
    if function is None:
        return "linear"
    name = getattr(function, "__name__", None)
    return name if name and getattr(keras.activations, name, None) is function else None


def is_elementwise(function):
    """Whether `function` is known to treat each number by itself."""
    if isinstance(function, keras.Layer):
        return isinstance(function, (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)) or (
            isinstance(function, keras.layers.Activation) and is_elementwise(function.activation)
        )
    return name_of(function) in ELEMENTWISE


def through(function, value):
    """The constants after an activation; nan where the function is not elementwise."""
    if name_of(function) == "linear":
        return value
    if not is_elementwise(function):
        return np.full(value.shape, np.nan)
    return map_constants(function, value)
