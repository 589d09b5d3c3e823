"""Which units can go in the midst of training: what they leave must hold for whatever training makes of the rest."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from keras import tree

from tfgates.gates import Gate, gates_of
from tfgates.graph.gate_places import channels_of, gate_of, unit_by_unit
from tfgates.graph.network import Ref
from tfgates.graph.walk import Walk
from tfgates.pruning.plan import PruningPlan

# In place of zeros in weights: a weight that is 0 now can be another number after the next step.
TINY = 1e-30

# What a gate may be called on beside its input.
FEEDS = ("logits", "noise")


class TrainingWalk(Walk):
    """A walk that sees the zeros of closed units alone, and constants where training and inference agree on them."""

    both_modes = True

    def weight(self, variable: Any) -> np.ndarray:
        key = id(variable)
        if key not in self._weights:
            value = super().weight(variable)
            self._weights[key] = np.where(value == 0, TINY, value).astype(value.dtype)
        return self._weights[key]


class Closed:
    """A selection that closes given units and opens all others.

    Args:
        model: a model with gates.
        closed: dict from a gate to a boolean for each of its units.
    """

    def __init__(self, model: Any, closed: Mapping[Any, np.ndarray]) -> None:
        self.values: dict[Any, np.ndarray] = {}
        for gate in gates_of(model):
            if gate.unit_shape is not None:
                units = closed.get(gate, np.zeros(gate.units, bool))
                self.values[gate] = (1.0 - units).reshape(gate.unit_shape).astype("float32")

    def tighter(self, table: Any) -> None:
        return None

    def changes(self) -> list[tuple[str, str]]:
        return []

    def unmoved(self, table: Any) -> list[tuple[str, str]]:
        return []

    def warning(self) -> str | None:
        return None


class ShrinkingPlan(PruningPlan):
    """What is removed from a network whose training continues, and which units of its gates are removed with it.

    A unit is removed only if everything that it closes can be removed; other units stay, with all of their channels.

    Args:
        model: a functional `GatedModel`.
        closed: dict from a gate to a boolean array, for each of its units whether it is to be removed.

    Attributes:
        gone: the same dict for what is actually removed, for all gates on channels of the network.
    """

    counts_before = False

    def __init__(self, model: Any, closed: Mapping[Any, Any]) -> None:
        self.gone = {gate: np.array(units, bool).reshape(-1) for gate, units in closed.items() if np.any(units)}
        super().__init__(model, selection=Closed(model, self.gone))  # type: ignore[arg-type]

    def _walk(self) -> TrainingWalk:
        return TrainingWalk(self.network)

    def _follow(self) -> None:
        while True:
            super()._follow()
            found = self._stuck()
            if not found:
                return
            for gate, units in found.items():
                self.gone[gate] &= ~units
            selection: Any = Closed(self.model, self.gone)
            self.selection = selection

    def _measure(self) -> None:
        # All that the units that are not to go lie on stays, be it needed or not.
        for gate, groups in self._places():
            stays: np.ndarray = ~np.repeat(self.gone_of(gate), len(groups) // gate.units)
            self.keep[groups[stays]] = True
        self.keep = self.walk.closure(self.keep)
        self.used = self._used()
        super()._measure()

    def gone_of(self, gate: Any) -> np.ndarray:
        """For each unit of a gate whether it is removed."""
        return self.gone.get(gate, np.zeros(gate.units, bool))

    def _places(self) -> Iterator[tuple[Gate, np.ndarray]]:
        """Pairs of a gate and the groups of the channels that it lies on, those of a unit next to each other."""
        for node in self.network.nodes:
            gate = gate_of(node)
            if gate is None or gate.axis is None:
                continue
            inside = gate is not node.op
            channels = channels_of(self.walk, node, getattr(node.op, "gated", "outputs"))
            if channels is None or len(channels) % gate.units:
                continue
            if not inside and gate.axis % len(self.network.shapes[node.inputs[0]]) != channels.axis:
                continue
            yield gate, unit_by_unit(gate, channels.group)

    def _stuck(self) -> dict[Gate, np.ndarray]:
        """Units that are to go and cannot: a dict as `gone`."""
        found = {gate: np.zeros(gate.units, bool) for gate in self.gone}
        placed = set()
        for gate, groups in self._places():
            placed.add(gate)
            if gate in found:
                found[gate] |= self.gone[gate] & self.keep[groups].reshape(gate.units, -1).any(axis=1)
        called = {gate_of(node) for node in self.network.nodes if node.index in self.used}
        for gate in self.gone:
            # A gate on a whole branch goes with its call; one whose channels are not followed stays.
            if gate not in placed and (gate in called or gate.axis is not None):
                found[gate] |= self.gone[gate]
        return {gate: units for gate, units in found.items() if units.any()}

    def _used(self) -> set[int]:
        """The calls that are left, with those that make logits and noise for gates that are."""
        used = super()._used()
        stack = [self.network.nodes[index] for index in used]
        while stack:
            node = stack.pop()
            feeds = [x for name in FEEDS for x in tree.flatten(node.kwargs.get(name))]
            read = feeds if gate_of(node) is not None or hasattr(node.op, "gate") else []
            if getattr(node.op, "feeds_gates", False):
                read = tree.flatten((node.args, node.kwargs))
            for ref in read:
                producer = self.network.producer[ref.tensor] if isinstance(ref, Ref) else None
                if producer is not None and producer.index not in used:
                    used.add(producer.index)
                    stack.append(producer)
        return used
