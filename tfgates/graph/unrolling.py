"""The `call` of a layer as the calls that it makes: of the layers that it holds and of operators."""

import contextlib
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
from keras import ops, tree

from tfgates.graph.as_operators import Arguments, NoOperatorError, as_operator
from tfgates.graph.classes import is_own
from tfgates.graph.own_weights import Given, OwnWeights, following, is_followed
from tfgates.graph.specs import says_otherwise, with_sizes
from tfgates.keras_internals import (
    arrays_beside_symbolic_tensors,
    call_of,
    calls_of,
    dense,
    has_graph,
    history_of,
    layers_within,
    lone_slices,
    readers_of,
    symbolic_tensors_compared,
    tells_training,
)
from tfgates.layers.operator import Operator

# Whose code compares symbolic tensors to find them.
OTHERS = ("keras", "tfgates", "optree", "tensorflow", "jax", "torch", "numpy")

# Keras writes messages in bold.
COLOURS = re.compile("\x1b\\[[0-9;]*m")


class NotOpenedError(ValueError):
    """A layer stays whole; the message says why."""


class Training(int):
    """True, told to a layer whose `call` is followed in training.

    Attributes:
        otherwise: what the calls that it makes are told in its place.
    """

    otherwise: Any

    def __new__(cls, otherwise: Any) -> "Training":
        made = super().__new__(cls, True)
        made.otherwise = otherwise
        return made


@dataclasses.dataclass
class Call:
    """One call of a layer or operator: its arguments and what it returned, with symbolic tensors in them.

    Where `op` is None, what it returned is the first argument. `prefix` names the layers around it that were
    followed with it.
    """

    op: Any
    args: Any
    kwargs: Any
    outputs: list[Any]
    prefix: str = ""


@dataclasses.dataclass
class Unrolled:
    """What a function of symbolic tensors does.

    Attributes:
        inputs: the symbolic tensors that it was called on.
        calls: the calls, in the order in which they are made.
        outputs: what it returned, flat: symbolic tensors.
        given: what else the calls read.
        unread: paths of the weights of the layer that none of them reads, nor the layer: see `check_opened`.
    """

    inputs: list[Any]
    calls: list[Call]
    outputs: list[Any]
    given: list[Given] = dataclasses.field(default_factory=list)
    unread: list[str] = dataclasses.field(default_factory=list)

    def run(self, values: list[Any], training: bool | None = None, symbolic: bool = False) -> list[Any]:
        """The outputs for `values`, arrays or other symbolic tensors, in place of the inputs.

        Args:
            values: one for each input.
            training: what the calls are told.
            symbolic: whether what is given stays symbolic; its values by default.
        """
        known = {id(t): v for t, v in zip(self.inputs, values, strict=True)}
        known.update((id(each.tensor), each.tensor if symbolic else each.value()) for each in self.given)
        for call in self.calls:
            args, kwargs = tree.map_structure(
                lambda x: known[id(x)] if isinstance(x, keras.KerasTensor) else x, (call.args, call.kwargs)
            )
            kwargs = in_mode(call.op, kwargs, training)
            made = called_symbolically if symbolic else called
            results = args[:1] if call.op is None else tree.flatten(made(call.op, args, kwargs))
            known.update((id(t), v) for t, v in zip(call.outputs, results, strict=True))
        return [known[id(t)] for t in self.outputs]


def called(op: Any, args: Any, kwargs: Any) -> Any:
    """What an operation makes of its arguments."""
    return op(*args, **kwargs)


def called_symbolically(op: Any, args: Any, kwargs: Any) -> Any:
    """The same of symbolic tensors; by an `Operator` where the operator of Keras does not take sizes that are open."""
    try:
        return op(*args, **kwargs)
    except Exception:
        # An operator can raise anything here.
        call = Call(op, args, kwargs, [])
        try:
            made, args, kwargs = as_operator(call, call, Arguments())
        except NoOperatorError:
            made = None
        if made is None or isinstance(op, Operator):
            raise
    return made(*args, **kwargs)


