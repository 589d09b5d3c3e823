"""What is under way of a training step belongs to a thread, and is put back whatever happens."""

import threading

import pytest

from tfgates.gates.step import step


def test_entries_are_put_back_where_something_fails():
    with pytest.raises(KeyError), step.having(recording="outer", computing="model"):
        with step.having(recording="inner"):
            assert (step.recording, step.computing) == ("inner", "model")
        assert step.recording == "outer"
        raise KeyError
    assert step.recording is None and step.computing is None


def test_another_thread_has_a_step_of_its_own():
    found = []
    with step.having(recording="here", calls=("model",)):
        thread = threading.Thread(target=lambda: found.append((step.recording, step.calls, len(step.owed))))
        thread.start()
        thread.join()
    assert found == [(None, (), 0)]
