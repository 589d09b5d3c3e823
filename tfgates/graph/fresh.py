"""Layers that are made to be given weights: no random numbers are drawn for them before."""

import math
from collections.abc import Container
from typing import Any

import keras
from keras import ops

from tfgates.keras_internals import layers_within

# Of fewer entries they are drawn all the same.
LARGE = 4096


class Waiting(keras.initializers.Initializer):
    """Zeros in the place of what another initializer would draw.

    Args:
        original: the other initializer.
    """

    def __init__(self, original: Any) -> None:
        self.original = original
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, shape: Any, dtype: Any = None, **others: Any) -> Any:
        if math.prod(shape) < LARGE:
            return self.original(shape, dtype=dtype, **others)
        self.shapes.add(tuple(shape))
        return ops.zeros(shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"original": self.original}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Waiting":
        # As layers do that make others of the same settings.
        return cls(config["original"].clone())


def wait(layer: keras.Layer) -> None:
    """Lets a layer of Keras or tfgates that is not built yet, and such layers in it, draw nothing: see `draw`."""
    for inner in layers_within(layer):
        if type(inner).__module__.partition(".")[0] in ("keras", "tfgates"):
            for name, value in list(vars(inner).items()):
                if is_random(value):
                    vars(inner)[name] = Waiting(value)


def is_random(value: Any) -> bool:
    """Whether something is an initializer of Keras that draws, from a seed of its own."""
    ours = isinstance(value, keras.initializers.Initializer) and type(value).__module__.partition(".")[0] == "keras"
    return ours and value.get_config().get("seed", 0) is None


def draw(layer: keras.Layer, given: Container[int]) -> None:
    """Gives a layer back its initializers, and what they draw to variables whose ids are not in `given`."""
    waiting = []
    for inner in layers_within(layer):
        for name, value in list(vars(inner).items()):
            if isinstance(value, Waiting):
                waiting.append(value)
                vars(inner)[name] = value.original
    for variable in layer.weights if waiting else ():
        made = next((each for each in waiting if tuple(variable.shape) in each.shapes), None)
        if made is not None and id(variable) not in given:
            variable.assign(made.original(variable.shape, dtype=variable.dtype))
