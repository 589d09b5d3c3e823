"""Functions of TensorFlow in a `call` that is followed: as operators of Keras, or as `Operator` layers."""

from typing import Any

import keras
from keras import ops, tree

from tfgates.graph.as_operators import Arguments, NoOperatorError, as_plain
from tfgates.graph.own_weights import is_followed
from tfgates.keras_internals import answer_for_symbolic_tensors
from tfgates.layers.operator import PLAIN, TENSORFLOW, Operator

# Functions of TensorFlow that Keras has too, by their names, and the arguments of Keras's, in TensorFlow's order.
ALIKE = {
    **{name: (name, ("x",)) for name in ("exp", "sqrt", "square", "abs", "tanh", "sigmoid", "sin", "cos", "floor")},
    **{name: (name, ("x",)) for name in ("relu", "relu6", "selu", "softplus", "softsign", "log", "rsqrt", "sign")},
    **{name: (name, ("x1", "x2")) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    **{f"reduce_{name}": (name, ("x", "axis", "keepdims")) for name in ("mean", "sum", "max", "min", "prod")},
    "softmax": ("softmax", ("x", "axis")),
    "concat": ("concatenate", ("xs", "axis")),
    "stack": ("stack", ("x", "axis")),
    "reshape": ("reshape", ("x", "newshape")),
    "transpose": ("transpose", ("x", "axes")),
    "expand_dims": ("expand_dims", ("x", "axis")),
    "squeeze": ("squeeze", ("x", "axis")),
    "cast": ("cast", ("x", "dtype")),
    "matmul": ("matmul", ("x1", "x2")),
    "zeros_like": ("zeros_like", ("x",)),
    "ones_like": ("ones_like", ("x",)),
}
# What TensorFlow calls these arguments.
NAMES = {
    "input": "x",
    "features": "x",
    "input_tensor": "x",
    "tensor": "x",
    "logits": "x",
    "a": "x1",
    "b": "x2",
    "y": "x2",
}
NAMES |= {"values": "xs", "shape": "newshape", "perm": "axes"}
# Spaces of names in the order in which they are asked.
SPACES = ("", *TENSORFLOW)

_NAMES: dict[int, str] = {}


def answer(function: Any, args: Any, kwargs: Any) -> Any:
    """What a function of TensorFlow makes of symbolic tensors of Keras; NotImplemented where that is not followed.

    Args:
        function: the function.
        args, kwargs: what it was given.
    """
    if not is_followed() or not any(isinstance(x, keras.KerasTensor) for x in tree.flatten((args, kwargs))):
        return NotImplemented
    path = public_name(function)
    if path is None:
        # What it is a part of may have one.
        return NotImplemented
    kwargs = {name: value for name, value in kwargs.items() if name != "name"}
    if path == "shape":
        return sizes_of(args, kwargs)
    found = by_keras(path.rpartition(".")[2], args, kwargs)
    return by_layer(path, args, kwargs) if found is NotImplemented else found


def sizes_of(args: Any, kwargs: Any) -> Any:
    """The sizes of a tensor: numbers where they are known, else what takes them from it when it runs."""
    tensor = args[0] if args else kwargs["input"]
    if None not in tensor.shape:
        return tuple(tensor.shape)
    sizes = Operator("tensorflow.shape", [{"tensor": 0}])([tensor])
    return tuple(sizes[i] if size is None else size for i, size in enumerate(tensor.shape))


def by_keras(name: str, args: Any, kwargs: Any) -> Any:
    """By an operator of Keras, of which more is known than of a function."""
    if name not in ALIKE:
        return NotImplemented
    target, names = ALIKE[name]
    given = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        given[key if key in names else NAMES.get(key, key)] = value
    given = {key: as_plain(value) for key, value in given.items() if value is not None or key != "axis"}
    if len(args) > len(names) or not given.keys() <= set(names):
        return NotImplemented
    first = given.pop(names[0])
    try:
        return getattr(ops, target)(first, **given)
    except (TypeError, ValueError):
        return NotImplemented


def by_layer(path: str, args: Any, kwargs: Any) -> Any:
    """By a layer that calls the function."""
    arguments = Arguments()
    try:
        args, kwargs = (
            arguments.written(list(args), list(args)),
            {k: arguments.written(v, v) for k, v in kwargs.items()},
        )
    except NoOperatorError:
        return NotImplemented
    return Operator(f"tensorflow.{path}", args, kwargs)(arguments.inputs)


def public_name(function: Any) -> str | None:
    """The name by which `tensorflow` has a function, without `tensorflow`; None if it has none that a file may name."""
    if not _NAMES:
        import tensorflow as tf

        for space in SPACES:
            within = getattr(tf, space) if space else tf
            for name in PLAIN if not space else dir(within):
                found = getattr(within, name, None)
                if name.startswith("_") or not callable(found) or isinstance(found, type):
                    continue
                while found is not None:
                    # TensorFlow asks about what it has wrapped.
                    _NAMES.setdefault(id(found), f"{space}.{name}" if space else name)
                    found = getattr(found, "__wrapped__", None)
    return _NAMES.get(id(function))


if keras.config.backend() == "tensorflow":
    answer_for_symbolic_tensors(answer)
