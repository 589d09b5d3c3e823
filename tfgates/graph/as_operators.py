"""Calls of operators as `Operator` layers: what sizes are in their arguments is taken from tensors when they run."""

import itertools
import math
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.layers.operator import GETITEM, KERAS, Operator

# So many numbers of an array are written into a config.
MOST_NUMBERS = 4096
# What is added to a size is less.
MOST_MORE = 100


class NoOperatorError(Exception):
    """A call cannot be written as an `Operator`."""


class Arguments:
    """Writes arguments of one call, or of two calls for different sizes, as the config of an `Operator` has them.

    Args:
        same: function of two symbolic tensors that says whether they are the same one in both calls.
        sizes: by pairs of sizes (of the first call and of the second) a tensor that has it and the axis.
    """

    def __init__(self, same: Any = None, sizes: dict[tuple[int, int], tuple[Any, int]] | None = None) -> None:
        self._same, self._sizes = same, sizes or {}
        self.inputs: list[Any] = []
        self.like: list[Any] = []

    def written(self, a: Any, b: Any) -> Any:
        """One argument, of both calls.

        Raises:
            NoOperatorError: if it cannot be written.
        """
        if isinstance(a, keras.KerasTensor):
            if a is not b and not (isinstance(b, keras.KerasTensor) and self._same(a, b)):
                raise NoOperatorError
            return {"tensor": self._number(self.inputs, a)}
        if hasattr(a, "shape") and hasattr(a, "dtype") and not isinstance(a, keras.Variable):
            return self._array(a, b)
        if isinstance(a, slice) and isinstance(b, slice):
            return {"slice": [self.written(x, y) for x, y in ((a.start, b.start), (a.stop, b.stop), (a.step, b.step))]}
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
            return [self.written(x, y) for x, y in zip(a, b, strict=True)]
        if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
            return {"dict": {key: self.written(a[key], b[key]) for key in a}}
        if a is Ellipsis and b is Ellipsis:
            return {"ellipsis": 1}
        return self._plain(a, b)

    def merged(self, a: Any, b: Any) -> Any:
        """Two arguments that are written already, for different sizes."""
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return {key: self.merged(a[key], b[key]) for key in a}
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            return [self.merged(x, y) for x, y in zip(a, b, strict=True)]
        return self._plain(a, b)

    def _plain(self, a: Any, b: Any) -> Any:
        a, b = as_plain(a), as_plain(b)
        if type(a) is not type(b) or not isinstance(a, (int, float, str, type(None))):
            raise NoOperatorError
        return a if a == b else self._size(a, b)

    def _array(self, a: Any, b: Any) -> Any:
        x, y = (np.asarray(ops.convert_to_numpy(v)) for v in (a, b))
        if x.shape != y.shape or x.size > MOST_NUMBERS or not np.array_equal(x, y) or x.dtype.kind not in "iufb":
            raise NoOperatorError
        # The type of numbers is that of what they meet, as it is with numbers alone.
        return x.tolist()

    def _size(self, a: Any, b: Any) -> Any:
        """A number that depends on sizes: a product of some of them times a number plus another, or a sum of two."""
        if not isinstance(a, int) or isinstance(a, bool):
            raise NoOperatorError
        ways = []
        for count in (1, 2, 3):
            for chosen in itertools.combinations(self._sizes, count):
                one, other = (math.prod(pair[i] for pair in chosen) for i in (0, 1))
                times, rest = divmod(a - b, one - other)
                # Any two numbers are on some line.
                if rest == 0 and times and abs(a - times * one) < MOST_MORE:
                    ways.append((abs(a - times * one), times, chosen))
        if not ways:
            return self._sum(a, b)
        _, times, chosen = min(ways, key=lambda way: (way[0], abs(way[1]), len(way[2])))
        plus = a - times * math.prod(pair[0] for pair in chosen)
        places = [self._place(pair) for pair in chosen]
        return {"size": places, "times": times, "plus": plus}

    def _sum(self, a: int, b: int) -> Any:
        """A number that is the sum or the difference of two sizes, plus another."""
        ways = []
        for first, second in itertools.permutations(self._sizes, 2):
            for times in (1, -1):
                rest, twin = (x - first[i] - times * second[i] for i, x in enumerate((a, b)))
                if rest == twin and abs(rest) < MOST_MORE:
                    ways.append((abs(rest), times, first, second))
        if not ways:
            raise NoOperatorError
        _, times, first, second = min(ways, key=lambda way: way[:2])
        places = [self._place(pair) for pair in (first, second)]
        more = {"size": places[1:], "times": times, "plus": a - first[0] - times * second[0]}
        return {"size": places[:1], "times": 1, "plus": more}

    def _place(self, pair: tuple[int, int]) -> list[int]:
        """Where a size is taken from: the number of a tensor, and the axis."""
        return [self._number(self.like, self._sizes[pair][0]), self._sizes[pair][1]]

    @staticmethod
    def _number(tensors: list[Any], tensor: Any) -> int:
        """The number of a tensor among others; it is added where it is none of them."""
        for i, each in enumerate(tensors):
            if each is tensor:
                return i
        tensors.append(tensor)
        return len(tensors) - 1


