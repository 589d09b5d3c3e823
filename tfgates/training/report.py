"""What was gated, and what was not and why, as it is kept with a model."""

from collections.abc import Mapping
from typing import Any

from tfgates.results import Result


class Report(Result):
    """What `tfgates.gate_model` gated, and what it skipped and why; print it.

    Each layer with weights is in one of the lists. It is saved with the model; `to_dict()` gives it for JSON,
    `to_pandas()` has a row for each layer.

    Attributes:
        gated: list of pairs (layer, what its units are).
        skipped: list of pairs (layer, reason). A layer that carries the channels of gated ones, as a
            normalisation does, and is cut with them is among them, with the names of those.
        carried: dict from the name of such a layer to the gated layers that it goes with; when the report
            is printed it stands behind them.
    """

    def __init__(self) -> None:
        self.gated: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.carried: dict[str, list[str]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "gated": [{"layer": name, "units": units} for name, units in self.gated],
            "skipped": [{"layer": name, "reason": why} for name, why in self.skipped],
            "carried": {name: list(leading) for name, leading in self.carried.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Report":
        """The report that `to_dict` has given."""
        report = cls()
        report.gated = [(row["layer"], row["units"]) for row in data["gated"]]
        report.skipped = [(row["layer"], row["reason"]) for row in data["skipped"]]
        report.carried = {name: list(leading) for name, leading in data.get("carried", {}).items()}
        return report

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each: `layer`, `gated`, and its units or the reason."""
        return [
            {"layer": name, "gated": gated, "units_or_reason": text}
            for gated, pairs in ((True, self.gated), (False, self.skipped))
            for name, text in pairs
        ]

    def __str__(self) -> str:
        width = max([0, *(len(name) for name, _ in [*self.gated, *self.skipped])])
        lines = [f"gated ({len(self.gated)})"]
        names = [name for name, _ in self.gated]
        # Once each, behind the first of the layers that it goes with.
        behind = {layer: next((name for name in names if name in with_), None) for layer, with_ in self.carried.items()}
        for name, what in self.gated:
            carried = [layer for layer, first in behind.items() if first == name]
            lines.append(f"  {name.ljust(width)}  {what}{', with ' if carried else ''}{', '.join(carried)}")
        shown = [(name, why) for name, why in self.skipped if behind.get(name) is None]
        lines.append(f"skipped ({len(shown)})")
        lines += [f"  {name.ljust(width)}  {why}" for name, why in shown]
        return "\n".join(lines)
