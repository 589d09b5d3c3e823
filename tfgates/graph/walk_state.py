"""What is known while a network is walked over: what rules ask of the walk, and what they tell it."""

import collections
from collections.abc import Collection, Container
from typing import Any

import numpy as np
from keras import ops

from tfgates.gates import Gate
from tfgates.graph.channels import Channels, Groups
from tfgates.graph.formula import FALSE, TRUE, Formulas
from tfgates.graph.network import Network, Node
from tfgates.graph.notes import CallNotes, LayerNotes
from tfgates.graph.values import is_known, numbers

# The kinds of units that a layer makes.
MADE = ("outputs", "channels")


class WalkState:
    """The tables of a walk: channels, groups, needs, weights and gates.

    Args:
        network, symbolic, candidates: see `tfgates.graph.walk.Walk`.
    """

    # Whether constants count only where they are the same in training as at inference.
    both_modes = False

    def __init__(
        self, network: Any, symbolic: bool = False, candidates: dict[tuple[int, str], tuple[Any, int]] | None = None
    ) -> None:
        self.network = network if isinstance(network, Network) else Network(network)
        self.symbolic = symbolic
        self.candidates = candidates or {}
        self.formulas = Formulas()
        self.groups = Groups()
        self.channels: list[Any] = [None] * len(self.network.shapes)
        self.spread: dict[int, Any] = {}
        # Tensors that are one number, which no input has part in.
        self.numbers: dict[int, float] = {}
        self.refused: dict[int, str] = {}
        self.infinite: dict[int, str] = {}
        self.dropped: dict[int, Any] = {}
        self.slots: dict[int, dict[str, np.ndarray]] = {}
        self._notes: dict[int, CallNotes] = {}
        self._notes_of_layers: dict[int, LayerNotes] = {}
        self.units: list[tuple[Any, int]] = []
        self._gates: dict[Any, Any] = {}
        self._weights: dict[int, np.ndarray] = {}
        self._first_call: dict[int, int] = {}
        self._number_of_calls: collections.Counter[Any] = collections.Counter()
        self._local: list[Channels] = []
        self._implications: list[tuple[np.ndarray, np.ndarray]] = []

    def inputs(self, node: Node) -> list[Any]:
        """The channels of the call's inputs, one entry per tensor; None where unknown."""
        return [self.channels[t] for t in node.inputs]

    def output(self, node: Node) -> Any:
        """The channels of the call's first output."""
        return self.channels[node.outputs[0]]

    def set(self, node: Node, channels: Channels | None) -> None:
        """Sets the channels of the call's first output."""
        self.channels[node.outputs[0]] = channels

    def shape(self, tensor: int) -> tuple[Any, ...]:
        return self.network.shapes[tensor]

    def fresh(self, axis: int, size: int, live: Any = TRUE, value: Any = np.nan) -> Channels:
        """Channels that nothing else is tied to yet."""
        return Channels(
            axis,
            self.groups.new(size),
            *self._settled(
                np.broadcast_to(np.asarray(live, np.int64), (size,)),
                np.broadcast_to(np.asarray(value, np.float64), (size,)),
            ),
        )

    def local(self, axis: int, size: int) -> Channels:
        """Fresh channels for what a rule takes its input to be; counted in the verdict."""
        self._local.append(self.fresh(axis, size))
        return self._local[-1]

    def like(
        self,
        channels: Channels,
        axis: int | None = None,
        live: np.ndarray | None = None,
        value: np.ndarray | None = None,
    ) -> Channels:
        """Channels of the same groups, as after an elementwise operation."""
        return Channels(
            channels.axis if axis is None else axis,
            channels.group,
            *self._settled(channels.live if live is None else live, channels.value if value is None else value),
        )

    def _settled(self, live: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is no constant is live, and a number too large for one is none."""
        value = np.asarray(value, np.float64) if self.symbolic else numbers(value)
        return np.where(is_known(value), live, TRUE).astype(np.int64), value.copy()

    def need(self, channels: Channels, formulas: Any) -> None:
        """Notes that `channels` are needed under `formulas` (too)."""
        channels.need = self.formulas.either(channels.need, formulas)

    def imply(self, parts: np.ndarray, wholes: np.ndarray) -> None:
        """Notes that `wholes` must stay while `parts`, entry by entry, do."""
        self._implications.append((parts, wholes))

    def weight(self, variable: Any) -> np.ndarray:
        """A variable's value as a numpy array, fetched once."""
        key = id(variable)
        if key not in self._weights:
            value = np.asarray(ops.convert_to_numpy(variable))
            self._weights[key] = value if value.dtype == np.float64 else value.astype(np.float32)
        return self._weights[key]

    def nonzero(self, kernel: np.ndarray, axes: Collection[int]) -> np.ndarray:
        """Where a kernel is non-zero, reduced over `axes`; everywhere in a symbolic walk."""
        shape = tuple(s for i, s in enumerate(kernel.shape) if i not in axes)
        return np.ones(shape, bool) if self.symbolic else np.any(kernel != 0, axis=tuple(axes))

    def notes(self, node: Node) -> CallNotes:
        """What rules have noted of a call."""
        return self._notes.setdefault(node.index, CallNotes())

    def notes_of_layer(self, node: Node) -> LayerNotes:
        """What rules have noted of the layer of a call, for all of its calls."""
        return self._notes_of_layers.setdefault(id(node.op), LayerNotes())

    def called_once(self, node: Node) -> bool:
        """Whether no other call is of the same layer."""
        if not self._number_of_calls:
            self._number_of_calls = collections.Counter(id(n.op) for n in self.network.nodes)
        return self._number_of_calls[id(node.op)] == 1

    def seen_before(self, node: Node) -> bool:
        """Whether an earlier call is of the same layer."""
        return self._first_call[id(node.op)] != node.index

    def layers_before(self, node: Node) -> list[Any]:
        """The layers that have a call before this one, each once."""
        nodes = self.network.nodes
        calls = sorted(first for first in self._first_call.values() if first < node.index)
        return [nodes[i].op for i in calls if nodes[i].layer is not None]

    def count_calls(self, used: Container[int]) -> None:
        """From now on only the calls with indices in `used` count as earlier calls of a layer."""
        self._first_call = {}
        for node in self.network.nodes:
            if node.index in used:
                self._first_call.setdefault(id(node.op), node.index)

    def slot(self, node: Node, name: str, groups: np.ndarray | int) -> np.ndarray:
        """The groups of one side of a layer's weights, the same for all calls of the layer.

        `groups` are the groups there in this call (tied to those of earlier calls), or a number:
        then fresh ones are made in the first call and returned by the later ones.
        """
        slots = self.slots.setdefault(id(node.op), {})
        if name not in slots:
            slots[name] = self.groups.new(groups) if isinstance(groups, int) else groups
        elif not isinstance(groups, int):
            self.groups.tie(slots[name], groups)
        return slots[name]

    def units_of(self, node: Node, kinds: tuple[str, ...] = ("heads", *MADE)) -> np.ndarray | None:
        """The groups of the units of a layer: its heads, or the channels that it makes. None where it has none."""
        slots = self.slots.get(id(node.op), {})
        return next((slots[kind] for kind in kinds if kind in slots), None)

    def gate(self, gate: Gate) -> tuple[np.ndarray, np.ndarray]:
        """Formula and inference value of each unit of a gate, as two flat arrays."""
        key = id(gate)
        if key not in self._gates:
            values = np.asarray(ops.convert_to_numpy(gate.test_gates()), np.float64).ravel()
            if not np.all(np.isfinite(values)):
                raise ValueError(
                    f"The values of gate {gate.name!r} must be finite. Received: "
                    f"{int(np.sum(~np.isfinite(values)))} of {values.size} are not"
                )
            if self.symbolic:
                formulas = self._literals(gate, values.size)
            else:
                formulas = np.where(np.asarray(ops.convert_to_numpy(gate.open_units())).ravel(), TRUE, FALSE).astype(
                    np.int64
                )
            self._gates[key] = (formulas, values)
        return self._gates[key]

    def _literals(self, key: Any, count: int) -> np.ndarray:
        start = len(self.units)
        self.units.extend((key, i) for i in range(count))
        return np.array([self.formulas.literal(start + i) for i in range(count)], np.int64)

    def gate_positions(self, gate: Gate, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Formula and value of a gate for each of `size` positions along its axis."""
        formulas, values = self.gate(gate)
        if len(formulas) == size:
            return formulas, values
        spread = np.tile if gate.interleaved else np.repeat
        return spread(formulas, size // len(formulas)), spread(values, size // len(formulas))

    def imagined(self, node: Node, kind: str, size: int) -> np.ndarray | None:
        """The formula of an imagined gate for each of the `size` units of a kind, or None where there is none."""
        if (node.index, kind) not in self.candidates:
            return None
        key, units = self.candidates[node.index, kind]
        if key not in self._gates:
            self._gates[key] = self._literals(key, units)
        return (np.tile if kind == "interleaved" else np.repeat)(self._gates[key], size // units)

    def _mark(self, alive: np.ndarray, roots: np.ndarray, formulas: np.ndarray) -> None:
        # Each pair once: many places have the same one.
        _, once = np.unique(roots * len(self.formulas.terms) + formulas, return_index=True)
        roots, formulas = roots[np.sort(once)], formulas[np.sort(once)]
        order = np.argsort(roots, kind="stable")
        roots, formulas = roots[order], formulas[order]
        while len(roots):
            first = np.r_[True, roots[1:] != roots[:-1]]
            alive[roots[first]] = self.formulas.either(alive[roots[first]], formulas[first])
            roots, formulas = roots[~first], formulas[~first]
