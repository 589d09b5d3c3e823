"""In which mode each call runs when a model is called without `training`.

Called with `training=True` or `training=False`, a model of Keras gives that to all of its calls, whatever they
were given when it was made. Called without, each call runs as it was given; and what one call is given holds,
through the context that Keras keeps of a call, for all later ones that were given nothing. Written down with each
call, the modes are the same wherever the calls end up in a network that is laid out otherwise.
"""

import inspect
from typing import Any

import keras
import numpy as np


class Phase:
    """Follows the modes of the calls of a model, in the order in which they are made.

    Attributes:
        asked: whether a call was given a mode, or has one by default other than that of inference.
    """

    def __init__(self) -> None:
        self.asked = False
        self._context: bool | None = None

    def of(self, layer: keras.Layer, kwargs: dict[str, Any], told: bool | None) -> bool | None:
        """The mode in which the next call runs.

        Args:
            layer: what is called.
            kwargs: its keyword arguments.
            told: what the model or layer around it tells all of its calls.
        """
        default, given = fixed(layer, default_mode(layer)), fixed(layer, kwargs.get("training"))
        value: bool | None
        if told is not None:
            value = told
        elif "training" in kwargs:
            value = given
        else:
            value = default if self._context is None else self._context
        # Keras writes the default down as if it had been given.
        self.asked |= bool(value) or given not in (None, default)
        self._context = value
        return value


def default_mode(layer: keras.Layer) -> Any:
    """What a layer takes for `training` where nobody says."""
    parameter = inspect.signature(layer.call).parameters.get("training")
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def fixed(layer: keras.Layer, value: Any) -> bool | None:
    """What a call was given as `training`, as a bool or None.

    Raises:
        ValueError: if that is known only when the model runs.
    """
    if value is not None and not isinstance(value, (bool, int, np.bool_)):
        raise ValueError(
            f"Layer {layer.name!r} must be called with `training` as True, False or None, so that what it computes is "
            f"known before it runs. Received: training={value!r}"
        )
    return None if value is None else bool(value)


def heeds(layer: Any) -> bool:
    """Whether a layer, or one that it holds, may do otherwise in training."""
    if not isinstance(layer, keras.Layer):
        return False
    holds = next(iter(layer._flatten_layers(include_self=False)), None) is not None
    return holds or "training" in inspect.signature(layer.call).parameters


def write_down(nodes: list[Any], phases: list[bool | None]) -> None:
    """Gives each call that can do otherwise in training the mode that it runs in."""
    for node, phase in zip(nodes, phases, strict=True):
        if heeds(node.op):
            node.kwargs = {**node.kwargs, "training": phase}


def trains(node: Any) -> bool:
    """Whether a call runs as in training although the model is called without `training`."""
    return bool(node.kwargs.get("training"))
