"""What is known of a TensorFlow graph before it runs: values of tensors, and how often a loop goes round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

# More rounds than this are not counted out.
MOST_ROUNDS = 200_000

OPERATIONS: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not,
    "Max": lambda x, axis: np.max(x, axis=tuple(np.atleast_1d(axis))),
    "Min": lambda x, axis: np.min(x, axis=tuple(np.atleast_1d(axis))),
    "Reshape": np.reshape,
    "Squeeze": np.squeeze,
}


def constant(tensor: Any, known: dict[str, Any]) -> Any:
    """The value of a tensor as an array, or None where it is not known before the graph runs.

    Args:
        known: values of other tensors of the same graph, by name.
    """
    if tensor.name in known:
        return known[tensor.name]
    # Only numbers that count or decide something are worth the work.
    if not (tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.shape.rank not in (0, 1):
        return None
    value = tf.get_static_value(tensor)
    if value is not None:
        return np.asarray(value)
    op = tensor.op
    if op.type == "Cast":
        value = constant(op.inputs[0], known)
        return None if value is None else value.astype(tensor.dtype.as_numpy_dtype)
    values = [constant(x, known) for x in op.inputs]
    if any(v is None for v in values):
        return None
    if op.type == "StridedSlice":
        return _slice(op, *values)
    return np.asarray(OPERATIONS[op.type](*values)) if op.type in OPERATIONS else None


def _slice(op: Any, vector: Any, begin: Any, end: Any, stride: Any) -> Any:
    """An entry or a part of a vector."""
    if vector.ndim != 1 or len(begin) != 1 or op.get_attr("new_axis_mask") or op.get_attr("ellipsis_mask"):
        return None
    if op.get_attr("shrink_axis_mask"):
        return vector[begin[0]]
    first = None if op.get_attr("begin_mask") else begin[0]
    last = None if op.get_attr("end_mask") else end[0]
    return vector[first : last : stride[0]]


def trips(condition: Any, body: Any, start: list[Any]) -> int | None:
    """How often a loop goes round, or None if that shows only when it runs.

    Args:
        condition, body: the loop's graphs.
        start: the values of its variables before the first round, None where they are not known.
    """
    decisive = _decisive(condition, body)
    values = {i: start[i] for i in decisive}
    for rounds in range(MOST_ROUNDS):
        if any(value is None for value in values.values()):
            return None
        on = constant(condition.outputs[0], {condition.inputs[i].name: v for i, v in values.items()})
        if on is None:
            return None
        if not on:
            return rounds
        now = {body.inputs[i].name: v for i, v in values.items()}
        values = {i: constant(body.outputs[i], now) for i in decisive}
    return None


def _decisive(condition: Any, body: Any) -> set[int]:
    """The numbers of the variables that a loop's end depends on."""
    found, new = set(), _inputs_of(condition, condition.outputs[0])
    while new:
        number = new.pop()
        if number not in found:
            found.add(number)
            new |= _inputs_of(body, body.outputs[number])
    return found


def _inputs_of(graph: Any, tensor: Any) -> set[int]:
    """The numbers of the inputs of a graph that a tensor is made from."""
    numbers = {x.name: i for i, x in enumerate(graph.inputs)}
    found, seen, stack = set(), set(), [tensor]
    while stack:
        current = stack.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        if current.name in numbers:
            found.add(numbers[current.name])
        else:
            stack.extend(current.op.inputs)
    return found
