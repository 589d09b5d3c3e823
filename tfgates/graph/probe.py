"""Does a function treat each number by itself? Found out by what it does, not by its name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfgates.backend import full_precision

# Numbers of all these sizes are tried, and 0: what acts on large ones alone is seen too.
SMALLEST, LARGEST = 1e-3, 1e3
# Implementations round differently at the end of a vector register.
RELATIVE, ABSOLUTE = 1e-5, 1e-6


def sample(
    generator: np.random.Generator, shape: Sequence[int], dtype: str = "float32", largest: float = LARGEST
) -> np.ndarray:
    """Random numbers of either sign whose sizes range from `SMALLEST` to `largest`, some of them 0 and some whole."""
    if dtype == "bool":
        return generator.random(shape) < 0.5
    if "int" in dtype:
        return generator.integers(0, 5, shape).astype(dtype)
    size = 10.0 ** generator.uniform(np.log10(SMALLEST), np.log10(largest), shape)
    values = size * generator.choice([-1.0, 1.0], shape)
    kind = generator.random(shape)
    return np.where(kind < 0.05, 0.0, np.where(kind < 0.1, np.round(values), values)).astype("float32")


def evaluate(function: Callable[..., Any], *values: np.ndarray) -> np.ndarray:
    """`function` of arrays as an array."""
    with full_precision():
        result = function(*(ops.convert_to_tensor(v) for v in values))
    return np.asarray(ops.convert_to_numpy(ops.cast(result, "float32") if "float" in str(result.dtype) else result))


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal up to rounding; infinity and nan equal themselves."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))


def obstacle(function: Callable[..., Any], shape: Sequence[int], dtypes: Sequence[str] = ("float32",)) -> str | None:
    """Why a function is not one of single numbers, alike at all places and channels; None if it is.

    It is called on random numbers of `shape` (see `sample`), and must give the same again, the same
    where the numbers have changed places, where other numbers beside them are exchanged for larger
    and smaller ones, and in a column of their own; equal up to a relative 1e-5 or an absolute 1e-6.

    Args:
        function: takes one tensor for each of `dtypes` and returns a tensor.
        shape: shape of the tensors.
        dtypes: what they hold.

    Returns:
        None, or what is said of the function.
    """
    generator = np.random.default_rng(0)
    x = [sample(generator, shape, dtype) for dtype in dtypes]
    try:
        y = evaluate(function, *x)
        if y.shape != tuple(shape):
            return "changes the shape"
        if not alike(evaluate(function, *x), y):
            return "is random"
        for _ in range(2):
            order = generator.permutation(y.size)
            moved = evaluate(function, *(v.reshape(-1)[order].reshape(shape) for v in x))
            if not alike(moved.reshape(-1), y.reshape(-1)[order]):
                return "treats channels or places differently, or mixes them"
        for share in (0.1, 0.5, 0.9):
            kept = generator.random(shape) < share
            beside = [np.where(kept, v, sample(generator, shape, d)) for v, d in zip(x, dtypes, strict=True)]
            if not alike(evaluate(function, *beside)[kept], y[kept]):
                return "mixes channels or places"
        if not alike(evaluate(function, *(v.reshape(-1, 1) for v in x)), y.reshape(-1, 1)):
            return "treats tensors of other shapes differently"
    except Exception as error:
        # A function of the user's can raise anything.
        return f"cannot be tried on numbers: {type(error).__name__}"
    return None


def scales_along(function: Callable[..., Any]) -> bool:
    """Whether f(z * x) = z * f(x) for z >= 0, on numbers of up to a million."""
    generator = np.random.default_rng(0)
    x = sample(generator, (500, 1), largest=1e6)
    y = evaluate(function, x)
    with np.errstate(invalid="ignore"):
        return all(
            bool(np.allclose(evaluate(function, (x * z).astype("float32")), y * z, rtol=RELATIVE, atol=0.0))
            for z in (0.0, 0.25, 3.7)
        )
