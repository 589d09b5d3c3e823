"""Following calls that take sizes as numbers where a model leaves them open: the number of examples, of steps."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.graph.own_weights import following, is_followed, same_sources
from tfgates.graph.twins import Twins, without_name
from tfgates.graph.unrolling import Call, NotOpenedError, Unrolled, is_array, unroll
from tfgates.layers import Operator

# For each open axis sizes that are no sizes of other axes: two near each other, their difference that of no other axis,
# and two that are larger than a limit may be with which a `call` compares them; what one axis has more than another is
# another number each time. The first are those of the examples, few, since arrays are made for them.
SIZES = (
    (101, 103, 157, 157),
    (107, 113, 1031, 397),
    (109, 127, 1061, 401),
    (131, 139, 1109, 409),
    (137, 149, 1129, 419),
)

# Which of them.
FIRST, SECOND, FAR = 0, 1, (2, 3)

# So far from an open size, or from two times that, what is said of numbers may depend on it.
MOST_NEAR = 3

# What `Operator` layers make of sizes alone.
MADE = ("keras.ops.arange", "keras.ops.full")

# So many open axes are taken apart in all ways.
MOST_OPEN = len(SIZES) - 1


def for_any_size(
    call: Callable[..., Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    reason: NotOpenedError,
    proven: Callable[..., Any],
    follow: Callable[..., Unrolled] = unroll,
    beside: Collection[int] = (),
) -> Unrolled:
    """Follows a call for two sets of sizes, and once more with what depends on them replaced.

    What may depend on them: shapes that `keras.ops.reshape` is given, slices up to the end of an axis, arrays that
    are the same all along such an axis (one entry of them stays, which is broadcast), and what `keras.ops.arange`,
    `ones`, `zeros` and `full` make for such a size (of the inputs themselves, so that it follows their sizes).

    Args:
        call: takes a list of tensors.
        shapes, dtypes: of these tensors; None for sizes that are open.
        holder: the layer whose layers `call` calls.
        reason: why it cannot be followed with open sizes.
        proven: function of an `Unrolled` that returns it, or raises a `NotOpenedError`.
        follow: unrolls it, as `unroll` does.
        beside: numbers of the tensors whose first axis is not that of the examples.

    Raises:
        NotOpenedError: where it uses a size otherwise, or `proven` says that it computes something else.
    """
    if not any(shape and shape[0] is None for shape in shapes):
        raise reason
    coarsest, *finer = open_axes(shapes, beside)

    def run(axes: dict[Any, Any], which: int) -> Unrolled:
        return followed(call, shapes, dtypes, holder, axes, which, follow)

    def for_these(axes: dict[Any, Any], one: Unrolled, other: Unrolled) -> Unrolled:
        before = copied(one)
        compare(one, other, axes, SECOND, reason)
        check_far(before, one, axes, run)
        return proven(with_open_sizes(one, shapes, dtypes, holder))

    # What cannot be followed where all sizes are alike cannot where they differ.
    one, other = (run(coarsest, which) for which in (FIRST, SECOND))
    for axes in finer:
        try:
            return for_these(axes, *(run(axes, which) for which in (FIRST, SECOND)))
        except NotOpenedError:
            continue
    return for_these(coarsest, one, other)


def open_axes(shapes: list[Any], beside: Collection[int] = ()) -> list[dict[tuple[int, int], int]]:
    """Which open axes may have one size: ways to see it, each the number of the size by tensor and axis.

    All tensors whose first axis is open have one number of examples, those in `beside` apart. Of the other open axes
    all have one size at first, then none the same as another, then some of them (of up to `MOST_OPEN` axes).
    """
    places = [(i, axis) for i, shape in enumerate(shapes) for axis, size in enumerate(shape) if size is None]
    others = [(i, axis) for i, axis in places if axis or i in beside]
    examples = {(i, axis): 0 for i, axis in places if not axis and i not in beside}
    ways = sorted(partitions(len(others)), key=max, reverse=True) if 1 < len(others) <= MOST_OPEN else [[0]]
    # The coarsest is the last one.
    ways = [[0] * len(others), *(way for way in ways if max(way))] if others else [[]]
    return [examples | {place: 1 + part for place, part in zip(others, way, strict=True)} for way in ways]


def partitions(count: int) -> list[list[int]]:
    """All ways to part `count` things: for each the number of its part, the parts in order of their first."""
    ways: list[list[int]] = [[]]
    for _ in range(count):
        ways = [[*way, part] for way in ways for part in range(max(way, default=-1) + 2)]
    return ways


def sized(shapes: list[Any], axes: dict[Any, Any], which: int) -> list[tuple[Any, ...]]:
    """The shapes with one of the sizes of each open axis."""
    return [
        tuple(size if size is not None else SIZES[axes[i, axis]][which] for axis, size in enumerate(shape))
        for i, shape in enumerate(shapes)
    ]


def followed(
    call: Callable[..., Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    axes: dict[Any, Any],
    which: int,
    follow: Callable[..., Unrolled],
) -> Unrolled:
    """Unrolls a call for one set of sizes, with what is made for these sizes made of the inputs."""

    def wrapped(given: list[Any]) -> Any:
        places: dict[int, tuple[Any, int]] = {}
        # The number of examples last, and small tensors first: less is made of them.
        for (i, axis), number in sorted(axes.items(), key=lambda item: len(shapes[item[0][0]])):
            places.setdefault(SIZES[number][which], (given[i], axis))
        with made_of_inputs(places, [size for number in set(axes.values()) for size in SIZES[number]]):
            return call(given)

    return follow(wrapped, sized(shapes, axes, which), dtypes, holder)


def arange_type(*numbers: Any) -> str:
    """What `keras.ops.arange` makes of numbers."""
    return "int32" if all(isinstance(x, int) or x is None for x in numbers) else keras.config.floatx()


@contextlib.contextmanager
def made_of_inputs(places: dict[int, tuple[Any, int]], tried: list[int]) -> Iterator[None]:
    """Lets `keras.ops.arange`, `ones`, `zeros`, `full`, `minimum` and `maximum` be symbolic for the sizes in `places`.

    Args:
        places: by size a tensor and the axis of it that has the size.
        tried: the sizes of all runs: what is near one of them is made alike in each.
    """
    before = {name: getattr(ops, name) for name in ("arange", "ones", "zeros", "full", "minimum", "maximum")}

    def is_open(size: Any) -> bool:
        return is_followed() and isinstance(size, int) and not isinstance(size, bool) and size in places

    def depends(size: Any) -> bool:
        """Whether a number can be one that depends on an open size, as `1 - steps` and `2 * steps` do."""
        is_size = is_followed() and isinstance(size, int) and not isinstance(size, bool)
        return is_size and any(abs(size - times * x) <= MOST_NEAR for x in tried for times in (-2, -1, 1, 2))

    def made(name: str, arguments: list[Any], dtype: Any) -> Any:
        """What an operator makes of sizes: which of these are open ones shows when two runs are compared."""
        tensor, _ = next(iter(places.values()))
        with following(False):
            return Operator(f"keras.ops.{name}", arguments, {"dtype": dtype})([tensor])

    def along(size: int, dtype: Any) -> Any:
        tensor, axis = places[size]
        index = tuple(slice(None) if i == axis else 0 for i in range(len(tensor.shape)))
        return ops.ones_like(tensor, dtype=dtype)[index]

    def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None, **others: Any) -> Any:
        first, last = (0, start) if stop is None else (start, stop)
        counts = is_open(last) and isinstance(first, int) and first == 0 and step in (None, 1)
        if not others and not counts and (depends(first) or depends(last)):
            # From one end of what is near a step to the other, say.
            return made("arange", [first, last, 1 if step is None else step], dtype or arange_type(first, last, step))
        if not counts or others:
            return before["arange"](start, stop, 1 if step is None else step, dtype=dtype, **others)
        count = ops.cumsum(along(last, "int32"), axis=0) - 1
        return count if dtype in (None, "int32") else ops.cast(count, dtype)

    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        sizes = [shape] if isinstance(shape, int) else list(shape)
        if any(depends(size) and not is_open(size) for size in sizes) and isinstance(value, (int, float, bool)):
            return made("full", [sizes, value], keras.backend.standardize_dtype(dtype or keras.config.floatx()))
        if not any(is_open(size) for size in sizes):
            return before["full"](shape, value, dtype=dtype)
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        made_once = before["full"]([1 if is_open(size) else size for size in sizes], value, dtype=dtype)
        for i, size in enumerate(sizes):
            if is_open(size):
                wide = [1] * i + [-1] + [1] * (len(sizes) - i - 1)
                line = ops.reshape(along(size, "int32" if dtype == "bool" else dtype), wide)
                made_once = ops.logical_and(made_once, line > 0) if dtype == "bool" else made_once * line
        return made_once

    def bounded(name: str, x1: Any, x2: Any) -> Any:
        if is_open(x1) != is_open(x2) and isinstance(x1, int) and isinstance(x2, int):
            # As a window of attention is, which is no longer than the sequence.
            x1, x2 = (ops.sum(along(x, "int32")) if is_open(x) else x for x in (x1, x2))
        return before[name](x1, x2)

    ops.arange = arange
    ops.minimum = functools.partial(bounded, "minimum")
    ops.maximum = functools.partial(bounded, "maximum")
    ops.full = full
    ops.ones = lambda shape, dtype=None: full(shape, 1, dtype)
    ops.zeros = lambda shape, dtype=None: full(shape, 0, dtype)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(ops, name, function)


def compare(
    one: Unrolled, other: Unrolled, axes: dict[Any, Any], which: int, reason: NotOpenedError | None = None
) -> None:
    """Replaces what depends on sizes in the calls of a run for the first ones, by what another run has there.

    Args:
        one, other: the runs.
        axes: the number of the size of each open axis.
        which: for which of its sizes the other run is.
        reason: what to raise where they are not of the same calls.
    """
    if len(one.calls) != len(other.calls) or not same_sources(one.given, other.given):
        raise reason or NotOpenedError("it makes other calls for some sizes than for others")
    sizes = {
        (SIZES[number][FIRST], SIZES[number][which]): place for place, number in sorted(axes.items(), reverse=True)
    }
    twins = Twins(one, other, sizes)
    for call_one, call_other in zip(one.calls, other.calls, strict=True):
        twins.free(call_one, call_other)
        if isinstance(call_one.op, Operator) and call_one.op.function in MADE and len(call_one.args) == 1:
            # Some number that no size has to do with.
            function = getattr(ops, call_one.op.function.removeprefix("keras.ops."))
            made = function(*call_one.op.arguments, **call_one.op.keywords)
            call_one.op, call_one.args = None, (made,)


def check_far(one: Unrolled, found: Unrolled, axes: dict[Any, Any], run: Callable[..., Unrolled]) -> None:
    """Refuses a call that does something else for sizes beyond a limit, as `min(steps, 512)` does.

    Args:
        one: the run for the first sizes.
        found: the same with what depends on sizes replaced, by what another run has.
        axes: the number of the size of each open axis.
        run: makes the run for the sizes of an index.
    """
    if keras.config.backend() == "torch":
        # Where torch cannot tell what an operator makes, Keras lets it make it: as large as these sizes are.
        return
    for which in FAR:
        try:
            far = run(axes, which)
        except NotOpenedError:
            # The layer does not take such sizes.
            continue
        try:
            compare(one, far, axes, which)
        except NotOpenedError as error:
            raise NotOpenedError(f"{error}, or follows it up to a limit, or from one on") from error
        for near, other in zip(found.calls, one.calls, strict=True):
            if is_otherwise(near, other):
                name = getattr(near.op, "function", "an array")
                raise NotOpenedError(f"how {name} depends on sizes is not the same for all of them")
        return


def is_otherwise(near: Call, other: Call) -> bool:
    """Whether a call depends on near sizes in another way than on those far away."""
    if near.op is None or other.op is None:
        arrays = [call.args[0] for call in (near, other) if is_array(call.args[0])]
        return near.op is not other.op or (len(arrays) == 2 and not np.array_equal(*map(ops.convert_to_numpy, arrays)))
    return isinstance(near.op, Operator) and without_name(near.op) != without_name(other.op)


def copied(run: Unrolled) -> Unrolled:
    """The same with calls of its own."""
    return dataclasses.replace(run, calls=[dataclasses.replace(call) for call in run.calls])


def with_open_sizes(run: Unrolled, shapes: list[Any], dtypes: list[Any], holder: keras.Layer) -> Unrolled:
    """What was followed for the first sizes, with what depends on them replaced, for open ones."""
    found = unroll(lambda values: run.run(values, symbolic=True), shapes, dtypes, holder, run.given)
    prefixes = {id(call.op): call.prefix for call in run.calls}
    for call in found.calls:
        call.prefix = prefixes.get(id(call.op), "")
    return found
