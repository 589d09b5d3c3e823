"""Opening layers that call other layers: the network is then walked as if it had been written flat."""

import inspect
import re
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph.opened import check_opened
from tfgates.graph.unrolling import NotOpenedError, Unrolled, unroll
from tfgates.keras_internals import holds_layers

# Two numbers of examples that are no sizes of other axes; products tell which factor is theirs.
BATCHES = (101, 103)


def time_distributed(layer: Any, x: Any, training: Any = None, mask: Any = None) -> Any:
    """All steps at once, as a dense layer takes them; the proof says whether the inner layer does."""
    return layer.layer(x)


# Layers of Keras whose `call` cannot be followed, and what should be the same.
OTHERWISE: dict[Any, Any] = {keras.layers.TimeDistributed: time_distributed}


def may_be_opened(op: Any) -> bool:
    """Whether a layer holds others and nothing is known of it as a whole."""
    from tfgates.graph.rule import rule_for

    holds = isinstance(op, keras.Layer) and holds_layers(op)
    return holds and not rule_for(op).known


def open_layer(layer: keras.Layer, args: Any, kwargs: Any, outputs: list) -> tuple[Unrolled, list]:
    """The calls that a layer makes when it is called, proven to compute what it does.

    `layer.call` is called on symbolic tensors. Where it needs the number of examples (`ops.shape(x)[0]`
    is None for them) it is called on two numbers of examples; only where they differ by shapes that
    `keras.ops.reshape` is given are these replaced by -1. What comes out is compared with the layer
    on random inputs: see `check_opened`.

    Args:
        layer: the layer, built.
        args, kwargs: the arguments of the call, symbolic tensors in them.
        outputs: what the call returned, flat.

    Returns:
        Pair of the calls and of the tensors among the arguments, in the order of their inputs.

    Raises:
        NotOpenedError: if it cannot be opened; the message says why.
    """
    tensors = list({id(t): t for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)}.values())

    def call(given):
        new = {id(t): autocast(layer, g) for t, g in zip(tensors, given, strict=True)}
        inner_args, inner_kwargs = tree.map_structure(
            lambda x: new[id(x)] if isinstance(x, keras.KerasTensor) else x, (args, kwargs)
        )
        signature = inspect.signature(layer.call)
        given_names = signature.bind_partial(*inner_args, **inner_kwargs).arguments
        for name, parameter in signature.parameters.items():
            # What Keras fills in when nobody gives it.
            if name in ("training", "mask") and parameter.default is parameter.empty and name not in given_names:
                inner_kwargs = dict(inner_kwargs, **{name: None})
        return OTHERWISE.get(type(layer), type(layer).call)(layer, *inner_args, **inner_kwargs)

    shapes, dtypes = [tuple(t.shape) for t in tensors], [t.dtype for t in tensors]
    if any(getattr(t, "sparse", False) or t.dtype == "string" for t in tensors):
        raise NotOpenedError("it reads sparse tensors or strings")

    def proven(unrolled):
        found, wanted = ([(len(y.shape), y.dtype) for y in each] for each in (unrolled.outputs, outputs))
        if found != wanted:
            raise NotOpenedError(f"followed, its `call` gives tensors of ranks and types {found}, not {wanted}")
        lost = [(a, b) for a, b in zip(unrolled.outputs, outputs, strict=True) if loses_sizes(a, b)]
        if lost:
            # What reads it may need them: a Flatten and a Dense behind it, say.
            sizes, known = (tuple(tensor.shape) for tensor in lost[0])
            raise NotOpenedError(f"followed, its `call` gives a tensor of shape {sizes}, not {known}")
        check_opened(layer, unrolled, tensors, args, kwargs)
        return unrolled

    try:
        return proven(unroll(call, shapes, dtypes, layer)), tensors
    except NotOpenedError as reason:
        return proven(for_any_batch(call, shapes, dtypes, layer, reason)), tensors


def loses_sizes(found: Any, wanted: Any) -> bool:
    """Whether sizes are open in a tensor that are known in another of its rank."""
    return any(a is None and b is not None for a, b in zip(found.shape, wanted.shape, strict=True))


def autocast(layer: keras.Layer, tensor: Any) -> Any:
    """What a layer makes of an argument before its `call` gets it."""
    floats = "float" in str(tensor.dtype)
    return ops.cast(tensor, layer.compute_dtype) if layer.autocast and floats and cast_needed(layer, tensor) else tensor


