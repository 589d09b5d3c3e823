"""What was gated, and what was not and why."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgates.gates import Gate
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import rule_of
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.walk import Walk
from tfgates.layers import GateGenerator
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

    def complete(self, network: Network, places: list[Any], candidates: dict[int, Any]) -> None:
        """Adds the layers with weights that are not in it yet.

        Args:
            network: the `Network` that is gated.
            places: where gates go.
            candidates: the same for a `Walk`.
        """
        listed = {name for name, _ in [*self.gated, *self.skipped]} | {place.layer for place in places}
        walk = Walk(network, symbolic=True, candidates=candidates)
        names: dict[Any, list[str]] = {}
        for place in sorted(places, key=lambda place: place.node.index):
            names.setdefault(place.key, []).append(place.layer)
        for node in network.nodes:
            if node.name in listed or not has_weights(node):
                continue
            listed.add(node.name)
            gates, part = gates_on(walk, node)
            leading = [name for gate in gates for name in names.get(gate) or [gate.name]]
            if leading:
                self.carried[node.name] = leading
                word = "gates" if len(gates) > 1 else "gate"
                self.skipped.append((node.name, f"{part} with the {word} of {', '.join(leading)}"))
            else:
                self.skipped.append((node.name, reason(walk, node)))

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


def has_weights(node: Node) -> bool:
    """Whether a call is of a layer with weights other than those of a gate."""
    return node.layer is not None and bool(node.op.weights) and not isinstance(node.op, (Gate, GateGenerator))


def gates_on(walk: Walk, node: Node) -> tuple[list[Any], str]:
    """The gates on the channels of a layer, or on its branch, and what goes with them, in words."""
    groups = walk.units_of(node)
    if groups is None or node.index in walk.refused:
        return [], ""
    formulas = walk.alive[groups]
    # A layer of a branch goes with it, even where its channels, those of the stream, stay.
    used = walk.used[node.index]
    going = [used] if used != TRUE else [formula for formula in formulas if formula != TRUE]
    units = frozenset().union(*(term for f in np.unique(going).astype(int) for term in walk.formulas.terms[f]))
    gates = list(dict.fromkeys(walk.units[unit][0] for unit in sorted(units)))
    whole = used != TRUE or len(going) == len(formulas)
    return gates, "goes" if whole else f"{len(going)} of its {len(formulas)} channels go"


def reason(walk: Walk, node: Node) -> str:
    """Why a layer has no gate and goes with none."""
    rule = rule_of(node)
    why = walk.refused.get(node.index) or rule.keeps
    if not why and isinstance(rule, LinearRule):
        # The others are in the report already, unless only gates on whole branches were asked for.
        return "it is in no branch with a gate"
    if not why:
        channels = walk.output(node)
        if channels is None:
            return "its channels cannot be followed"
        lock = next(filter(None, map(walk.reason, channels.group)), None)
        why = "no gate is on its channels" + (f": {lock}" if lock else "")
    for prefix in (f"{node.name} ({type(node.op).__name__}): ", f"{node.name}: "):
        why = why.removeprefix(prefix)
    return why
