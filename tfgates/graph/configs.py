"""Layers from configs: what Keras leaves out of a config, and what a config has that a class does not take."""

import functools
import types
import warnings
from typing import Any

import keras

from tfgates.anatomy.weightless import holds_function, is_of_functions
from tfgates.graph.init_arguments import arguments_taken
from tfgates.keras_internals import layers_within, output_shape_of_lambda

# Entries of the configs of Keras's layers that can be functions.
FUNCTIONS = ("activation", "recurrent_activation")
FUNCTION_TYPES: tuple[Any, ...] = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)


def config_of(layer: keras.Layer, kind: Any = None) -> dict[str, Any]:
    """The config of a layer, with functions as they are: their names say too little.

    Keras writes `keras.ops.gelu` down as `"gelu"`, which is another function, and reads no lambda.

    Args:
        layer: the layer.
        kind: the class whose config it is; its own by default.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
        config = (kind or type(layer)).get_config(layer)
    if holds_function(layer):
        config.update(function=layer.function, output_shape=output_shape_of_lambda(layer), mask=layer.mask)
        config["arguments"] = layer.arguments
    elif type(layer).__module__.split(".")[0] in ("keras", "tfgates"):
        for name in FUNCTIONS:
            function = getattr(layer, name, None)
            if name in config and isinstance(function, FUNCTION_TYPES):
                config[name] = function
            elif name in config and isinstance(function, keras.Layer):
                # What Keras writes down would be built for as many channels as there are now.
                config[name] = layer_from(type(function), config_of(function))
    return config


def give_functions(new: keras.Layer, old: keras.Layer) -> None:
    """Gives a layer that Keras has made from a config the functions themselves: see `config_of`."""
    for name in FUNCTIONS:
        function = getattr(old, name, None)
        if isinstance(function, FUNCTION_TYPES) and getattr(new, name, None) is not function:
            setattr(new, name, function)


def give_functions_within(new: keras.Model, old: keras.Model) -> None:
    """`give_functions` for the layers of a nested model that is copied whole, by its config."""
    copies, sources = ([*layers_within(model, include_self=False)] for model in (new, old))
    if [type(layer) for layer in copies] == [type(layer) for layer in sources]:
        for copy, source in zip(copies, sources, strict=True):
            give_functions(copy, source)


def layer_from(kind: Any, config: dict[str, Any]) -> keras.Layer:
    """The layer of a config that `config_of` made."""
    if is_of_functions(kind):
        # Its `from_config` refuses functions.
        made: keras.Layer = kind(**config)
        return made
    try:
        return kind.from_config(config)
    except (TypeError, ValueError):
        layer = without_unknown(kind, config)
        if layer is None:
            raise
        return layer


def without_unknown(kind: Any, config: dict[str, Any]) -> keras.Layer | None:
    """The layer of a config that has more in it than its class takes, if the class says the same of it; else None."""
    taken = arguments_taken(kind)
    known = {name: value for name, value in config.items() if name in taken}
    if len(known) == len(config):
        return None
    layer = kind.from_config(known)
    written = layer.get_config()
    same = all(name == "name" or written.get(name) == value for name, value in config.items())
    return layer if same else None


def is_foreign(layer: keras.Layer) -> bool:
    """Whether a layer, or one that it holds, is neither Keras's nor of tfgates: who knows what its config says."""
    kinds = (type(each).__module__.split(".")[0] for each in layers_within(layer))
    return any(kind not in ("keras", "tfgates") for kind in kinds)
