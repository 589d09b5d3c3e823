"""What callbacks say of themselves."""

import keras
import pytest

import tfgates
from tfgates.training.callback_marks import says


@pytest.mark.parametrize("mark", ["needs_gates", "follows_pruning", "closes_gates"])
def test_a_callback_that_says_nothing_is_no_callback_of_gates(mark):
    assert not says(keras.callbacks.EarlyStopping(), mark)


def test_the_callbacks_of_gates_say_what_they_are():
    scaling, monitor = tfgates.callbacks.SparseScaling(0.1), tfgates.callbacks.SparsityMonitor()
    assert [says(scaling, mark) for mark in ("needs_gates", "follows_pruning", "closes_gates")] == [True, False, True]
    assert [says(monitor, mark) for mark in ("needs_gates", "follows_pruning", "closes_gates")] == [True, True, False]


def test_an_unknown_mark_is_an_error():
    with pytest.raises(AttributeError, match="closes_gate'"):
        says(keras.callbacks.EarlyStopping(), "closes_gate")
