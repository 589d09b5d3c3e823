"""Which parts of a layer are frozen: its config says no more than whether all of it is."""

from typing import Any

import keras

from tfgates.keras_internals import layers_within, own_trainable_variables


def copy_flags(new: keras.Layer, old: keras.Layer) -> None:
    """Gives a layer the `trainable` flags of another one with the same parts, down to single variables."""
    set_flags(new, all_flags(old))


def copy_flag(to: Any, source: Any) -> None:
    """Gives a variable the flag of another one, if that is one."""
    if isinstance(source, keras.Variable) and to.trainable != source.trainable:
        to.trainable = source.trainable


def all_flags(layer: keras.Layer) -> dict[str, list[bool]]:
    """The flags of a layer, of all that it holds, and of their variables."""
    return {
        "layers": [each.trainable for each in layers_within(layer)],
        "variables": [variable.trainable for variable in layer.variables],
    }


def flags_of(layer: keras.Layer) -> dict[str, list[bool]] | None:
    """The flags of a layer to be written down; None where its config says it all."""
    whole, *inner = layers_within(layer)
    single = [v for each in (whole, *inner) for v in own_trainable_variables(each) if v.trainable != each.trainable]
    return all_flags(layer) if single or not all(each.trainable for each in inner) else None


def set_flags(layer: keras.Layer, flags: dict[str, list[bool]]) -> None:
    """Sets the flags that `all_flags` gave.

    Raises:
        ValueError: if the layer has other parts.
    """
    parts = list(zip(layers_within(layer), flags["layers"], strict=True))
    # To set the flag of a layer sets those of all that it holds, so from the outside in; again, since a part
    # of two layers comes with the first of them.
    for _ in parts:
        for part, flag in parts:
            if part.trainable != flag:
                part.trainable = flag
    for variable, flag in zip(layer.variables, flags["variables"], strict=True):
        if variable.trainable != flag:
            variable.trainable = flag
