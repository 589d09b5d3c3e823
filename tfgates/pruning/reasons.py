"""Why closed units have to stay."""

import numpy as np

from tfgates.graph.formula import FALSE
from tfgates.graph.gate_places import gate_of, gate_places
from tfgates.graph.network import Node
from tfgates.graph.walk import Walk


def reasons_to_stay(walk: Walk, keep: np.ndarray, rounds: bool) -> list[tuple[str, str]]:
    """Pairs of a gate's name and how many of its closed units stay, with the reason.

    Args:
        walk: the walk over the network with its gates as they stand.
        keep: booleans per group, what stays.
        rounds: bool, whether units may stay for `min_units` or `round_to`.
    """
    found: list[tuple[str, str]] = []
    seen = set()
    infinite = {int(walk.root[group]): reason for group, reason in walk.infinite.items()}
    for gate, groups in gate_places(walk):
        seen.add(gate)
        formulas = walk.gate(gate)[0]
        formulas = np.repeat(formulas, len(groups) // len(formulas))
        reasons: dict[str, int] = {}
        for group in groups[(formulas == FALSE) & keep[groups]]:
            reason = walk.reason(group) or infinite.get(int(walk.root[group])) or other_reason(rounds)
            reasons[reason] = reasons.get(reason, 0) + 1
        found.extend((gate.name, f"{count} closed: {reason}") for reason, count in reasons.items())
    for node in walk.network.nodes:
        unplaced = gate_of(node)
        if unplaced is None or unplaced in seen:
            continue
        closed = int(np.sum(walk.gate(unplaced)[0] == FALSE))
        if closed:
            found.append((unplaced.name, f"{closed} closed: {why_unknown(walk, node)}"))
    return found


def why_unknown(walk: Walk, node: Node | None) -> str:
    """Why nothing is known of the channels that a gate lies on: what is found going back."""
    while node is not None:
        if node.index in walk.refused:
            return walk.refused[node.index]
        node = walk.network.producer[node.inputs[0]]
    return "it lies on an input of the model, whose channels are what they are"


def other_reason(rounds: bool) -> str:
    """Why a closed unit stays whose channels nothing keeps by themselves."""
    if rounds:
        return "kept for `min_units` or `round_to`, or shared with channels that are open"
    return "still needed: a constant other than 0 behind it, an addition, or a group that goes as a whole"
