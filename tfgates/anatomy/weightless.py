"""Layers without weights that others have to tell apart: dropout, noise, functions of users."""

from typing import Any

import keras

layers = keras.layers

# The attribute that says how much noise a layer makes; of recurrent layers, those of their cells.
NOISE = {
    layers.Dropout: "rate",
    layers.AlphaDropout: "rate",
    layers.GaussianDropout: "rate",
    layers.GaussianNoise: "stddev",
}
NOISE_OF_CELLS = ("dropout", "recurrent_dropout")

MERGES = (layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)


def is_dropout(layer: Any) -> bool:
    """Whether a layer sets random entries to 0 in training, and does nothing at inference."""
    return isinstance(layer, layers.Dropout)


def noise_attributes(layer: Any) -> tuple[str, ...]:
    """The attributes of a layer of Keras that say how much noise it makes: at 0 it makes none."""
    if type(layer).__module__.partition(".")[0] != "keras":
        return ()
    for kind, name in NOISE.items():
        if isinstance(layer, kind):
            return (name,)
    # What has a cell has these as properties.
    return tuple(name for name in NOISE_OF_CELLS if name in vars(layer))


def holds_function(layer: Any) -> bool:
    """Whether what a layer computes is a function of its user."""
    return is_of_functions(type(layer))


def is_of_functions(kind: Any) -> bool:
    """Whether what the layers of a class compute is a function of their user."""
    return kind is layers.Lambda


def joins_masks(layer: Any) -> bool:
    """Whether a layer hands on where any of the masks of what it reads says that a step counts."""
    return isinstance(layer, MERGES)


def is_input(layer: Any) -> bool:
    """Whether a layer only stands for what a model is called on."""
    return isinstance(layer, layers.InputLayer)
