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
from keras import tree

from tfgates.keras_internals import holds_layers


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

    def within(self, layer: keras.Layer, args: Any, kwargs: dict[str, Any], mode: bool | None) -> None:
        """Follows what a layer that calls others, just called, tells them; see `left_behind`."""
        self._context = left_behind(layer, args, kwargs, mode)
        self.asked |= bool(self._context)


class Told(keras.layers.Layer):
    """Notes in which mode it is called."""

    mode: bool | None = None

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.mode = fixed(self, training)
        return x


class Before(keras.layers.Layer):
    """Runs a function in a call of its own."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function

    def call(self, tensors: Any) -> Any:
        return self._function(tensors)


def left_behind(layer: keras.Layer, args: Any, kwargs: dict[str, Any], mode: bool | None) -> bool | None:
    """The mode that a call leaves to the calls after it: that of the last call that the layer makes itself.

    Args:
        layer: a layer that calls others in a way that is not known.
        args, kwargs: the arguments of its call, symbolic tensors in them.
        mode: the mode that it runs in.
    """
    flat = tree.flatten((args, kwargs))
    places = [i for i, x in enumerate(flat) if isinstance(x, keras.KerasTensor)]
    tensors = [keras.KerasTensor(tuple(flat[i].shape), flat[i].dtype, sparse=flat[i].sparse) for i in places]

    told = Told()

    def call(given: Any) -> Any:
        filled = list(flat)
        for place, tensor in zip(places, given, strict=True):
            filled[place] = tensor
        new_args, new_kwargs = tree.pack_sequence_as((args, kwargs), filled)
        layer(*new_args, **new_kwargs, training=mode)
        return told(given[0])

    try:
        Before(call)(tensors)
    except Exception:
        # A layer of the user's can raise anything where it does not run; it has run in the model.
        return mode
    return told.mode


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
    holds = holds_layers(layer)
    return holds or "training" in inspect.signature(layer.call).parameters


def write_down(nodes: list[Any], phases: list[bool | None]) -> None:
    """Gives each call that can do otherwise in training the mode that it runs in."""
    for node, phase in zip(nodes, phases, strict=True):
        if heeds(node.op):
            node.kwargs = {**node.kwargs, "training": phase}


def trains(node: Any) -> bool:
    """Whether a call runs as in training although the model is called without `training`."""
    return bool(node.kwargs.get("training"))


def why_it_trains(node: Any, nodes: list[Any]) -> str:
    """Says that a call runs as in training where the model is called without `training`, and what leaves that on.

    Args:
        node: the call.
        nodes: the calls of its network.
    """
    before = (each for each in nodes if each.index < node.index and each.layer is not None and trains(each))
    leaving = next((each.name for each in before if default_mode(each.op)), None)
    by = f", which {leaving} in front of it leaves on (take that out of the model)" if leaving else ""
    return f"runs as in training where the model is called without `training`{by}"
