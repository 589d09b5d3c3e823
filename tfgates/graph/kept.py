"""Putting variables back to the values that they had."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfgates.backend import array


@contextlib.contextmanager
def values_kept(variables: Iterable[Any], only_on_error: bool = False) -> Iterator[None]:
    """Puts variables back to the values that they have now; those that have not changed are not assigned.

    Args:
        variables: the variables, such as the seeds, averages and states that calls of a model change.
        only_on_error: bool. True: what is done within it stands, all or nothing. Defaults to False.
    """
    before = [(variable, array(variable)) for variable in variables]
    try:
        yield
    except BaseException:
        _put_back(before)
        raise
    if not only_on_error:
        _put_back(before)


def _put_back(before: list[tuple[Any, np.ndarray]]) -> None:
    for variable, value in before:
        if not np.array_equal(array(variable), value, equal_nan=np.issubdtype(value.dtype, np.floating)):
            variable.assign(value)
