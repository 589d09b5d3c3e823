"""Which anatomy a layer has."""

import weakref
from typing import Any

import keras

# By class, or by the name of a class of Keras's that is not public.
KINDS: dict[Any, Any] = {}
LAYERS: "weakref.WeakKeyDictionary[keras.Layer, Any]" = weakref.WeakKeyDictionary()


def anatomy_of(layer: Any) -> Any:
    """The anatomy of a layer, or None where none is declared for it or for exactly its class."""
    if not isinstance(layer, keras.Layer):
        return None
    found = LAYERS.get(layer) or KINDS.get(type(layer))
    if found is None and type(layer).__module__.partition(".")[0] == "keras":
        found = KINDS.get(type(layer).__name__)
    return found


def declared_base(kind: type) -> type | None:
    """The nearest class above a class of layers that has an anatomy, or None."""
    return next((base for base in kind.__mro__[1:] if base in KINDS), None)


def gated_class(kind: type) -> Any:
    """The class of tfgates that is the given Keras layer class with a gate in it, or None."""
    made = (other for other in KINDS if isinstance(other, type) and other.__module__.partition(".")[0] == "tfgates")
    return next((other for other in made if kind in other.__bases__), None)
