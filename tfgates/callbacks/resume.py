"""Going on after an interruption."""

import os
import pathlib
import re

import keras
import numpy as np

from tfgates.distribution import worker_of
from tfgates.files import write_whole

KEPT = 2


@keras.saving.register_keras_serializable(package="tfgates")
class Resume(keras.callbacks.Callback):
    """Saves the whole state of a training run after each epoch, and goes on from it when started again.

    What is saved: all variables of the model, among them the multipliers of a budget and the seeds of
    gates and of dropout, which no file of Keras holds for all layers, all variables of the optimizer, and
    the number of the epoch. A run that is started again with the same program, whatever ended
    it and whenever, does the epoch that was interrupted once more and ends, on CPUs to the bit, where it
    would have ended. That takes data in an order that depends on nothing but the epoch, such as
    `shuffle=False` or a `tf.data.Dataset` that is shuffled with a seed and
    `reshuffle_each_iteration=False`.

    State and epoch are one file, which appears whole or not at all, so that an end at any moment loses
    nothing else. (`keras.callbacks.BackupAndRestore` writes two, in place.) The last two are kept, also
    after the end: `fit` with more epochs goes on from there, with as many it has nothing left to do.

    With several workers each has a folder of its own, `worker-0` and so on, and all go on from the last
    epoch that all of them have: the folder must be shared between them.

    Args:
        folder: where to save, made if it is missing. One training run, one folder.

    Raises:
        ValueError: if `folder` holds the state of another model or optimizer.

    Example:

    >>> model.fit(data, epochs=100, callbacks=[tfgates.callbacks.Resume("run-1")])
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = os.fspath(folder)

    def get_config(self):
        return {"folder": self.folder}

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        if not optimizer.built:
            strategy = getattr(self.model, "distribute_strategy", None)
            if strategy is None:
                optimizer.build(self.model.trainable_variables)
            else:
                with strategy.scope():
                    optimizer.build(self.model.trainable_variables)
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".epoch-*.npz"):
            left_over.unlink(missing_ok=True)
        epoch = self.last_epoch()
        if epoch:
            self._restore(path_of(folder, epoch))
            # Keras has no public way for a callback to say where `fit` starts.
            self.model._initial_epoch = epoch

    def on_train_end(self, logs=None):
        # Keras would start every later `fit` of this model there.
        self.model._initial_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        folder = self._folder()
        values = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        values["layout"] = np.array(self._layout())
        write_whole(path_of(folder, epoch + 1), lambda temporary: np.savez(temporary, **values))
        for number in sorted(epochs_in(folder))[:-KEPT]:
            path_of(folder, number).unlink(missing_ok=True)

    def last_epoch(self):
        """The number of epochs that are saved, by all workers; 0 for none."""
        _, workers = worker_of(self.model)
        saved = [epochs_in(self._folder(worker)) for worker in range(workers)]
        return max(set.intersection(*saved), default=0)

    def _folder(self, worker=None):
        this, workers = worker_of(self.model)
        folder = pathlib.Path(self.folder)
        return folder if workers == 1 else folder / f"worker-{this if worker is None else worker}"

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def _layout(self):
        # Without the names of layers, which Keras numbers anew for each model of a process.
        names = [v.name for v in self.model.variables] + ["optimizer"] * len(self.model.optimizer.variables)
        return [f"{name} {tuple(v.shape)}" for name, v in zip(names, self._variables(), strict=True)]

    def _restore(self, path):
        with np.load(path, allow_pickle=False) as saved:
            found, expected = saved["layout"].tolist(), self._layout()
            if found != expected:
                first = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
                what = f"{first[0]} where {first[1]} is expected" if first else f"{len(found)} variables"
                raise ValueError(
                    f"`folder` must hold states of the very model and optimizer that are trained, with "
                    f"{len(expected)} variables. Received: folder={self.folder!r}, whose {path.name} has {what}"
                )
            for i, variable in enumerate(self._variables()):
                value = saved[f"v{i}"]
                if value.dtype.kind == "V":
                    # NumPy does not know bfloat16; it keeps the bytes.
                    value = value.view(keras.ops.convert_to_numpy(variable).dtype)
                variable.assign(value)


def path_of(folder, epoch):
    """The file with the state after `epoch` epochs."""
    return pathlib.Path(folder) / f"epoch-{epoch:05d}.npz"


def epochs_in(folder):
    """The numbers of epochs whose state lies in a folder, a set."""
    names = [re.fullmatch(r"epoch-(\d+)\.npz", path.name) for path in pathlib.Path(folder).glob("epoch-*.npz")]
    return {int(match[1]) for match in names if match}
