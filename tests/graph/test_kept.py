"""Variables are put back, always or where something fails."""

import keras
import numpy as np
import pytest

from tfgates.graph.kept import values_kept


def variables():
    count = keras.Variable(3, dtype="int32", trainable=False)
    return [keras.Variable(np.array([1.0, np.nan]), dtype="float32"), count]


def change(all_of):
    for variable in all_of:
        variable.assign(variable + 1)


def test_they_are_put_back():
    both = variables()
    with values_kept(both):
        change(both)
        assert int(both[1]) == 4
    np.testing.assert_array_equal(both[0], [1.0, np.nan])
    assert int(both[1]) == 3


@pytest.mark.parametrize("only_on_error", [True, False])
def test_they_are_put_back_where_something_fails(only_on_error):
    both = variables()
    with pytest.raises(KeyboardInterrupt), values_kept(both, only_on_error):
        change(both)
        raise KeyboardInterrupt
    assert int(both[1]) == 3


def test_all_or_nothing_lets_stand_what_succeeds():
    both = variables()
    with values_kept(both, only_on_error=True):
        change(both)
    assert int(both[1]) == 4
