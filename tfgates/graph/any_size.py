"""Following calls that take sizes as numbers where a model leaves them open: the number of examples, of steps."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tfgates.graph.own_weights import is_followed, same_sources
from tfgates.graph.twins import Twins
from tfgates.graph.unrolling import NotOpenedError, Unrolled, unroll

# For each open axis two sizes that are no sizes of other axes. The first are those of the examples.
PAIRS = ((101, 103), (107, 109), (113, 127), (131, 137), (139, 149))

# So many open axes are taken apart in all ways.
MOST_OPEN = len(PAIRS) - 1


def for_any_size(
    call: Callable[..., Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    reason: NotOpenedError,
    proven: Callable[..., Any],
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

    Raises:
        NotOpenedError: where it uses a size otherwise, or `proven` says that it computes something else.
    """
    if not shapes or not all(shape and shape[0] is None for shape in shapes):
        raise reason
    coarsest, *finer = open_axes(shapes)
    # What cannot be followed where all sizes are alike cannot where they differ.
    one, other = (followed(call, shapes, dtypes, holder, coarsest, which) for which in (0, 1))
    for axes in finer:
        try:
            first, second = (followed(call, shapes, dtypes, holder, axes, which) for which in (0, 1))
            return proven(freed(first, second, axes, shapes, dtypes, holder, reason))
        except NotOpenedError:
            continue
    return proven(freed(one, other, coarsest, shapes, dtypes, holder, reason))


def open_axes(shapes: list[Any]) -> list[dict[tuple[int, int], int]]:
    """Which open axes may have one size: ways to see it, each the number of the size by tensor and axis.

    All tensors have one number of examples. Of the other open axes all have one size at first, then none the
    same as another, then some of them (of up to `MOST_OPEN` axes).
    """
    others = [(i, axis) for i, shape in enumerate(shapes) for axis in range(1, len(shape)) if shape[axis] is None]
    examples = {(i, 0): 0 for i in range(len(shapes))}
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
    """The shapes with the first or the second size of each open axis."""
    return [
        tuple(size if size is not None else PAIRS[axes[i, axis]][which] for axis, size in enumerate(shape))
        for i, shape in enumerate(shapes)
    ]


def followed(
    call: Callable[..., Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    axes: dict[Any, Any],
    which: int,
) -> Unrolled:
    """Unrolls a call for one set of sizes, with what is made for these sizes made of the inputs."""

    def wrapped(given: list[Any]) -> Any:
        places: dict[int, tuple[Any, int]] = {}
        # The number of examples last, and small tensors first: less is made of them.
        for (i, axis), number in sorted(axes.items(), key=lambda item: len(shapes[item[0][0]])):
            places.setdefault(PAIRS[number][which], (given[i], axis))
        with made_of_inputs(places):
            return call(given)

    return unroll(wrapped, sized(shapes, axes, which), dtypes, holder)


@contextlib.contextmanager
def made_of_inputs(places: dict[int, tuple[Any, int]]) -> Iterator[None]:
    """Lets `keras.ops.arange`, `ones`, `zeros` and `full` make symbolic tensors for the sizes in `places`.

    Args:
        places: by size a tensor and the axis of it that has the size.
    """
    before = {name: getattr(ops, name) for name in ("arange", "ones", "zeros", "full")}

    def is_open(size: Any) -> bool:
        return is_followed() and isinstance(size, int) and not isinstance(size, bool) and size in places

    def along(size: int, dtype: Any) -> Any:
        tensor, axis = places[size]
        index = tuple(slice(None) if i == axis else 0 for i in range(len(tensor.shape)))
        return ops.ones_like(tensor, dtype=dtype)[index]

    def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None, **others: Any) -> Any:
        first, last = (0, start) if stop is None else (start, stop)
        counts = is_open(last) and isinstance(first, int) and first == 0 and step in (None, 1)
        if not counts or others:
            return before["arange"](start, stop, 1 if step is None else step, dtype=dtype, **others)
        count = ops.cumsum(along(last, "int32"), axis=0) - 1
        return count if dtype in (None, "int32") else ops.cast(count, dtype)

    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        sizes = [shape] if isinstance(shape, int) else list(shape)
        if not any(is_open(size) for size in sizes):
            return before["full"](shape, value, dtype=dtype)
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
        made = before["full"]([1 if is_open(size) else size for size in sizes], value, dtype=dtype)
        for i, size in enumerate(sizes):
            if is_open(size):
                wide = [1] * i + [-1] + [1] * (len(sizes) - i - 1)
                line = ops.reshape(along(size, "int32" if dtype == "bool" else dtype), wide)
                made = ops.logical_and(made, line > 0) if dtype == "bool" else made * line
        return made

    ops.arange = arange
    ops.full = full
    ops.ones = lambda shape, dtype=None: full(shape, 1, dtype)
    ops.zeros = lambda shape, dtype=None: full(shape, 0, dtype)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(ops, name, function)


def freed(
    one: Unrolled,
    other: Unrolled,
    axes: dict[Any, Any],
    shapes: list[Any],
    dtypes: list[Any],
    holder: keras.Layer,
    reason: NotOpenedError,
) -> Unrolled:
    """What was followed for two sets of sizes, for any."""
    if len(one.calls) != len(other.calls) or not same_sources(one.given, other.given):
        raise reason
    twins = Twins(one, other, {PAIRS[number]: place for place, number in sorted(axes.items(), reverse=True)})
    for call_one, call_other in zip(one.calls, other.calls, strict=True):
        twins.free(call_one, call_other)
    found = unroll(lambda values: one.run(values, symbolic=True), shapes, dtypes, holder, one.given)
    prefixes = {id(call.op): call.prefix for call in one.calls}
    for call in found.calls:
        call.prefix = prefixes.get(id(call.op), "")
    return found
