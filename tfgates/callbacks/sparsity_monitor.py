"""Watching gates open and close."""

import importlib.util
import os
import uuid
import warnings

import keras
import numpy as np
import tensorflow as tf

from tfgates.callbacks import dashboard
from tfgates.costs import cost
from tfgates.models.gated_model import gates_of

TOTALS = ("open_units", "expected_open_units", "params", "expected_params", "macs", "expected_macs")

# How often, by default, what is costly to draw is drawn in a run.
PICTURES = 32


def check_tensorboard():
    """Raises an `ImportError` that says what to do if tf.summary cannot write."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "`log_dir` needs TensorBoard, which TensorFlow does not bring: pip install tensorboard, or "
            "leave out `log_dir`."
        )


def check_writable(name, folder):
    """Makes `folder` and raises a `ValueError` that calls it `name` if nothing can be written there."""
    probe = os.path.join(folder, f".probe-{uuid.uuid4().hex}")
    try:
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise ValueError(
            f"`{name}` must be a folder that can be made and written. Received: {name}={folder!r} ({reason})"
        ) from error


@keras.saving.register_keras_serializable(package="tfgates")
class SparsityMonitor(keras.callbacks.Callback):
    """Writes for TensorBoard what is open, and adds it to the logs of each epoch.

    At the end of each epoch it adds to `logs`, as fractions of the network with everything open,
    `open_units` and `expected_open_units` (sum over the gates of `open_units()` and of
    `open_probability()`, divided by the number of units), `params`, `expected_params`, `macs` and
    `expected_macs` (of `tfgates.cost`). The progress bar and History show them; EarlyStopping and
    ModelCheckpoint can use them if they come after this callback in the list.

    Beside `keras.callbacks.TensorBoard(log_dir)` it writes to the run `gates`: the same totals, for
    each gate its expected and actual open units, a histogram of its open probabilities and an image
    of its test gates (white is open), for each layer its expected and actual parameters and MACs.

    It warns when all units of a gate have closed. Only `fit` is watched: the training is the same
    without it.

    Args:
        log_dir: folder for the logs, which needs the package tensorboard; `None` adds to `logs` only.
            Defaults to `None`.
        frequency: int, write and measure every so many epochs. Defaults to 1.
        picture_frequency: int, write heat maps and the picture of the layers every so many epochs, and
            at the end of training. Defaults to None: so that there are about 32 of each.
        hparams: dict from names to bools, ints, floats and strings: settings of the run, for
            TensorBoard's tab HPARAMS. Defaults to None.

    Raises:
        ImportError: when training starts, if there is a `log_dir` and no tensorboard.
        ValueError: when training starts, if `log_dir` cannot be written or the model has no gates.

    Example:

    >>> model.fit(x, y, callbacks=[tfgates.callbacks.SparsityMonitor("logs"),
    ...                            keras.callbacks.TensorBoard("logs")])
    """

    # Tells whoever trains a pruned network too that it is not for that one.
    needs_gates = True

    def __init__(self, log_dir=None, frequency=1, picture_frequency=None, hparams=None):
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
        self._writer = None
        self._closed = set()
        self._cost_known = True
        self._maps = {}
        self._last_epoch = self._pictures_at = None

    def on_train_begin(self, logs=None):
        if self.log_dir is not None:
            check_tensorboard()
            check_writable("log_dir", self.log_dir)
            self._writer = tf.summary.create_file_writer(os.path.join(self.log_dir, "gates"))
            if self.hparams is not None:
                dashboard.write_hparams(self._writer, self.hparams)
        if not gates_of(self.model):
            raise ValueError(
                "SparsityMonitor needs a model with gates: gated layers, or what `tfgates.gate_model` "
                f"returns. Received: model={self.model.name!r}"
            )

    def on_epoch_end(self, epoch, logs=None):
        if epoch % self.frequency:
            return
        gates = gates_of(self.model)
        totals = self._unit_totals(gates)
        costs = self._cost()
        if costs is not None:
            totals.update(self._cost_totals(costs))
        if logs is not None:
            logs.update(totals)
        self._warn_of_closed(gates)
        if self._writer is not None:
            with self._writer.as_default(step=epoch):
                for name, value in totals.items():
                    tf.summary.scalar(f"total/{name}", value)
                for gate in gates:
                    self._write_gate(gate)
                if costs is not None:
                    self._write_layers(costs.layers)
                if epoch % self._picture_every() == 0:
                    self._write_pictures(epoch)
            self._writer.flush()
        self._last_epoch = epoch

    def on_train_end(self, logs=None):
        if self._writer is not None:
            epoch = self._last_epoch
            if epoch is not None and epoch != self._pictures_at:
                with self._writer.as_default(step=epoch):
                    self._write_pictures(epoch)
            self._writer.close()
            self._writer = None

    def _picture_every(self):
        if self.picture_frequency is not None:
            return self.picture_frequency
        return max(1, -(-((self.params or {}).get("epochs") or 1) // PICTURES))

    def _write_pictures(self, epoch):
        self._pictures_at = epoch
        for name, rows in self._maps.items():
            tf.summary.image(f"{name}/open_probability_by_epoch", rows.image()[None, :, :, None])
        if self._cost_known and importlib.util.find_spec("matplotlib") is not None:
            tf.summary.image("layers", dashboard.plan_image(self.model)[None])

    def _unit_totals(self, gates):
        units = sum(gate.units for gate in gates)
        is_open = sum(int(np.sum(gate.open_units())) for gate in gates)
        expected = sum(float(np.sum(gate.open_probability())) for gate in gates)
        return {"open_units": is_open / units, "expected_open_units": expected / units}

    def _cost(self):
        if not self._cost_known:
            return None
        try:
            # What a monitor shows is how the gates stand, not what pruning would choose.
            return cost(self.model, chosen=False)
        except ValueError as error:
            self._cost_known = False
            warnings.warn(f"SparsityMonitor cannot tell the cost of `{self.model.name}`: {error}", stacklevel=2)
            return None

    def _cost_totals(self, costs):
        totals = {
            "params": costs.params / costs.dense_params,
            "expected_params": costs.expected_params / costs.dense_params,
        }
        try:
            dense = costs.dense_macs
        except ValueError:
            # Inputs of unknown size, for which `tfgates.cost` refuses to tell MACs.
            return totals
        totals["macs"] = costs.macs / dense
        totals["expected_macs"] = costs.expected_macs / dense
        return totals

    def _warn_of_closed(self, gates):
        closed = {gate.name for gate in gates if not np.any(gate.open_units())}
        for name in sorted(closed - self._closed):
            warnings.warn(
                f"All units of gate `{name}` are closed: nothing passes through it any more. If it is not "
                "meant to go altogether, lower the penalty or the gates' learning rate; `tfgates.prune` keeps its "
                "likeliest unit with `min_units=1`, and always under a budget.",
                stacklevel=2,
            )
        self._closed = closed

    def _write_gate(self, gate):
        probability = np.asarray(gate.open_probability())
        test_gates = np.asarray(gate.test_gates())
        tf.summary.scalar(f"{gate.name}/open_units", int(np.count_nonzero(test_gates)))
        tf.summary.scalar(f"{gate.name}/expected_open_units", float(probability.sum()))
        tf.summary.histogram(f"{gate.name}/open_probability", probability.ravel())
        self._maps.setdefault(gate.name, dashboard.HeatMap()).add(probability.ravel())
        tf.summary.image(f"{gate.name}/test_gates", dashboard.gate_image(test_gates)[None, :, :, None])

    def _write_layers(self, layers):
        sums = {}
        for layer in layers:
            for name in ("params", "expected_params", "macs", "expected_macs"):
                # A layer that is called several times has a row for each call.
                key = f"{layer.name}/{name}"
                sums[key] = sums.get(key, 0.0) + getattr(layer, name)
        for key, value in sums.items():
            if value == value:
                tf.summary.scalar(key, float(value))

    def get_config(self):
        return {
            "log_dir": self.log_dir,
            "frequency": self.frequency,
            "picture_frequency": self.picture_frequency,
            "hparams": self.hparams,
        }
