"""Callbacks that follow two trainings: that of a whole network, and that of what pruning leaves of it."""

import contextlib
import copy
import csv
import os
from collections.abc import Iterator
from typing import Any

import keras

from tfgates.callbacks.resume import Resume
from tfgates.training.callback_checks import flat
from tfgates.training.callback_marks import says
from tfgates.training.wrapped import Wrapped

# In the folder of a TensorBoard: the runs of the pruned network.
FINE_TUNING = "fine-tuning"


class AcrossPhases:
    """The callbacks of `tfgates.compress`, for each of its two trainings.

    Args:
        callbacks: a list of Keras callbacks, one, or None.
        resumed: bool, whether an earlier process has begun the same run.

    Raises:
        ValueError: for callbacks that can follow one network alone.
    """

    def __init__(self, callbacks: Any, resumed: bool = False) -> None:
        check_for_two_networks(callbacks)
        self.callbacks = flat(callbacks)
        self._resumed = resumed
        self._initial_best = {id(each): each.best for each in self.callbacks if hasattr(each, "save_best_only")}
        # As they are before the first training; nothing in them is of interest to whoever made them.
        self._fresh = {
            id(each): copy.copy(each) for each in self.callbacks if isinstance(each, keras.callbacks.SwapEMAWeights)
        }

    def of_whole(self, has_gates: bool) -> list[Any]:
        """For the network before it is pruned."""
        followed = [each for each in self.callbacks if has_gates or not says(each, "needs_gates")]
        return [SameFile(each) if self._resumed and _is_csv(each) else each for each in followed]

    @contextlib.contextmanager
    def of_pruned(self) -> Iterator[list[Any]]:
        """For the network that is left, within the context."""
        followed, folders = [], []
        for callback in self.callbacks:
            if says(callback, "needs_gates") and not says(callback, "follows_pruning"):
                continue
            if id(callback) in self._initial_best:
                # The best of another network is no measure, and would stand in its file for good.
                callback.best = self._initial_best[id(callback)]
            if isinstance(callback, keras.callbacks.TensorBoard):
                folders.append((callback, callback.log_dir))
                callback.log_dir = os.path.join(callback.log_dir, FINE_TUNING)
            followed.append(SameFile(callback) if _is_csv(callback) else self._fresh.get(id(callback), callback))
        try:
            yield followed
        finally:
            for board, folder in folders:
                board.log_dir = folder


class SameFile(Wrapped):
    """Lets a `keras.callbacks.CSVLogger` go on with the file of an earlier training, in the columns of that."""

    def on_train_begin(self, logs: Any = None) -> None:
        # What it has written in this process, or an earlier one.
        names = self.callback.keys or columns(self.callback.filename, self.callback.sep)
        append, self.callback.append = self.callback.append, True
        super().on_train_begin(logs)
        self.callback.append = append
        if names:
            self.callback.keys = names


def columns(path: str, separator: str) -> list[str]:
    """The names in the first row of a file of a CSVLogger but for the epoch; none where there is no file."""
    if not os.path.exists(path):
        return []
    with open(path, newline="") as file:
        return next(csv.reader(file, delimiter=separator), [])[1:]


def check_for_two_networks(callbacks: Any) -> None:
    """Refuses callbacks that can follow one network alone, and says what to write."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        raise ValueError(
            "`callbacks` must be a list of callbacks: `compress` trains two networks. Received: a CallbackList"
        )
    for callback in flat(callbacks):
        if isinstance(callback, Resume):
            raise ValueError("`callbacks` must not hold a Resume: give its folder as `resume`. Received: one")
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`callbacks` must not hold a BackupAndRestore, whose folder can serve one network, where `compress` "
                f"trains two: write `resume={callback.backup_dir!r}` in its place, which goes on in either. "
                "Received: one"
            )
        if isinstance(callback, keras.callbacks.OrbaxCheckpoint) and callback.save_freq != "epoch":
            raise ValueError(
                "`callbacks` must not hold an OrbaxCheckpoint that saves by steps, whose numbers begin again with the "
                'second training of `compress` and are taken then: write `save_freq="epoch"`. '
                f"Received: save_freq={callback.save_freq}"
            )


def _is_csv(callback: Any) -> bool:
    return isinstance(callback, keras.callbacks.CSVLogger)
