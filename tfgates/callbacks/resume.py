"""Going on after an interruption."""

import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from tfgates.backend import set_unkept_noise, unkept_noise
from tfgates.distribution import worker_of
from tfgates.files import write_whole
from tfgates.keras_internals import set_initial_epoch
from tfgates.shrinking.record import KeepsRecords, record_of

KEPT = 2

# What callbacks of Keras remember from epoch to epoch: how long nothing got better, what was best, and its weights.
REMEMBERED = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
BEST_WEIGHTS = "best_weights"


@keras.saving.register_keras_serializable(package="tfgates")
class Resume(KeepsRecords, keras.callbacks.Callback):
    """Saves the whole state of a training run after each epoch, and continues from it when the run is started again.

    What is saved: all variables of the model, among them the multipliers of a budget and the seeds of
    gates and of dropout, which no file of Keras holds for all layers; all variables of the optimizer; the
    number of the epoch; and, with PyTorch, the state of PyTorch's own generator, from which layers without a seed
    draw there. A run that is started again with the same program, whatever ended
    it and whenever, repeats the epoch that was interrupted and ends, on CPUs to the bit, where it
    would have ended. This requires data in an order that depends on nothing but the epoch, such as
    `shuffle=False` or a `tf.data.Dataset` that is shuffled with a seed and
    `reshuffle_each_iteration=False`.

    State and epoch are one file, which appears whole or not at all, so a crash at any moment loses
    nothing else. (`keras.callbacks.BackupAndRestore` writes two, in place.) The last two are kept, also
    after the end: `fit` with more epochs continues from there; with as many it has nothing left to do.

    What `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` remember is saved if they are also passed as
    `callbacks`; they must come before this callback in the list of `fit`. A run that `EarlyStopping` had ended does
    nothing more when it is started again with as many epochs.

    With several workers each has its own folder, `worker-0` and so on, and all continue from the last
    epoch that all of them have: the folder must be shared between them.

    Args:
        folder: where to save, made if it is missing. One training run, one folder.
        callbacks: list of those other callbacks of the same `fit` that are to remember, across an interruption,
            what was best and for how long nothing got better. Defaults to None: none.

    Raises:
        ValueError: if `folder` holds the state of another model or optimizer, or of other `callbacks`.

    Example:

    >>> model.fit(data, epochs=100, callbacks=[tfgates.callbacks.Resume("run-1")])
    """

    # Keras gives it before training begins.
    params: dict[str, Any]

    def __init__(
        self, folder: str | os.PathLike[str], callbacks: Iterable[keras.callbacks.Callback] | None = None
    ) -> None:
        super().__init__()
        self.folder = os.fspath(folder)
        self.callbacks = list(callbacks or ())

    def get_config(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
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
            ended_at = self._restore(path_of(folder, epoch))
            over = ended_at == self.params["epochs"]
            set_initial_epoch(self.model, max(epoch, self.params["epochs"]) if over else epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        # Keras would start every later `fit` of this model there.
        set_initial_epoch(self.model, None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        folder = self._folder()
        values = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        values.update({f"noise{i}": state for i, state in enumerate(unkept_noise())})
        values["layout"] = np.array(self._layout())
        values.update(self._remembered())
        values["shrinking"] = np.array(record_of(self.model))
        write_whole(path_of(folder, epoch + 1), lambda temporary: np.savez(temporary, **values))
        for number in sorted(epochs_in(folder))[:-KEPT]:
            path_of(folder, number).unlink(missing_ok=True)

    def last_epoch(self) -> int:
        """The number of epochs that all workers have saved; 0 for none."""
        _, workers = worker_of(self.model)
        saved = [epochs_in(self._folder(worker)) for worker in range(workers)]
        return max(set.intersection(*saved), default=0)

    def saved_record(self, model: Any) -> str:
        """What the last state says of a network that shrinks in training: see `tfgates.shrinking.record`."""
        self.set_model(model)
        epoch = self.last_epoch()
        if not epoch:
            return ""
        with np.load(path_of(self._folder(), epoch), allow_pickle=False) as saved:
            return str(saved["shrinking"]) if "shrinking" in saved else ""

    def _folder(self, worker: int | None = None) -> pathlib.Path:
        this, workers = worker_of(self.model)
        folder = pathlib.Path(self.folder)
        return folder if workers == 1 else folder / f"worker-{this if worker is None else worker}"

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _layout(self) -> list[str]:
        # Without the names of layers, which Keras numbers anew for each model of a process.
        names = [v.name for v in self.model.variables] + ["optimizer"] * len(self.model.optimizer.variables)
        return [f"{name} {tuple(v.shape)}" for name, v in zip(names, self._variables(), strict=True)]

    def _restore(self, path: pathlib.Path) -> Any:
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
            generators = sum(name.startswith("noise") for name in saved.files)
            set_unkept_noise([saved[f"noise{i}"] for i in range(generators)])
            return self._recall(saved)

    def _remembered(self) -> dict[str, Any]:
        """What the other callbacks remember, and the number of epochs of a `fit` that one of them has ended."""
        ended = self.model.stop_training and any(getattr(each, "stopped_epoch", 0) for each in self.callbacks)
        notes, arrays = [], {}
        for number, each in enumerate(self.callbacks):
            found = {name: getattr(each, name) for name in REMEMBERED if hasattr(each, name)}
            weights = getattr(each, BEST_WEIGHTS, None)
            values = {name: None if value is None else float(value) for name, value in found.items()}
            notes.append({"kind": type(each).__name__, "values": values, "weights": len(weights or ())})
            arrays.update({f"c{number}w{i}": np.asarray(weight) for i, weight in enumerate(weights or ())})
        return {"callbacks": json.dumps({"ended": self.params["epochs"] if ended else None, "notes": notes}), **arrays}

    def _recall(self, saved: Mapping[str, Any]) -> Any:
        """Gives the other callbacks what they remembered; returns the number of epochs of a `fit` that one ended."""
        noted = json.loads(str(saved["callbacks"])) if "callbacks" in saved else {"ended": None, "notes": []}
        kinds, expected = [note["kind"] for note in noted["notes"]], [type(each).__name__ for each in self.callbacks]
        if kinds != expected:
            raise ValueError(
                f"`callbacks` must be those of the run whose state lies in `folder`. Received: {expected} where "
                f"{kinds} were followed"
            )
        for number, (each, note) in enumerate(zip(self.callbacks, noted["notes"], strict=True)):
            for name, value in note["values"].items():
                kind = type(getattr(each, name))
                setattr(each, name, kind(value) if kind is int and value is not None else value)
            if note["weights"]:
                likes = self.model.get_weights()
                weights = [saved[f"c{number}w{i}"] for i in range(note["weights"])]
                pairs = zip(weights, likes, strict=True)
                setattr(each, BEST_WEIGHTS, [w.view(like.dtype) if w.dtype.kind == "V" else w for w, like in pairs])
        return noted["ended"]


def path_of(folder: str | os.PathLike[str], epoch: int) -> pathlib.Path:
    """The file with the state after `epoch` epochs."""
    return pathlib.Path(folder) / f"epoch-{epoch:05d}.npz"


def epochs_in(folder: str | os.PathLike[str]) -> set[int]:
    """The numbers of epochs whose state lies in a folder, a set."""
    names = [re.fullmatch(r"epoch-(\d+)\.npz", path.name) for path in pathlib.Path(folder).glob("epoch-*.npz")]
    return {int(match[1]) for match in names if match}