def unroll(
    function: Callable[..., Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    given: Any = (),
    within: Collection[int] = (),
) -> Unrolled:
    """Calls `function` on symbolic tensors and writes down what it does with them.

    The layers in `holder` are left as they were: they do not remember the calls.

    Args:
        function: takes a list of tensors.
        shapes: their shapes, the batch included.
        dtypes: what they hold.
        holder: the layer whose layers `function` calls.
        given: what else it may read, beside the weights of the layers whose `call` is followed.
        within: ids of layers in `holder` that are not called as a whole: see `followed_inside`.

    Raises:
        NotOpenedError: if it raises, or returns something else than tensors.
    """
    inputs = [keras.KerasTensor(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    weights = OwnWeights(given)
    with (
        calls_forgotten(holder),
        arrays_beside_symbolic_tensors(),
        lone_slices(),
        symbolic_tensors_compared(is_of_user),
        followed_inside(holder, weights, within) as followed,
    ):
        try:
            with weights.of(holder):
                outputs = tree.flatten(function(inputs))
        except Exception as error:
            # A layer of the user's can raise anything here.
            raise NotOpenedError(f"its `call` cannot be followed: {first_line(error)}") from error
        outputs = [weights.constant(holder, y) if is_array(y) else y for y in outputs if y is not None]
        if not outputs or not all(isinstance(y, keras.KerasTensor) for y in outputs):
            raise NotOpenedError("its `call` returns something else than what it makes of its inputs")
        calls = calls_behind(outputs, [*inputs, *(each.tensor for each in weights.given)])
        calls = weights.among_arguments(calls, holder)
        calls = [dataclasses.replace(c, prefix=followed.get(id(c.op), "")) for c in calls]
        return Unrolled(inputs, calls, outputs, weights.read(calls, outputs))


def is_of_user(frame: Any) -> bool:
    """Whether code that runs is a user's, in a `call` that is followed."""
    root = str(frame.f_globals.get("__name__")).partition(".")[0]
    return is_followed() and root not in OTHERS and root not in sys.stdlib_module_names


def first_line(error: Exception) -> str:
    """An exception in one line; of those that Keras says more about, what was raised inside."""
    lines = [line.strip() for line in COLOURS.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextlib.contextmanager
def followed_inside(holder: keras.Layer, weights: OwnWeights, within: Collection[int] = ()) -> Iterator[dict[int, str]]:
    """Lets layers of users that hold others, in a layer, be followed where they cannot be called on symbolic tensors.

    Such a layer returns None beside tensors, takes further arguments in its `call` than where Keras asks for its
    outputs, or cannot be traced for open sizes: what its `call` does is then followed as if it stood in that of the
    layer that holds it. So is a `Sequential` that was built for other sizes, which Keras calls on numbers alone, and
    each layer of `within`. Yields a dict that grows: the names of the layers that were followed so, by the ids of
    those in them.
    """
    followed: dict[int, str] = {}
    seen: set[int] = set()

    def inside(layer: keras.Layer, args: Any, kwargs: Any) -> Any:
        if id(layer) not in seen:
            seen.add(id(layer))
            for inner in layers_within(layer, include_self=False):
                followed[id(inner)] = f"{layer.name}/{followed.get(id(inner), '')}"
        with weights.of(layer):
            return called_plainly(layer, args, kwargs, None if is_own(type(layer), "call") else in_turn)

    before = {id(layer): (layer, type(layer)) for layer in layers_within(holder, include_self=False)}
    for layer, kind in before.values():
        own = (is_own(kind, "call") and not has_graph(layer)) or kind is keras.Sequential
        object.__setattr__(layer, "__class__", follower(kind, inside if own else None, weights, id(layer) in within))
    try:
        yield followed
    finally:
        for layer, kind in before.values():
            object.__setattr__(layer, "__class__", kind)


def in_turn(layer: Any, x: Any, training: Any = None, mask: Any = None) -> Any:
    """What the layers of a `Sequential` make of a tensor, one after the other."""
    if mask is not None:
        raise NotOpenedError("it is called with a `mask`")
    for each in layer.layers:
        x = each(x, **in_mode(each, {}, training))
    return x


def follower(kind: type, inside: Callable[..., Any] | None, weights: OwnWeights, always: bool = False) -> type:
    """A class of layers like `kind` whose calls are followed by `inside` where they fail, or always.

    Where they are called on numbers alone these become symbolic tensors, and no tensor is taken for a sparse one.
    """

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        if not tensors and is_followed() and self.variables and len(args) == 1 and is_array(args[0]):
            args = (weights.constant(self, args[0]),)
        for tensor in tensors:
            dense(tensor)
        if always and inside is not None:
            return inside(self, args, kwargs)
        try:
            with following(False):
                made = with_sizes(self, kind.__call__(self, *args, **kwargs), tensors, args, kwargs)
                if inside is None or not says_otherwise(self, kind, made, args, kwargs):
                    return made
        except Exception:
            # A layer of the user's can raise anything here.
            if inside is None:
                raise
        return inside(self, args, kwargs)

    return type(kind.__name__, (kind,), {"__call__": called, "__module__": kind.__module__})


def is_array(x: Any) -> bool:
    """Whether an argument is an array of numbers, of numpy or the backend."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, (keras.KerasTensor, keras.Variable))


def called_plainly(layer: keras.Layer, args: Any, kwargs: Any, function: Callable[..., Any] | None = None) -> Any:
    """What the `call` of a layer (or `function` in its place) returns, given what Keras gives it."""
    tensors = {id(t): autocast(layer, t) for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)}
    args, kwargs = tree.map_structure(
        lambda x: tensors[id(x)] if isinstance(x, keras.KerasTensor) else x, (args, kwargs)
    )
    signature = inspect.signature(layer.call)
    given = signature.bind_partial(*args, **kwargs).arguments
    for name, parameter in signature.parameters.items():
        # What Keras fills in when nobody gives it.
        if name in ("training", "mask") and parameter.default is parameter.empty and name not in given:
            kwargs = dict(kwargs, **{name: None})
    return (function or type(layer).call)(layer, *args, **kwargs)


def autocast(layer: keras.Layer, tensor: Any) -> Any:
    """What a layer makes of an argument before its `call` gets it."""
    floats = "float" in str(tensor.dtype) and "float" in str(layer.compute_dtype)
    needed = layer.autocast and floats and tensor.dtype != layer.compute_dtype
    return ops.cast(tensor, layer.compute_dtype) if needed else tensor


@contextlib.contextmanager
def calls_forgotten(holder: keras.Layer) -> Iterator[None]:
    """Lets a layer and all that it holds forget the symbolic calls that are made meanwhile."""
    before = [(op, len(calls_of(op)), len(readers_of(op))) for op in layers_within(holder)]
    try:
        yield
    finally:
        for op, inbound, outbound in before:
            del calls_of(op)[inbound:]
            del readers_of(op)[outbound:]


def calls_behind(outputs: list[Any], inputs: list[Any]) -> list[Call]:
    """The calls that `outputs` were made by, each once, those that others need before them."""
    found: list[Call] = []
    done = {id(t) for t in inputs}
    stack = list(reversed(outputs))
    while stack:
        tensor = stack[-1]
        if id(tensor) in done:
            stack.pop()
            continue
        history = history_of(tensor)
        if history is None or history.operation is None:
            raise NotOpenedError("its `call` reads tensors that are not among its arguments")
        node = call_of(history)
        missing = [t for t in node.input_tensors if id(t) not in done]
        if missing:
            stack.extend(reversed(missing))
            continue
        args, kwargs = tree.map_structure(
            lambda x: x.otherwise if isinstance(x, Training) else x, (node.arguments.args, node.arguments.kwargs)
        )
        found.append(Call(node.operation, args, kwargs, list(node.outputs)))
        done.update(id(t) for t in node.outputs)
    return found


def in_mode(op: Any, kwargs: dict[Any, Any], training: bool | None) -> dict[Any, Any]:
    """The keyword arguments that Keras calls a part of a model with, whatever `training` was given there."""
    tells = training is not None and tells_training(op)
    return dict(kwargs, training=training) if tells else kwargs
