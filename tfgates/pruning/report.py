"""What became of a network that was pruned, kept beside it."""

import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.skeleton import skeleton_of
from tfgates.results import Result, number

# Beside the models, so that these stay plain: nothing of it is saved with them or keeps them alive.
_REPORTS: "weakref.WeakKeyDictionary[keras.Model, PruningReport]" = weakref.WeakKeyDictionary()


class History(Result):
    """The logs of each epoch of a training in phases, such as `tfgates.compress`.

    Epochs that an earlier process ran, before `resume`, are not in it.

    `records()` and `to_pandas()` have a row for each epoch: `phase`, `epoch` (counted from 1), and its logs.
    """

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []

    def recorder(self, phase: str) -> keras.callbacks.Callback:
        """A callback that adds the epochs of a phase; the last of the callbacks sees what the others log."""

        def record(epoch: int, logs: Mapping[str, Any] | None) -> None:
            values = {name: number(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
            self._records.append({"phase": phase, "epoch": epoch + 1, **values})

        return keras.callbacks.LambdaCallback(on_epoch_end=record)

    def records(self) -> list[dict[str, Any]]:
        """The epochs, a dictionary for each; what an epoch has not logged is None."""
        names = dict.fromkeys(name for record in self._records for name in record)
        return [{name: record.get(name) for name in names} for record in self._records]

    def add(self, phase: str, logs: Mapping[str, Any]) -> None:
        """Adds the epochs of a phase from the `history` of what Keras's `fit` returns, counted on."""
        start = self._records[-1]["epoch"] if self._records else 0
        for epoch in range(max((len(values) for values in logs.values()), default=0)):
            values = {name: number(values[epoch]) for name, values in logs.items() if epoch < len(values)}
            self._records.append({"phase": phase, "epoch": start + epoch + 1, **values})

    def to_dict(self) -> dict[str, Any]:
        """The epochs for JSON."""
        return {"epochs": self.records()}


class PruningReport(Result):
    """What `tfgates.prune` removed and, for `tfgates.compress`, how the training went; see `tfgates.report_of`.

    `print(report)` shows the plan that was followed; `records()` and `to_pandas()` have a row for each layer of the
    network before pruning.

    Attributes:
        plan: the plan as data, a dict (`tfgates.pruning.PruningPlan.to_dict`).
        history: a `History`, with rows after `tfgates.compress`.
        skeleton: the network before pruning as data, what reads what (`tfgates.pruning.skeleton.skeleton_of`).
    """

    def __init__(self, plan: PruningPlan) -> None:
        # As data: the plan itself holds the network that was pruned.
        self.plan = plan.to_dict()
        self.skeleton = skeleton_of(plan)
        self.history = History()
        self._text = str(plan)
        self.noted = {title: list(pairs) for title, pairs in plan.remarks().items()}

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {"plan": self.plan, "history": self.history.to_dict()}

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each, with the fields of `tfgates.pruning.rows.LayerPlan`."""
        return [dict(row) for row in self.plan["layers"]]

    def remarks(self) -> dict[str, list[tuple[str, str]]]:
        """As those of the plan."""
        return self.noted

    def __str__(self) -> str:
        return self._text


def remember(pruned: keras.Model, plan: PruningPlan) -> None:
    """Keeps what `report_of` says of a pruned network."""
    _REPORTS[pruned] = PruningReport(plan)


def report_of(model: keras.Model) -> PruningReport:
    """What `tfgates.prune` or `tfgates.compress` did to a network.

    The report is kept separately from the model, which stays a plain Keras model, for as long as the model lives in
    this process. Save `report_of(model).to_dict()` to keep it.

    Args:
        model: the `keras.Model` that was returned.

    Returns:
        A `tfgates.pruning.PruningReport`.

    Raises:
        ValueError: for any other model, including one that was saved and loaded.

    Example:

    >>> small = tfgates.compress(model, data, budget=tfgates.Budget(macs=0.4), loss="mse")
    >>> json.dumps(tfgates.report_of(small).to_dict())
    >>> tfgates.report_of(small).history.to_pandas()
    """
    report = _REPORTS.get(model) if isinstance(model, keras.Model) else None
    if report is None:
        raise ValueError(
            "`model` must be what `tfgates.prune` or `tfgates.compress` has returned in this process; what "
            "`tfgates.gate_model` says is `report` of its model. "
            f"Received: model={getattr(model, 'name', model)!r}"
        )
    return report
