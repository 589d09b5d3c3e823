"""Every layer with weights in the report: gated, carried along, or skipped and why."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfgates.gates import Gate
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import rule_of
from tfgates.graph.walk import Walk, known_walk
from tfgates.graph.walk_state import MADE
from tfgates.layers import GateGenerator
from tfgates.training.report import Report


def complete(report: Report, network: Network, places: list[Any], candidates: dict[tuple[int, str], Any]) -> None:
    """Adds to a report the layers with weights that are not in it yet.

    Args:
        report: what was gated so far; changed.
        network: the `Network` that is gated.
        places: where gates go.
        candidates: the same for a `Walk`.
    """
    listed = {name for name, _ in [*report.gated, *report.skipped]} | {place.layer for place in places}
    walk = known_walk(network, candidates)
    names: dict[Any, list[str]] = {}
    for place in sorted(places, key=lambda place: place.node.index):
        names.setdefault(place.key, []).append(place.layer)
    for node in network.nodes:
        if node.name in listed or not has_weights(node):
            continue
        listed.add(node.name)
        gates, part = gates_on(walk, node)
        leading = [name for gate in gates for name in names.get(gate) or [gate.name]]
        of_layers = [place.layer for place in places if node.index in place.goes]
        gates, part, leading = [*gates, *of_layers], part or "goes", [*leading, *of_layers]
        if leading:
            report.carried[node.name] = leading
            word = "gates" if len(gates) > 1 else "gate"
            report.skipped.append((node.name, f"{part} with the {word} of {', '.join(leading)}"))
        else:
            report.skipped.append((node.name, reason(walk, node)))
    report.skipped += [(path, "left out: nothing that the model computes reads this weight") for path in network.unread]


def has_weights(node: Node) -> bool:
    """Whether a call is of a layer with weights other than those of a gate."""
    return node.layer is not None and bool(node.op.weights) and not isinstance(node.op, (Gate, GateGenerator))


def gates_on(walk: Walk, node: Node) -> tuple[list[Any], str]:
    """The gates on the channels of a layer, or on its branch, and what goes with them, in words."""
    groups = walk.units_of(node, MADE)
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
    if not why and rule.linear:
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


def skipped_by_name(network: Network, report: Report, successor: Callable[[Any], Any]) -> dict[str, str]:
    """Why layers got no gate and go with none, by the names of what was made of them.

    Args:
        successor: function from a layer to what was made of it, or None.
    """
    skipped = {name: why for name, why in report.skipped if name not in report.carried}
    made = [(node.name, successor(node.op)) for node in network.nodes if node.name in skipped]
    return {layer.name: skipped[name] for name, layer in made if layer is not None}
