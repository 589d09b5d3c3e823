"""The page that `compress` writes of a run: what it watches for it, and what it says."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tfgates.callbacks.sparsity_monitor import SparsityMonitor
from tfgates.pruning.page import write_page
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.report import PruningReport, report_of
from tfgates.version import __version__

# What the page says of a layer of which nothing was left before pruning.
GONE = {"units_left": 0, "params_left": 0, "macs_left": 0, "note": "went while training"}


def check_page(report: Any) -> None:
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

    def _warn_of_closed(self) -> None:
        pass


def watching(report: Any, has_gates: bool, callbacks: Iterable[Any]) -> list[keras.callbacks.Callback]:
    """What a page needs in the logs: the size that gates leave, unless a callback of the user's logs it."""
    if report is None or not has_gates or any(isinstance(each, SparsityMonitor) for each in callbacks):
        return []
    return [Sizes()]


def against(report: PruningReport, model: Any) -> PruningReport:
    """The report of a network that shrank while it was trained, against the whole network that it began with.

    The report that pruning leaves tells what was removed at last. Where layers cannot be found again by their
    names (one that is called several times), it stays as it is.
    """
    plan = PruningPlan(model)
    left = {row["name"]: row for row in report.plan["layers"]}
    names = [row.name for row in plan.layers]
    if len(left) != len(report.plan["layers"]) or len(set(names)) != len(names) or not set(left) <= set(names):
        return report
    whole = PruningReport(plan)
    for row in whole.plan["layers"]:
        stays = left.get(row["name"], GONE)
        row.update({name: stays[name] for name in GONE})
    whole.plan.update({name: report.plan[name] for name in ("params", "macs")})
    gone = {item["name"] for item in whole.skeleton if item["row"] is not None and item["name"] not in left}
    gone |= {item["name"] for item in report.skeleton if not item["left"]}
    for item in whole.skeleton:
        item["left"] = item["name"] not in gone
    whole.history, whole.noted = report.history, report.remarks()
    return whole


def write_run(report: Any, small: Any, model: Any, settings: Mapping[str, Any]) -> None:
    """Writes the page of a finished run.

    Args:
        report: the path, or None, which writes nothing.
        small: the network that is returned.
        model: the network that it was made from.
        settings: dict of what `compress` was asked for; what is None is left out.
    """
    if report is None:
        return
    facts = [(name, value) for name, value in settings.items() if value is not None]
    facts += [("tfgates", __version__), ("Keras", f"{keras.__version__} on {keras.backend.backend()}")]
    write_page(against(report_of(small), model), report, f"{model.name}, compressed", facts)
