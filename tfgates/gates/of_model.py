"""The gates of a model."""

from typing import Any

from tfgates.gates.base import Gate


def gates_of(model: Any) -> list[Gate]:
    """The gates of a model, each once, in the order of its layers."""
    found: list[Gate] = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, Gate) and not any(layer is other for other in found):
            found.append(layer)
    return found
