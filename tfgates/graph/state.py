"""Copying what a layer holds: its variables, and what preprocessing layers keep beside them."""

import collections.abc
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.keras_internals import calls_of, layers_within


def complete(layer: keras.Layer) -> None:
    """Builds the layer that a called layer has as its activation: Keras does not before data goes through it."""
    activation = getattr(layer, "activation", None)
    if not isinstance(activation, keras.Layer) or activation.built or not calls_of(layer):
        return
    shape = calls_of(layer)[0].output_tensors[0].shape
    try:
        activation.build(shape)
    except Exception:
        # Weights along an axis of a size that is not known; Keras itself builds it for the first data.
        return


def activation_variables(layer: keras.Layer) -> list[Any]:
    """The variables of the layer that a layer has as its activation."""
    activation = getattr(layer, "activation", None)
    return list(activation.variables) if isinstance(activation, keras.Layer) else []


def set_value(variable: keras.Variable, value: Any) -> None:
    """Assigns a value in memory of its own: backends that donate buffers free those of whoever else has them."""
    variable.assign(np.array(ops.convert_to_numpy(value)))


def copy_state(new: keras.Layer, old: keras.Layer) -> None:
    """Gives `new`, a built layer of the same config, the state of `old`, nested layers included.

    Raises:
        ValueError: if the layers do not match, or if the vocabulary of a layer cannot be copied.
    """
    pairs = list(zip(new.variables, old.variables, strict=True))
    for to, source in pairs:
        set_value(to, source)
    for to, source in zip(layers_within(new), layers_within(old), strict=True):
        for variable, value in zip(states_of(to), states_of(source), strict=True):
            set_value(variable, value)
        if keeps_more_than_variables(source):
            copy_saved(to, source)


def states_of(layer: keras.Layer) -> list[Any]:
    """What a stateful recurrent layer keeps from call to call, which Keras counts for none of its variables."""
    return tree.flatten(getattr(layer, "states", None) or []) if getattr(layer, "stateful", False) else []


def keeps_more_than_variables(layer: keras.Layer) -> bool:
    """Whether a layer computes with something made from its variables, or with none of them.

    Such are the constants of an adapted Normalization and the table of a lookup, and what a class
    that is not Keras's own saves in a way of its own.
    """
    kind = type(layer)
    own = any(
        method.__module__.split(".")[0] != "keras" for method in (kind.save_own_variables, kind.load_own_variables)
    )
    return own or hasattr(layer, "finalize_state") or hasattr(layer, "save_assets")


class Store(collections.abc.MutableMapping[Any, Any]):
    """What `save_own_variables` writes to and `load_own_variables` reads, as they find it in a file of Keras.

    Numbers, lists of them, tensors and variables become arrays; what Keras writes into no file is refused.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        array = np.array(ops.convert_to_numpy(value))
        # Raises for strings and objects.
        keras.backend.standardize_dtype(array.dtype)
        self._arrays[key] = array

    def __getitem__(self, key: str) -> np.ndarray:
        return np.array(self._arrays[key])

    def __delitem__(self, key: str) -> None:
        del self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        # Files go by the alphabet.
        return iter(sorted(self._arrays))

    def __len__(self) -> int:
        return len(self._arrays)


def check_saved(layer: keras.Layer) -> None:
    """Raises what Keras raises where it cannot save what a layer holds beside its variables."""
    if keeps_more_than_variables(layer):
        layer.save_own_variables(Store())


def copy_saved(new: keras.Layer, old: keras.Layer) -> None:
    """Copies by what Keras does when it saves a layer to a file and loads it."""
    store = Store()
    old.save_own_variables(store)
    new.load_own_variables(store)
    if hasattr(old, "save_assets") or hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            for method, layer in (("save_assets", old), ("load_assets", new)):
                if hasattr(layer, method):
                    getattr(layer, method)(folder)
    if hasattr(old, "get_vocabulary") and list(new.get_vocabulary()) != list(old.get_vocabulary()):
        raise ValueError("the vocabulary of the copy differs, as it does when Keras saves and loads the layer")
