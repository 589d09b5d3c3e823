"""Which channels a gate lies on."""

from collections.abc import Iterator

import numpy as np

from tfgates.gates import Gate
from tfgates.graph.channels import Channels
from tfgates.graph.network import Node
from tfgates.graph.walk import Walk


def gate_of(node: Node) -> Gate | None:
    """The gate on channels that a call is of or carries inside, or None."""
    gate = node.op if isinstance(node.op, Gate) else getattr(node.op, "gate", None)
    return gate if isinstance(gate, Gate) and getattr(node.op, "granularity", "unit") == "unit" else None


def gate_places(walk: Walk) -> Iterator[tuple[Gate, np.ndarray]]:
    """Pairs of a gate and the groups of the channels that it lies on, those of a unit next to each other."""
    for node in walk.network.nodes:
        gate = gate_of(node)
        if gate is None:
            continue
        channels = channels_of(walk, node, getattr(node.op, "gated", "outputs"))
        if channels is not None and len(channels) % gate.units == 0:
            yield gate, unit_by_unit(gate, channels.group)


def unit_by_unit(gate: Gate, groups: np.ndarray) -> np.ndarray:
    """The groups of the channels that a gate lies on, those of a unit next to each other."""
    return groups.reshape(-1, gate.units).T.ravel() if gate.interleaved else groups


def channels_of(walk: Walk, node: Node, kind: str) -> Channels | None:
    """The channels of the units of a kind: `"outputs"` and `"inputs"` of a call, or `"heads"` inside of it."""
    if kind == "outputs":
        return walk.output(node)
    return walk.notes(node).x if kind == "inputs" else walk.notes(node).heads