def cast_needed(layer: keras.Layer, tensor: Any) -> bool:
    return "float" in str(layer.compute_dtype) and tensor.dtype != layer.compute_dtype


def for_any_batch(call: Any, shapes: list, dtypes: list, layer: keras.Layer, reason: NotOpenedError) -> Unrolled:
    """Unrolls with two numbers of examples, and once more with what depends on them replaced."""
    if not all(shape and shape[0] is None for shape in shapes):
        raise reason
    one, other = (unroll(call, [(batch, *shape[1:]) for shape in shapes], dtypes, layer) for batch in BATCHES)
    if len(one.calls) != len(other.calls):
        raise reason
    position = {id(t): i for i, t in enumerate(tensors_of(other))}
    twins = {id(t): i for i, t in enumerate(tensors_of(one))}
    for call_one, call_other in zip(one.calls, other.calls, strict=True):
        freed(call_one, call_other, twins, position)
    return unroll(one.run, shapes, dtypes, layer)


def tensors_of(unrolled: Unrolled) -> list:
    return [*unrolled.inputs, *(t for call in unrolled.calls for t in call.outputs)]


def freed(one: Any, other: Any, twins: dict, position: dict) -> None:
    """Replaces the number of examples in a call; refuses where it is used otherwise than in a shape."""
    if isinstance(one.op, keras.Layer) or type(one.op) is not type(other.op):
        same = one.op is other.op
    elif type(one.op).__name__ == "Reshape":
        shape = free_shape(one, other)
        same = shape is not None
        if shape is not None:
            one.op = keras.layers.Reshape(shape[1:]) if shape[0] is None else type(one.op)(shape)
    else:
        same = equal(without_name(one.op), without_name(other.op), twins, position)
    if not (same and equal((one.args, one.kwargs), (other.args, other.kwargs), twins, position)):
        raise NotOpenedError(f"it uses the number of examples in {type(one.op).__name__} as a number")


def without_name(op: Any) -> dict:
    """The config of an operator, its name apart."""
    return {key: value for key, value in op.get_config().items() if key != "name"}


def free_shape(one: Any, other: Any) -> tuple | None:
    """What a tensor is given the shape of, whatever the number of examples; None first if it stays the first axis.

    None where no shape with one -1 says it.
    """
    shape, twin = tuple(one.op.newshape), tuple(other.op.newshape)
    given = one.args[0].shape[0]
    if given == shape[0] == BATCHES[0] and twin[0] == BATCHES[1] and shape[1:] == twin[1:]:
        return (None, *shape[1:])
    # Sizes of what comes out, where what was asked for may have a -1 of its own.
    sizes = [free_size(a, b) for a, b in zip(one.outputs[0].shape, other.outputs[0].shape, strict=True)]
    return None if None in sizes or sizes.count(-1) > 1 else tuple(sizes)


def free_size(a: int | None, b: int | None) -> int | None:
    """A size that is the same for both numbers of examples, or -1 for a multiple of them; else None."""
    if a == b or a is None or b is None:
        return a
    whole = a % BATCHES[0] == 0 and b % BATCHES[1] == 0 and a // BATCHES[0] == b // BATCHES[1]
    return -1 if whole else None


def equal(a: Any, b: Any, twins: dict, position: dict) -> bool:
    """Whether two arguments are the same, tensors by their place among the calls."""
    left, right = tree.flatten(a), tree.flatten(b)
    if len(left) != len(right):
        return False
    for x, y in zip(left, right, strict=True):
        if isinstance(x, keras.KerasTensor):
            if twins.get(id(x)) != position.get(id(y), -1):
                return False
        elif hasattr(x, "shape") or hasattr(y, "shape"):
            x, y = (np.asarray(ops.convert_to_numpy(v)) for v in (x, y))
            if x.shape != y.shape or not np.array_equal(x, y):
                return False
        elif x is not y and x != y:
            return False
    return True


def call_names(calls: list) -> list[str]:
    """A name for each call: the layer's, or what kind of operator it is, and its number among the same."""
    kinds = [None if isinstance(c.op, keras.Layer) else snake_case(type(c.op).__name__) for c in calls]
    names = []
    for i, (call, kind) in enumerate(zip(calls, kinds, strict=True)):
        count = kinds[:i].count(kind)
        names.append(call.op.name if kind is None else kind if count == 0 else f"{kind}_{count}")
    return names


def snake_case(name: str) -> str:
    """`GetItem` as `get_item`, as Keras does it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
