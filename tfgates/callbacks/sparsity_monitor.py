"""Watching gates open and close."""

import importlib.util
import os
import uuid
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.backend import array
from tfgates.callbacks import dashboard, watched
from tfgates.callbacks.event_files import ACTUAL, EXPECTED, OWN, PRUNED, TARGET, EventFiles, check_tensorboard
from tfgates.gates import gates_of
from tfgates.notices import warn
from tfgates.pruning.report import PruningReport, report_of
from tfgates.selection import expected_cost_of
from tfgates.training.callback_marks import GateCallback

# How often, by default, what is costly to draw is drawn in a run.
PICTURES = 32


def check_writable(name: str, folder: str) -> None:
    """Makes `folder` and raises a `ValueError` that calls it `name` if nothing can be written there."""
    probe = os.path.join(folder, f".probe-{uuid.uuid4().hex}")
    try:
        if "://" in folder:
            _probe_remote(folder, probe)
        else:
            os.makedirs(folder, exist_ok=True)
            with open(probe, "w"):
                pass
            os.remove(probe)
    except OSError as error:
        raise ValueError(
            f"`{name}` must be a folder that can be made and written. Received: {name}={folder!r} ({error})"
        ) from error


def _probe_remote(folder: str, probe: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise OSError("TensorFlow, which is not installed, knows how to write there")
    import tensorflow as tf

    try:
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


@keras.saving.register_keras_serializable(package="tfgates")
class SparsityMonitor(GateCallback, keras.callbacks.Callback):
    """Writes for TensorBoard what is open, and adds it to the logs of each epoch.

    At the end of each epoch it adds to `logs`, as fractions of the network with everything open:
    `open_units` and `expected_open_units` (sum over the gates of `open_units()` and of
    `open_probability()`, divided by the number of units), and for each cost, such as `params` and `macs`, what the
    gates leave as inference uses them and what they leave in expectation, `expected_params` and `expected_macs`. The
    progress bar and History show them; EarlyStopping and ModelCheckpoint can use them if they come after this
    callback in the list.

    In addition to what `keras.callbacks.TensorBoard(log_dir)` writes (which needs TensorFlow, while this callback does
    not), it writes to runs below `gates`. What belongs together is one chart:

    * `cost/macs`, `cost/params`, `cost/open_units`: lines `expected` (the gates as probabilities), `actual` (the gates
      as inference uses them), `target` (of a budget on the whole model), and, from pruning on, `pruned`;
    * `open_units/GATE`: expected and actual share of the units of a gate;
    * `learning_rate/weights` and `learning_rate/gates`;
    * `open_probability/GATE`: a histogram; `test_gates/GATE`: the gates as inference uses them, a square per unit,
      white open, black closed; `open_probability_by_epoch/GATE` and `layers`: pictures.

    It warns when all units of a gate have closed. Only `fit` is watched: the training is the same
    without it. In the `fit` of a network that `tfgates.prune` has returned it continues with only `params` and `macs`:
    in TensorBoard the line `pruned` begins where pruning was, and the text `pruning` says what was removed.

    Args:
        log_dir: folder for the logs, which needs the package tensorboard; `None` adds to `logs` only.
            Defaults to `None`.
        frequency: int, write and measure every so many epochs. Defaults to 1.
        picture_frequency: int, write heat maps and the picture of the layers every so many epochs, and
            at the end of training. Defaults to None: chosen so that there are about 32 of each.
        hparams: dict from names to bools, ints, floats and strings: settings of the run, for
            TensorBoard's tab HPARAMS. Defaults to None.

    Raises:
        ImportError: when training starts, if there is a `log_dir` and no tensorboard.
        ValueError: when training starts, if `log_dir` cannot be written, or the model has no gates and was not
            pruned in this process.

    Example:

    >>> model.fit(x, y, callbacks=[keras.callbacks.TensorBoard("logs"),
    ...                            tfgates.callbacks.SparsityMonitor("logs")])
    """

    # Tells whoever trains a network without gates that it is not for that one, unless it was pruned.
    needs_gates, follows_pruning = True, True

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        frequency: int = 1,
        picture_frequency: int | None = None,
        hparams: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("frequency", frequency), ("picture_frequency", picture_frequency)):
            if value is None and name == "picture_frequency":
                continue
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}")
        dashboard.check_hparams(hparams)
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.frequency = frequency
        self.picture_frequency = picture_frequency
        self.hparams = None if hparams is None else dict(hparams)
        self._files: Any = None
        self._report: PruningReport | None = None
        self._closed: set[str] = set()
        # What its costs are told from, made once for a model; False where they cannot be told.
        self._cost: Any = None
        self._cost_of: Any = None
        self._maps: dict[str, dashboard.HeatMap] = {}
        self._last_epoch: int | None = None
        self._pictures_at: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._report = None if gates_of(self.model) else self._report_of_pruned()
        # A warning that the cost cannot be told is given once.
        self._last_epoch, self._cost = None, None if self._cost else self._cost
        if self.log_dir is None:
            return
        check_tensorboard()
        check_writable("log_dir", self.log_dir)
        self._files = EventFiles(os.path.join(self.log_dir, "gates"))
        if self.hparams is not None and self._report is None:
            self._files.hparams(self.hparams)

    def _report_of_pruned(self) -> PruningReport:
        try:
            return report_of(self.model)
        except ValueError as error:
            raise ValueError(
                "SparsityMonitor needs a model with gates: gated layers, what `tfgates.gate_model` returns, or what "
                f"was pruned in this process. Received: model={self.model.name!r}"
            ) from error

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch % self.frequency:
            return
        totals = self._totals() if self._report is None else watched.left(self._report)
        if logs is not None:
            logs.update(totals)
        if self._report is None:
            self._warn_of_closed()
        if self._files is not None:
            if self._report is None:
                self._write(epoch, totals)
            else:
                self._write_pruned(epoch, totals)
            self._files.flush()
        self._last_epoch = epoch

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._files is not None:
            epoch = self._last_epoch
            if self._report is None and epoch is not None and epoch != self._pictures_at:
                self._write_pictures(epoch)
            self._files.close()
            self._files = None

    def _totals(self) -> dict[str, float]:
        gates = gates_of(self.model)
        units = sum(gate.units for gate in gates) + watched.gone(self.model)
        is_open = sum(int(np.sum(array(gate.open_units()))) for gate in gates)
        expected = sum(float(np.sum(array(gate.open_probability()))) for gate in gates)
        totals = {"open_units": is_open / units, "expected_open_units": expected / units}
        if self._cost and self._cost_of is not self.model:
            # It has shrunk, and training goes on with another model.
            self._cost = None
        if self._cost is None:
            self._cost_of = self.model
            try:
                self._cost = expected_cost_of(self.model)
            except ValueError as error:
                self._cost = False
                warn(f"SparsityMonitor cannot tell the cost of `{self.model.name}`: {error}")
        if self._cost:
            # What a monitor shows is how the gates stand, not what pruning would choose.
            totals.update(watched.fractions(self._cost, self.model))
        return totals

    def _warn_of_closed(self) -> None:
        closed = {gate.name for gate in gates_of(self.model) if not np.any(array(gate.open_units()))}
        for name in sorted(closed - self._closed):
            warn(
                f"All units of gate `{name}` are closed: nothing passes through it any more. If it is not "
                "meant to go altogether, lower the penalty or the gates' learning rate; `tfgates.prune` keeps its "
                "likeliest unit with `min_units=1`, and always under a budget."
            )
        self._closed = closed

    def _write(self, epoch: int, totals: Mapping[str, float]) -> None:
        lines = {EXPECTED: {}, ACTUAL: {}, TARGET: watched.targets(self.model), OWN: watched.learning_rates(self.model)}
        for name, value in totals.items():
            run = EXPECTED if name.startswith("expected_") else ACTUAL
            lines[run][f"cost/{name.removeprefix('expected_')}"] = value
        for gate in gates_of(self.model):
            probability = watched.on_dense_units(self.model, gate, array(gate.open_probability()))
            lines[EXPECTED][f"open_units/{gate.name}"] = float(probability.sum()) / probability.size
            lines[ACTUAL][f"open_units/{gate.name}"] = float(np.sum(array(gate.open_units()))) / probability.size
            self._files.histogram(f"open_probability/{gate.name}", probability.ravel(), epoch)
            self._maps.setdefault(gate.name, dashboard.HeatMap()).add(probability.ravel())
            values = watched.on_dense_units(self.model, gate, array(gate.test_gates()))
            self._files.image(f"test_gates/{gate.name}", dashboard.gate_image(values), epoch)
        for run, points in lines.items():
            if points:
                self._files.scalars(run, points, epoch)
        if epoch % self._picture_every() == 0:
            self._write_pictures(epoch)

    def _write_pruned(self, epoch: int, totals: Mapping[str, float]) -> None:
        if self._last_epoch is None:
            self._files.text("pruning", f"Pruned before epoch {epoch + 1}.\n\n```\n{self._report}\n```", epoch)
        self._files.scalars(PRUNED, {f"cost/{name}": value for name, value in totals.items()}, epoch)

    def _picture_every(self) -> int:
        if self.picture_frequency is not None:
            return self.picture_frequency
        return max(1, -(-((self.params or {}).get("epochs") or 1) // PICTURES))

    def _write_pictures(self, epoch: int) -> None:
        self._pictures_at = epoch
        for name, rows in self._maps.items():
            self._files.image(f"open_probability_by_epoch/{name}", rows.image(), epoch)
        if self._cost and importlib.util.find_spec("matplotlib") is not None:
            self._files.image("layers", dashboard.plan_image(self._cost), epoch)

    def get_config(self) -> dict[str, Any]:
        return {
            "log_dir": self.log_dir,
            "frequency": self.frequency,
            "picture_frequency": self.picture_frequency,
            "hparams": self.hparams,
        }
