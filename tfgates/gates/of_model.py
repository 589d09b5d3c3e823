"""The gates of a model."""

from typing import Any

from tfgates.gates.base import Gate
from tfgates.keras_internals import layers_within


def gates_of(model: Any) -> list[Gate]:
    """The gates of a model, each once, in the order of its layers."""
    found: list[Gate] = []
    for layer in layers_within(model, include_self=False, recursive=True):
        if isinstance(layer, Gate) and not any(layer is other for other in found):
            found.append(layer)
    return found
