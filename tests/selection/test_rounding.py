"""Widths that are asked for."""

import numpy as np
import pytest

from tfgates.selection import Rounding, Side


def filled(rounding, keep, groups, root=None, score=None):
    keep = np.array(keep, bool)
    root = np.arange(len(keep)) if root is None else np.array(root)
    score = np.zeros(len(keep)) if score is None else np.array(score)
    sides = [Side(root, np.array(g), score) for g in groups]
    return rounding.fill_up(keep, lambda _: sides, lambda k: k[root]).astype(int).tolist()


def test_widths_are_filled_with_the_best():
    assert filled(Rounding(0, 2), [1, 0, 0, 0], [[0, 1, 2, 3]], score=[0, 1, 3, 2]) == [1, 0, 1, 0]
    assert filled(Rounding(3, 1), [1, 0, 0, 0], [[0, 1, 2, 3]], score=[0, 1, 3, 2]) == [1, 0, 1, 1]
    assert filled(Rounding(0, 8), [1, 0, 0, 0], [[0, 1, 2, 3]]) == [1, 1, 1, 1]
    # A layer that is closed altogether is not rounded up.
    assert filled(Rounding(0, 2), [0, 0], [[0, 1]]) == [0, 0]


def test_what_is_kept_for_one_side_counts_for_the_other():
    # Channels 0 and 3 go together: keeping 3 for the second side keeps 0, which rounds the first up to 4.
    sides = [[0, 1, 2, 4], [3, 5]]
    kept = filled(Rounding(0, 2), [0, 1, 1, 0, 0, 1], sides, root=[0, 1, 2, 0, 4, 5])
    assert kept == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("arguments", [(-1, 1), (0.5, 1), (0, 0), (0, True), (True, 1)])
def test_refuses_widths_that_are_none(arguments):
    with pytest.raises(ValueError, match="must be an integer of at least [01]. Received: "):
        Rounding(*arguments)
