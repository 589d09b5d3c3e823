"""Two runs of the same calls for different sizes: what differs between them depends on the sizes."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph.as_operators import Arguments, NoOperatorError, as_operator
from tfgates.graph.classes import is_own
from tfgates.graph.unrolling import Call, NotOpenedError, Unrolled
from tfgates.layers.as_many import AsMany

# Operators that only repeat what has one entry along an axis, as those that read it do by themselves.
REPEATING = ("BroadcastTo", "Tile", "Repeat")

# Operators that do so by themselves.
BROADCASTING = ("Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide", "Where")


class UnequalError(Exception):
    """Two runs are given different arguments."""


class Twins:
    """Two runs of the same calls, for different sizes.

    Args:
        one, other: the runs.
        places: by each open size of the first run and that of the second the number of an input that has it, and
            the axis.
    """

    def __init__(self, one: Unrolled, other: Unrolled, places: dict[tuple[int, int], tuple[int, int]]) -> None:
        self.run, self.sizes = one, dict(list(places))
        self.places = {sizes: (one.inputs[i], axis) for sizes, (i, axis) in places.items()}
        self.first, self.second = (
            {id(t): i for i, t in enumerate([*tensors_before(run), *(t for call in run.calls for t in call.outputs)])}
            for run in (one, other)
        )

    def free(self, one: Call, other: Call) -> None:
        """Replaces sizes in a call of the first run; refuses where they are used as numbers.

        What Keras has no operator for at any size becomes an `Operator`.

        Raises:
            NotOpenedError: naming the operation.
        """
        try:
            self._free(one, other)
        except NotOpenedError:
            try:
                one.op, one.args, one.kwargs = as_operator(one, other, Arguments(self.is_same, self.places))
            except NoOperatorError:
                # The reason is the first error's.
                pass
            else:
                return
            raise

    def is_same(self, a: Any, b: Any) -> bool:
        """Whether two symbolic tensors are at the same place of both runs."""
        return self.first.get(id(a)) == self.second.get(id(b), -1)

    def _free(self, one: Call, other: Call) -> None:
        try:
            args, kwargs = tree.map_structure(self.freed, (one.args, one.kwargs), (other.args, other.kwargs))
            if type(one.op).__name__ == "GetItem":
                self.check_ends(one.args[0], one.args[1], args[1])
        except (UnequalError, ValueError, TypeError) as error:
            # Other structures, too.
            raise self.refused(one) from error
        same = type(one.op) is type(other.op)
        if isinstance(one.op, keras.Layer):
            # One that the call makes has no weights, and says what it is.
            same = one.op is other.op or (same and not one.op.variables and is_alike(one.op, other.op))
        elif same and type(one.op).__name__ == "Reshape":
            one.op = self.reshape(one, other)
        elif same and type(one.op).__name__ in REPEATING and self.only_repeats(one):
            if not self.broadcast_by_readers(one):
                one.op, one.args, one.kwargs = self.as_many(one)
                return
            # Read as it is, and broadcast where it is read.
            one.op = None
        elif same:
            same = self.equal(without_name(one.op), without_name(other.op))
        if not same:
            raise self.refused(one)
        one.args, one.kwargs = args, kwargs

    def refused(self, call: Call) -> NotOpenedError:
        return NotOpenedError(f"it uses the number of examples or steps in {type(call.op).__name__} as a number")

    def equal(self, a: dict[Any, Any], b: dict[Any, Any]) -> bool:
        try:
            tree.map_structure(self.freed, a, b)
        except (UnequalError, ValueError, TypeError):
            return False
        return True

    def freed(self, a: Any, b: Any) -> Any:
        """An argument of the first run for any sizes.

        Raises:
            UnequalError: if it is not the same in both runs.
        """
        if isinstance(a, keras.KerasTensor):
            same = self.is_same(a, b)
        elif isinstance(a, slice) and isinstance(b, slice):
            a, same = self.whole_slice(a, b)
        elif hasattr(a, "shape") or hasattr(b, "shape"):
            return self.array(a, b)
        else:
            same = a is b or a == b
        if not same:
            raise UnequalError
        return a

    def whole_slice(self, a: slice, b: slice) -> tuple[slice, bool]:
        """A slice with an end that is an open size without it, which is the end of an axis of that size."""
        stop = None if a.stop in self.sizes and self.sizes[a.stop] == b.stop else a.stop
        return slice(a.start, stop, a.step), (a.start, a.step, stop) == (b.start, b.step, b.stop if stop else None)

    def check_ends(self, x: Any, key: Any, freed: Any) -> None:
        """Refuses a slice without its end where that is an open size, but not the size of the axis.

        Raises:
            UnequalError: if it is so.
        """
        pairs = list(zip(*(k if isinstance(k, tuple) else (k,) for k in (key, freed)), strict=True))
        ellipsis = next((i for i, (a, _) in enumerate(pairs) if a is Ellipsis), len(pairs))
        for i, (a, b) in enumerate(pairs):
            if isinstance(a, slice) and a.stop != b.stop:
                # `None` in a key makes an axis.
                made = sum(k is None for k, _ in (pairs[:i] if i < ellipsis else pairs[i:]))
                axis = i - made if i < ellipsis else len(x.shape) - (len(pairs) - i) + made
                if x.shape[axis] != a.stop:
                    raise UnequalError

    def array(self, a: Any, b: Any) -> Any:
        """An array with one entry where it has as many alike as an open size."""
        x, y = (np.asarray(ops.convert_to_numpy(v)) for v in (a, b))
        if x.ndim == y.ndim and x.shape != y.shape:
            for axis, (size, twin) in enumerate(zip(x.shape, y.shape, strict=True)):
                alike = np.all(x == x.take([0], axis=axis)) if size else False
                if self.sizes.get(size) == twin and alike:
                    x, y = x.take([0], axis=axis), y.take([0], axis=axis)
            a = ops.convert_to_tensor(x)
        if x.shape != y.shape or not np.array_equal(x, y):
            raise UnequalError
        return a

    def only_repeats(self, call: Call) -> bool:
        """Whether a call does nothing but repeat the one entry along axes of open sizes."""
        x, y = call.args[0], call.outputs[0]
        if not isinstance(x, keras.KerasTensor) or len(x.shape) != len(y.shape) or x.dtype != y.dtype:
            return False
        return all(a == b or (a == 1 and b in self.sizes) for a, b in zip(x.shape, y.shape, strict=True))

    def broadcast_by_readers(self, call: Call) -> bool:
        """Whether what a call makes is read only where it may as well have one entry along axes of open sizes."""
        made = {id(y) for y in call.outputs}
        readers = [c for c in self.run.calls if any(id(x) in made for x in tree.flatten((c.args, c.kwargs)))]
        return all(type(c.op).__name__ in BROADCASTING and not isinstance(c.op, keras.Layer) for c in readers)

    def as_many(self, call: Call) -> tuple[Any, Any, Any]:
        """The operation, and its arguments, that repeats the one example of a call as often as there are examples.

        Raises:
            NotOpenedError: where it repeats along other axes.
        """
        x, y = call.args[0], call.outputs[0]
        given = next((t for t in self.run.inputs if t.shape and t.shape[0] == y.shape[0]), None)
        if given is None or tuple(x.shape[1:]) != tuple(y.shape[1:]):
            raise self.refused(call)
        return AsMany(), (x, given), {}

    def reshape(self, one: Call, other: Call) -> Any:
        """The operation that gives a tensor its new shape for any sizes.

        Raises:
            NotOpenedError: where no shape with one -1, behind the examples as they are, says it.
        """
        # Sizes of what comes out, where what was asked for may have a -1 of its own.
        made = zip(one.outputs[0].shape, other.outputs[0].shape, strict=True)
        sizes = [a if a == b else -1 for a, b in made]
        given = (one.args[0].shape or (None,))[0]
        examples = given in self.sizes and other.args[0].shape[0] == self.sizes[given]
        if examples and one.outputs[0].shape[0] == given and sizes[1:].count(-1) <= 1:
            return keras.layers.Reshape(sizes[1:])
        if sizes.count(-1) > 1:
            raise self.refused(one)
        return type(one.op)(tuple(sizes))


def tensors_before(run: Unrolled) -> list[Any]:
    """What the calls of a run read that none of them made."""
    return [*run.inputs, *(each.tensor for each in run.given)]


def is_alike(one: keras.Layer, other: keras.Layer) -> bool:
    """Whether two layers of one class have the same config, which Keras makes of all that they were made with."""
    try:
        return not is_own(type(one), "get_config") and without_name(one) == without_name(other)
    except NotImplementedError:
        # It cannot make one.
        return False


def without_name(op: Any) -> dict[Any, Any]:
    """The config of an operator, its name apart."""
    return {key: value for key, value in op.get_config().items() if key != "name"}
