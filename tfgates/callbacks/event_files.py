"""The event files of TensorBoard that `SparsityMonitor` writes, on every backend; they need the package tensorboard."""

import importlib.util
import io
import itertools
import os
import socket
import time
from typing import Any

import numpy as np

# Runs below the folder of logs: what is of one kind only, and lines that share a chart.
OWN, EXPECTED, ACTUAL, TARGET, PRUNED = "", "expected", "actual", "target", "pruned"

# Of the files of one process.
_numbers = itertools.count()


def check_tensorboard() -> None:
    """Raises an `ImportError` that says what to do if nothing can be written for TensorBoard."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "`log_dir` needs TensorBoard, which no backend brings: pip install tensorboard, or leave out `log_dir`."
        )


class EventFiles:
    """Runs of TensorBoard below a folder, each with a file that is made when something is written to it.

    The same tag in several runs is one chart with a line for each. Nothing of it needs TensorFlow, unless the
    folder is on a file system that only TensorFlow knows, such as `gs://`.

    Args:
        folder: the folder, which can be written.
    """

    def __init__(self, folder: str) -> None:
        check_tensorboard()
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def _write(self, run: str, summary: Any, step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if run not in self._writers:
            self._writers[run] = RecordWriter(_opened(os.path.join(self._folder, run)))
            first = Event(wall_time=time.time(), file_version="brain.Event:2")
            self._writers[run].write(first.SerializeToString())
        event = Event(wall_time=time.time(), step=step or 0, summary=summary)
        self._writers[run].write(event.SerializeToString())

    def scalars(self, run: str, values: dict[str, float], step: int) -> None:
        """Writes numbers by their tags."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for tag, value in values.items():
            self._write(run, scalar_pb(tag, value), step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Writes how numbers are distributed."""
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        self._write(OWN, histogram_pb(tag, values), step)

    def image(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Writes a picture, `(height, width)` of floats in [0, 1] or `(height, width, 3)` of integers."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        height, width = picture.shape[:2]
        value = Summary.Value(
            tag=tag,
            metadata=create_summary_metadata(display_name=None, description=None),
            tensor=make_tensor_proto([str(width).encode(), str(height).encode(), png_of(picture)]),
        )
        self._write(OWN, Summary(value=[value]), step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Writes Markdown."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(OWN, text_pb(tag, text), step)

    def hparams(self, hparams: dict[str, Any]) -> None:
        """Writes the settings of the run."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        self._write(OWN, hparams_pb(hparams))

    def flush(self) -> None:
        """Makes everything readable that was written."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()


def png_of(picture: np.ndarray) -> bytes:
    """A picture as a PNG, `(height, width)` of floats in [0, 1] or `(height, width, 3)` of integers up to 255."""
    # TensorBoard brings it along.
    from PIL import Image

    pixels = np.uint8(np.round(255 * np.clip(picture, 0.0, 1.0))) if picture.ndim == 2 else np.uint8(picture)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _opened(folder: str) -> Any:
    """A new file of events in a folder, to be written."""
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}.v2"
    path = os.path.join(folder, name)
    if "://" not in folder:
        os.makedirs(folder, exist_ok=True)
        return open(path, "wb")
    import tensorflow as tf

    tf.io.gfile.makedirs(folder)
    return tf.io.gfile.GFile(path, "wb")
