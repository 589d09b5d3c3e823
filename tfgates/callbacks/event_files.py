"""The event files of TensorBoard that `SparsityMonitor` writes; they need TensorFlow and tensorboard."""

import importlib.util
import os
from typing import Any

import numpy as np
import tensorflow as tf

# Runs below the folder of logs: what is of one kind only, and lines that share a chart.
OWN, EXPECTED, ACTUAL, TARGET, PRUNED = "", "expected", "actual", "target", "pruned"


def check_tensorboard() -> None:
    """Raises an `ImportError` that says what to do if tf.summary cannot write."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "`log_dir` needs TensorBoard, which TensorFlow does not bring: pip install tensorboard, or "
            "leave out `log_dir`."
        )


class EventFiles:
    """Runs of TensorBoard below a folder, each with a file that is made when something is written to it.

    The same tag in several runs is one chart with a line for each.

    Args:
        folder: the folder, which can be written.
    """

    def __init__(self, folder: str) -> None:
        check_tensorboard()
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def _run(self, name: str, step: int | None = None) -> Any:
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(os.path.join(self._folder, name))
        return self._writers[name].as_default(step=step)

    def scalars(self, run: str, values: dict[str, float], step: int) -> None:
        """Writes numbers by their tags."""
        with self._run(run, step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Writes how numbers are distributed."""
        with self._run(OWN, step):
            tf.summary.histogram(tag, values)

    def image(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Writes a picture, `(height, width)` of floats in [0, 1] or `(height, width, 3)` of integers."""
        with self._run(OWN, step):
            tf.summary.image(tag, picture[None, :, :, None] if picture.ndim == 2 else picture[None])

    def text(self, tag: str, text: str, step: int) -> None:
        """Writes Markdown."""
        with self._run(OWN, step):
            tf.summary.text(tag, text)

    def hparams(self, hparams: dict[str, Any]) -> None:
        """Writes the settings of the run."""
        from tensorboard.plugins.hparams import api

        with self._run(OWN):
            api.hparams(hparams)

    def flush(self) -> None:
        """Makes everything readable that was written."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
