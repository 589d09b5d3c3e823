"""The page that `compress` writes of a run: what it watches for it, and what it says."""

import os
import pathlib

import keras

from tfgates.callbacks.sparsity_monitor import SparsityMonitor
from tfgates.pruning.page import write_page
from tfgates.pruning.report import report_of
from tfgates.version import __version__


def check_page(report):
    """Refuses a `report` that cannot be written, before anything is trained."""
    if report is None:
        return
    known = isinstance(report, (str, os.PathLike))
    path = pathlib.Path(report) if known else None
    if path is None or path.is_dir() or path.suffix not in (".html", ".htm") or not os.access(path.parent, os.W_OK):
        raise ValueError(
            "`report` must be None or the path of an HTML file, such as 'run.html', in a folder that is there and can "
            f"be written. Received: report={report!r}"
        )


class Sizes(SparsityMonitor):
    """Logs what gates leave; of gates that close altogether nobody asked here, and `compress` keeps a unit of each."""

    def _warn_of_closed(self):
        pass


def watching(report, has_gates, callbacks):
    """What a page needs in the logs: the size that gates leave, unless a callback of the user's logs it."""
    if report is None or not has_gates or any(isinstance(each, SparsityMonitor) for each in callbacks):
        return []
    return [Sizes()]


def write_run(report, small, original, settings):
    """Writes the page of a finished run.

    Args:
        report: the path, or None, which writes nothing.
        small: the network that is returned.
        original: the name of the network that it was made from.
        settings: dict of what `compress` was asked for; what is None is left out.
    """
    if report is None:
        return
    facts = [(name, value) for name, value in settings.items() if value is not None]
    facts += [("tfgates", __version__), ("Keras", f"{keras.__version__} on {keras.backend.backend()}")]
    write_page(report_of(small), report, f"{original}, compressed", facts)
