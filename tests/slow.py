"""Which cases of a parametrised test the quick suite runs."""

import pytest


def others_slow(cases, quick):
    """The cases for `pytest.mark.parametrize`; those that are not in `quick` are marked as slow.

    Args:
        cases: iterable of values, or of tuples of values.
        quick: the cases that the quick suite runs too, or how many of the first.
    """
    cases = list(cases)
    chosen = cases[:quick] if isinstance(quick, int) else list(quick)
    assert all(case in cases for case in chosen)
    parameters = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        parameters.append(pytest.param(*values, marks=() if case in chosen else pytest.mark.slow))
    return parameters
