"""The `call` of a layer as the calls that it makes: of the layers that it holds and of operators."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from tfgates.keras_internals import call_of, calls_of, history_of, layers_within, readers_of, tells_training


class NotOpenedError(ValueError):
    """A layer stays whole; the message says why."""


@dataclasses.dataclass
class Call:
    """One call of a layer or operator: its arguments and what it returned, with symbolic tensors in them."""

    op: Any
    args: Any
    kwargs: Any
    outputs: list


@dataclasses.dataclass
class Unrolled:
    """What a function of symbolic tensors does.

    Attributes:
        inputs: the symbolic tensors that it was called on.
        calls: the calls, in the order in which they are made.
        outputs: what it returned, flat: symbolic tensors.
    """

    inputs: list
    calls: list[Call]
    outputs: list

    def run(self, values: list, training: bool | None = None) -> list:
        """The outputs for `values`, arrays or other symbolic tensors, in place of the inputs."""
        known = {id(t): v for t, v in zip(self.inputs, values, strict=True)}
        for call in self.calls:
            args, kwargs = tree.map_structure(
                lambda x: known[id(x)] if isinstance(x, keras.KerasTensor) else x, (call.args, call.kwargs)
            )
            kwargs = in_mode(call.op, kwargs, training)
            results = tree.flatten(call.op(*args, **kwargs))
            known.update((id(t), v) for t, v in zip(call.outputs, results, strict=True))
        return [known[id(t)] for t in self.outputs]


def unroll(function: Callable, shapes: list, dtypes: list, holder: keras.Layer) -> Unrolled:
    """Calls `function` on symbolic tensors and writes down what it does with them.

    The layers in `holder` are left as they were: they do not remember the calls.

    Args:
        function: takes a list of tensors.
        shapes: their shapes, the batch included.
        dtypes: what they hold.
        holder: the layer whose layers `function` calls.

    Raises:
        NotOpenedError: if it raises, or returns something else than tensors.
    """
    inputs = [keras.KerasTensor(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    with calls_forgotten(holder):
        try:
            outputs = tree.flatten(function(inputs))
        except Exception as error:
            # A layer of the user's can raise anything here.
            raise NotOpenedError(f"its `call` cannot be followed: {first_line(error)}") from error
        outputs = [y for y in outputs if y is not None]
        if not outputs or not all(isinstance(y, keras.KerasTensor) for y in outputs):
            raise NotOpenedError("its `call` returns something else than what it makes of its inputs")
        return Unrolled(inputs, calls_behind(outputs, inputs), outputs)


def first_line(error: Exception) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return text if len(text) <= 200 else f"{text[:200]}..."


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


def calls_behind(outputs: list, inputs: list) -> list[Call]:
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
        found.append(Call(node.operation, node.arguments.args, node.arguments.kwargs, list(node.outputs)))
        done.update(id(t) for t in node.outputs)
    return found


def in_mode(op: Any, kwargs: dict, training: bool | None) -> dict:
    """The keyword arguments that Keras calls a part of a model with, whatever `training` was given there."""
    tells = training is not None and tells_training(op)
    return dict(kwargs, training=training) if tells else kwargs
