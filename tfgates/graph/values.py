"""What is known of a channel that is not live: a number, some constant, or nothing.

A walk over actual gates knows the number. A symbolic walk speaks for whatever weights and statistics
training may leave: of a constant that has met any it knows only that it is one, `GENERIC`, which may or
may not be 0. Numbers are left where the structure alone makes them: the 0 behind a closed gate, and
what functions without weights make of it.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfgates.graph.formula import FALSE, TRUE

if TYPE_CHECKING:
    from tfgates.graph.walk import Walk

# Some constant, the same at all places, whatever it is.
GENERIC = np.inf

# Where a function is tried: one that is not finite at all of them may make no constant of a constant.
PROBES = (-10.0, -1.0, -0.5, 0.0, 0.5, 1.0, 10.0)


def is_known(value: np.ndarray) -> Any:
    """Where `value` is a constant: a number or `GENERIC`."""
    return ~np.isnan(value)


def is_generic(value: np.ndarray) -> Any:
    """Where `value` is a constant that no number is known of."""
    return np.isposinf(value)


def numbers(value: np.ndarray) -> np.ndarray:
    """`value` with what is no finite number as nan."""
    return np.where(np.isfinite(value), value, np.nan)


def through_weights(value: np.ndarray, keeps_zero: bool) -> np.ndarray:
    """The constants behind weights that may be anything.

    Args:
        value: array of constants.
        keeps_zero: bool, whether 0 stays 0 for any weights.
    """
    known = np.where(is_known(value), GENERIC, np.nan)
    return np.where(value == 0.0, 0.0, known) if keeps_zero else known


def through_gate(
    walk: "Walk", live: np.ndarray, value: np.ndarray, literal: np.ndarray, factor: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What is known behind a gate: `(live, value)`; a closed unit is the constant 0."""
    if walk.symbolic:
        # Not live is what is closed here, or closed before: 0 in one case, a multiple of `value` in the other.
        closed = np.where(live == TRUE, 0.0, through_weights(value, keeps_zero=True))
        value = np.where(literal == TRUE, value, closed)
    else:
        value = np.where(literal == FALSE, 0.0, value * factor)
    return walk.formulas.both(live, literal), value


def map_constants(function: Callable[..., Any], value: np.ndarray) -> np.ndarray:
    """`function` applied to the constants in `value`, each distinct one once; nan stays nan.

    Args:
        function: from a tensor `(n, 1)` to one of the same shape, without weights.
        value: array of constants: numbers, `GENERIC`, or nan.
    """

    def call(columns: list[np.ndarray]) -> np.ndarray:
        column = keras.ops.convert_to_tensor(columns[0].astype("float32")[:, None])
        return np.asarray(keras.ops.convert_to_numpy(function(column)), np.float64).reshape(-1)

    return combine_constants(call, [value])


def combine_constants(function: Callable[..., Any], values: list[Any]) -> np.ndarray:
    """`function` of constants, each distinct choice of them once; nan where one of them is not known.

    Args:
        function: from a list of float arrays `(n,)`, one for each operand, to one such array, without
            weights.
        values: list of arrays of constants: numbers, `GENERIC`, or nan.

    Returns:
        Array of numbers, of `GENERIC` where an operand is that, and of nan where the result is not
        finite, or may not be.
    """
    stacked = np.asarray(values, np.float64)
    known = is_known(stacked).all(axis=0)
    result = np.full(stacked.shape[1:], np.nan)
    if not known.any():
        return result
    distinct, inverse = np.unique(stacked[:, known], axis=1, return_inverse=True)
    generic = is_generic(distinct).any(axis=0)
    found = np.full(distinct.shape[1], np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if not generic.all():
            found[~generic] = numbers(function(list(distinct[:, ~generic])))
        for i in np.flatnonzero(generic):
            if np.all(np.isfinite(function(_probes(distinct[:, i])))):
                found[i] = GENERIC
    result[known] = found[inverse.reshape(-1)]
    return result


def _probes(operands: np.ndarray) -> list[Any]:
    """What to try a function on: each of `PROBES` for operands of which no number is known."""
    generic = np.flatnonzero(is_generic(operands))
    # All their combinations; of many operands some of them.
    choices = np.array(list(itertools.product(PROBES, repeat=min(len(generic), 3)))).T
    columns = np.repeat(operands[:, None], choices.shape[1], axis=1)
    columns[generic] = choices[np.arange(len(generic)) % len(choices)]
    return list(columns)