def as_plain(x: Any) -> Any:
    """A number or name, of numpy or TensorFlow too, as Python has it."""
    if isinstance(x, np.generic):
        return x.item()
    if type(x).__name__ == "DType":
        return x.name
    return x


def function_name(op: Any) -> str:
    """The name of the function of `keras.ops` that an operator is made by."""
    from tfgates.graph.opening import snake_case

    kind = type(op).__name__
    if kind == "GetItem":
        return GETITEM
    names = [snake_case(kind), kind.lower()]
    name = next((name for name in names if hasattr(ops, name)), None)
    if name is None or not type(op).__module__.startswith("keras."):
        raise NoOperatorError
    return f"{KERAS}{name}"


def as_operator(one: Any, other: Any, arguments: Arguments) -> tuple[Operator, Any, Any]:
    """An operator of Keras, or an `Operator`, in two calls for different sizes (or in one, twice) as one for any.

    Returns:
        The layer, and the arguments and keywords that it is called with.

    Raises:
        NoOperatorError: if there is none.
    """
    if type(one.op) is not type(other.op):
        raise NoOperatorError
    if isinstance(one.op, Operator):
        if one.op.function != other.op.function or one.op.get_config().get("dtype") != other.op.get_config()["dtype"]:
            raise NoOperatorError
        inputs, like = tensors_of(one)
        others, others_like = tensors_of(other)
        arguments.like.extend(like)
        arguments.written([*inputs, *like], [*others, *others_like])
        arguments.inputs = inputs
        args = arguments.merged(one.op.arguments, other.op.arguments)
        keywords = arguments.merged(one.op.keywords, other.op.keywords)
        function = one.op.function
    elif isinstance(one.op, keras.Layer):
        raise NoOperatorError
    else:
        function = function_name(one.op)
        args = arguments.written(list(one.args), list(other.args))
        settings, twin = ({k: v for k, v in op.get_config().items() if k != "name"} for op in (one.op, other.op))
        if settings.keys() != twin.keys() or one.kwargs.keys() != other.kwargs.keys():
            raise NoOperatorError
        keywords = {key: arguments.written(settings[key], twin[key]) for key in settings}
        keywords |= {key: arguments.written(one.kwargs[key], other.kwargs[key]) for key in one.kwargs}
    if not arguments.inputs:
        raise NoOperatorError
    called = (arguments.inputs, arguments.like) if arguments.like else (arguments.inputs,)
    return Operator(function, args, keywords, name=one.op.name), called, {}


def tensors_of(call: Any) -> tuple[list[Any], list[Any]]:
    """The tensors that an `Operator` is called on, and those whose sizes it takes."""
    inputs, *like = call.args
    return list(inputs), list(tree.flatten(like))
