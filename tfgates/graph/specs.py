"""What Keras is told of the tensors that a layer makes, and what its `call` makes of them."""

from typing import Any

import keras
from keras import tree

from tfgates.anatomy.einsum import say_sizes
from tfgates.anatomy.weightless import is_input
from tfgates.graph.classes import is_own
from tfgates.keras_internals import call_of, calls_of, give_shape, history_of

# Two numbers of examples, and other sizes that are open.
EXAMPLES = (101, 103)


def with_sizes(layer: keras.Layer, made: Any, tensors: list[Any], args: Any, kwargs: Any) -> Any:
    """What a layer made, with the sizes that follow from those that it was called on.

    An EinsumDense says those that it was built for, which can have been open then, or was given as open.
    """
    found = [y for y in tree.flatten(made) if isinstance(y, keras.KerasTensor)]
    # The number of examples may be open, and mostly is.
    first = 1 if any(None in t.shape for t in tensors) else 0
    if not tensors or any(None in t.shape[1:] for t in tensors) or all(None not in y.shape[first:] for y in found):
        return made
    try:
        specs = specs_with_sizes(layer, args, kwargs)
    except Exception:
        # A layer of the user's can raise anything here; sizes that are left open are refused where they matter.
        return made
    if [len(y.shape) for y in found] == [len(each.shape) for each in specs]:
        for tensor, spec in zip(found, specs, strict=True):
            give_shape(tensor, spec.shape)
    return made


def specs_of(layer: keras.Layer, args: Any, kwargs: Any) -> list[Any]:
    """What the `call` of a layer makes, whatever the layer says of it."""
    return tree.flatten(keras.Operation.compute_output_spec(layer, *args, **kwargs))


def specs_with_sizes(layer: keras.Layer, args: Any, kwargs: Any) -> list[Any]:
    """The same with the sizes that do not depend on those that are open, the number of examples among them.

    Where TensorFlow does not know one size, others can get lost with it.
    """
    specs = specs_of(layer, args, kwargs)
    if all(None not in each.shape[1:] for each in specs):
        return specs
    few, more = (specs_of(layer, *filled(count, args, kwargs)) for count in EXAMPLES)
    return [alike(*pair) for pair in zip(few, more, strict=True)]


def filled(size: int, args: Any, kwargs: Any) -> Any:
    """The arguments of a call with a size in place of those that are open."""

    def sized(x: Any) -> Any:
        is_open = isinstance(x, keras.KerasTensor) and None in x.shape
        return keras.KerasTensor(tuple(s or size for s in x.shape), x.dtype) if is_open else x

    return tree.map_structure(sized, (args, kwargs))


def alike(few: Any, more: Any) -> Any:
    """What is made for any sizes, from what is for two."""
    shape = (a if a == b else None for a, b in zip(few.shape, more.shape, strict=True))
    return keras.KerasTensor(tuple(shape), few.dtype)


def says_otherwise(layer: keras.Layer, kind: type, made: Any, args: Any, kwargs: Any) -> bool:
    """Whether the `compute_output_shape` of a layer of the user's says something else than its `call` makes."""
    if not is_own(kind, "compute_output_shape") and not is_own(kind, "compute_output_spec"):
        return False
    try:
        specs = specs_of(layer, args, kwargs)
    except Exception:
        # What needs sizes that are open here, say: a comparison of what was followed says more.
        return False
    return kinds_of(specs) != kinds_of(made)


def kinds_of(made: Any) -> list[Any]:
    """The ranks and types of tensors."""
    return [(len(y.shape), str(y.dtype)) if hasattr(y, "shape") else None for y in tree.flatten(made)]


def with_sizes_of(made: Any, shapes: list[tuple[Any, ...]]) -> list[keras.Layer]:
    """Gives what copies of calls made the sizes that were known in what these made; the layers that had to be asked.

    Args:
        made: symbolic tensors.
        shapes: what those had, flat, other channels apart.
    """
    asked: list[keras.Layer] = []
    for tensor, shape in zip(tree.flatten(made), shapes, strict=True):
        if len(tensor.shape) == len(shape) and any(a is None and b for a, b in zip(tensor.shape, shape, strict=True)):
            ask_for_sizes(tensor, asked)
    return asked


def ask_for_sizes(tensor: Any, asked: list[keras.Layer]) -> None:
    """Gives a tensor its sizes, and those behind it that have lost theirs too; layers are added to `asked`."""
    history = history_of(tensor)
    if None not in tensor.shape[1:] or history is None or is_input(history.operation):
        return
    call = call_of(history)
    for source in call.input_tensors:
        ask_for_sizes(source, asked)
    if isinstance(call.operation, keras.Layer):
        given = call.arguments
        with_sizes(call.operation, call.output_tensors, given.keras_tensors, given.args, given.kwargs)
        asked.append(call.operation)


def write_sizes(layers: list[keras.Layer]) -> None:
    """Lets layers say the sizes of what they make, once all of their calls are made: what is loaded has them too."""
    for layer in layers:
        say_sizes(layer, [tuple(call.output_tensors[0].shape) for call in calls_of(layer)])
