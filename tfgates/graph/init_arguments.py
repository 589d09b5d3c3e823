"""The arguments that classes of layers take, and what they were for a layer that does not write them down."""

import inspect
from typing import Any

import keras
from keras import tree


def arguments_taken(kind: Any) -> set[str]:
    """The names of the arguments that a class of layers, and those to which it hands others on, take."""
    taken: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters
            taken |= set(parameters)
            if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
                break
    return taken


# What any layer takes.
OF_ALL = arguments_taken(keras.Layer)


def config_of_attributes(layer: keras.Layer) -> dict[str, Any] | None:
    """The arguments of a layer whose class does not write them down, where it keeps each under its name; else None.

    Keras itself writes down what was given as numbers and strings, but no objects: a policy as `dtype`, say.
    """
    taken = arguments_taken(type(layer))
    config = {"name": layer.name, "trainable": layer.trainable, "dtype": layer.dtype_policy.name}
    config = {name: value for name, value in config.items() if name in taken}
    if layer.activity_regularizer is not None:
        return None
    for name in taken - OF_ALL:
        if name not in vars(layer):
            return None
        config[name] = value = vars(layer)[name]
        if any(isinstance(x, (keras.Layer, keras.Variable)) for x in tree.flatten(value)):
            # Two layers would hold it.
            return None
    return config
