"""Subclassed models: the graph of the one call of the model, to be opened like any layer that calls others."""

from typing import Any

import keras
from keras import tree

from tfgates.backend import dtype_in_use
from tfgates.graph.unrolling import calls_forgotten, first_line
from tfgates.keras_internals import has_graph, inputs_structure


def graph_of_call(model: keras.Model, example: Any = None) -> keras.Model:
    """A Functional model whose only layer is `model`.

    Args:
        model: a subclassed model.
        example: what it is called on, arrays of a batch of any size in the structure that `call` takes:
            shapes and types are taken from them. By default the shapes are those that the model
            was built for, and the type is float32.

    Raises:
        ValueError: if the model was never built and there is no example, or if its `call` does not take
            symbolic tensors.
    """
    if type(model).call is keras.Model.call and not has_graph(model):
        parts = [f"`{name}`" for name, value in vars(model).items() if isinstance(value, keras.Model)]
        advice = f"gate its parts ({', '.join(parts)})" if parts else "gate the models that it trains"
        raise ValueError(
            f"`model` must have a `call`, which says what it computes; without one, {advice}, and make it again of "
            f"what comes out. Received: model={model.__class__.__name__} named {model.name!r}"
        )
    if example is None:
        # Of a functional model with a `call` of its own.
        example = inputs_structure(model)
    if example is None:
        shapes = built_shapes(model)
        if shapes is None:
            raise ValueError(
                "`model` must be a Sequential or Functional keras.Model, whose layers form a graph that "
                "can be walked. A subclassed model hides its layers in `call`: rebuild it as "
                "`keras.Model(inputs, outputs)`, or give `tfgates.gate_model` an example to call it on as "
                "`inputs`, or call it on data once. "
                f"Received: model={model.__class__.__name__} named {getattr(model, 'name', None)!r}, not built"
            )
        example = tree.map_shape_structure(lambda shape: keras.KerasTensor(tuple(shape), keras.config.floatx()), shapes)
    inputs = tree.map_structure(like, example)
    if isinstance(example, dict):
        # Keras wants the names of inputs to be their keys.
        inputs = {k: like(v, k) if hasattr(v, "shape") else tree.map_structure(like, v) for k, v in example.items()}
    with calls_forgotten(model):
        try:
            outputs = model(inputs)
            return keras.Model(inputs, outputs, name=model.name)
        except Exception as error:
            # The user's `call` can raise anything here.
            raise unopened(model, first_line(error)) from error


def built_shapes(model: keras.Model) -> Any:
    """The shapes, batch included, of what the model was built for; None if it is not known."""
    config = model.get_build_config() if model.built else None
    if not config:
        return None
    shapes = config.get("input_shape")
    if shapes is None and len(config.get("shapes_dict", {})) == 1:
        (shapes,) = config["shapes_dict"].values()
    return shapes


def like(array: Any, name: str | None = None) -> keras.KerasTensor:
    """An input for arrays like `array`, any number of examples."""
    dtype = dtype_in_use(keras.backend.standardize_dtype(array.dtype))
    dtype = keras.config.floatx() if dtype == "float64" else dtype
    return keras.Input(tuple(array.shape[1:]), dtype=dtype, name=name)


def unopened(model: keras.Model, reason: str) -> ValueError:
    """What to raise when the layers of a subclassed model cannot be found."""
    return ValueError(
        "The `call` of a subclassed model must be one that can be followed, layer by layer; rebuild the model as "
        f"`keras.Model(inputs, outputs)`. Of this one: {reason}. "
        f"Received: model={model.__class__.__name__} named {model.name!r}"
    )


def check_inputs(network: Any) -> None:
    """Refuses a graph whose inputs were taken for numbers but are indices.

    Raises:
        ValueError: naming the layer that reads them.
    """
    for tensor in network.inputs:
        for node in network.consumers[tensor]:
            if hasattr(node.op, "input_dim") and "int" not in network.dtypes[tensor]:
                raise ValueError(
                    f"Layer {node.name!r} reads indices, and what the model is called on is not known to be integers: "
                    "give an example as `inputs`. "
                    f"Received: model={network.model.__class__.__name__} named {network.model.name!r}"
                )
