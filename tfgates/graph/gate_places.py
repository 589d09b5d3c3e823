"""Which channels a gate lies on."""

from collections.abc import Iterator

import numpy as np

from tfgates.gates import Gate
from tfgates.graph.network import Node
from tfgates.graph.walk import Walk


def gate_of(node: Node) -> Gate | None:
    """The gate on channels that a call is of or carries inside, or None."""
    gate = node.op if isinstance(node.op, Gate) else getattr(node.op, "gate", None)
    return gate if isinstance(gate, Gate) and getattr(node.op, "granularity", "unit") == "unit" else None


def gate_places(walk: Walk) -> Iterator[tuple[Gate, np.ndarray]]:
    """Pairs of a gate and the groups of the channels that it lies on."""
    for node in walk.network.nodes:
        gate = gate_of(node)
        if gate is None:
            continue
        channels = walk.output(node)
        if getattr(node.op, "gated", "outputs") == "inputs":
            channels = walk.state.get((node.index, "x"))
        if channels is not None and len(channels) % gate.units == 0:
            yield gate, channels.group
