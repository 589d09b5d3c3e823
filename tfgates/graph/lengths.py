"""The sizes that a network is counted for where it takes inputs of any: how long its sequences are."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

# By model the length that was asked for.
_LENGTHS: "weakref.WeakKeyDictionary[keras.Model, Any]" = weakref.WeakKeyDictionary()


def length_of(model: Any) -> Any:
    """The length that a model is counted for: an int, a dict from the names of inputs to shapes, or None."""
    return _LENGTHS.get(model)


def set_length(model: keras.Model, length: Any) -> None:
    """Counts a model from now on for inputs of a length; None leaves it as it is."""
    if length is not None:
        _LENGTHS[model] = checked(length)


@contextlib.contextmanager
def lengthened(model: keras.Model, length: Any) -> Iterator[None]:
    """`set_length` for a while."""
    if not isinstance(model, keras.Model):
        # Whoever follows it says what it has to be.
        yield
        return
    before = _LENGTHS.get(model)
    set_length(model, length)
    try:
        yield
    finally:
        _LENGTHS.pop(model, None)
        set_length(model, before)


def checked(length: Any) -> Any:
    """`length`, if it is a positive integer or shapes by the names of inputs."""
    if isinstance(length, dict):
        return {name: tuple(shape) for name, shape in length.items()}
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(
            "`length` must be a positive integer, the size of what the inputs leave open, or a dict from the names of "
            f"inputs to their shapes without the batch. Received: length={length!r}"
        )
    return length


def counted_shape(model: Any, tensor: Any) -> tuple[Any, ...]:
    """The shape of an input with the sizes that are left open, the batch apart, as they are counted."""
    shape, length = tuple(tensor.shape), length_of(model)
    if length is None or not shape:
        return shape
    sizes = length.get(tensor.name, shape[1:]) if isinstance(length, dict) else [length] * len(shape[1:])
    if len(sizes) != len(shape) - 1:
        raise ValueError(
            f"`length` must have as many sizes for input {tensor.name!r} as it has axes without the batch, "
            f"{len(shape) - 1}. Received: {sizes}"
        )
    return (shape[0], *(known or size for known, size in zip(shape[1:], sizes, strict=True)))


def shapes_of(inputs: list[Any], example: Any) -> dict[str, tuple[Any, ...]] | None:
    """The shapes of an example by the names of the inputs, where one of them leaves a size open; else None."""
    if example is None:
        return None
    values = tree.flatten(example)
    if isinstance(example, dict) and {t.name for t in inputs} <= set(example):
        values = [example[t.name] for t in inputs]
    known = len(values) == len(inputs) and all(hasattr(value, "shape") for value in values)
    if not known or all(None not in tuple(t.shape)[1:] for t in inputs):
        return None
    shapes = {t.name: tuple(value.shape)[1:] for t, value in zip(inputs, values, strict=True)}
    return shapes if all(len(shapes[t.name]) == len(t.shape) - 1 for t in inputs) else None
