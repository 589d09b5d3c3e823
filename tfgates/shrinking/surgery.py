"""Making the smaller network with gates on the units that remain."""

from typing import Any

import numpy as np
from keras import ops

from tfgates.gates import Gate
from tfgates.graph.configs import config_of
from tfgates.graph.gate_places import gate_of
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_of
from tfgates.graph.slices import Fold, Heir, Slice, Slices
from tfgates.layers import GateGenerator, GateNoise
from tfgates.pruning.surgery import Surgery
from tfgates.shrinking.plan import FEEDS, ShrinkingPlan


class ShrinkingSurgery(Surgery):
    """As `Surgery`; gates, generators and noise become smaller ones of their kind.

    Args:
        plan: the `ShrinkingPlan` to follow.
    """

    gates_stay = True

    def __init__(self, plan: ShrinkingPlan) -> None:
        super().__init__(plan.walk, plan.keep, plan.used)
        # All gates that are left are open here: there is nothing to fold.
        self._factors, self._input_factors, self._folded = {}, {}, set()
        self._plan = plan
        self._smaller_gates: dict[int, tuple[Gate, Gate]] = {}

    def emit(self, node: Node, args: Any, kwargs: Any) -> Any:
        """The call that takes the place of one of the network."""
        if isinstance(node.op, (GateGenerator, GateNoise)):
            layer = self.made(node) or self._feeder(node)
            return layer(*args, **kwargs)
        if isinstance(node.op, Gate):
            gate = self._smaller_gates[id(node.op)][1] if id(node.op) in self._smaller_gates else self._alone(node)
            return gate(args[0], **self.feeds(node, args, kwargs))
        return rule_of(node).emit(self, node, args, kwargs)

    def gates(self) -> list[tuple[Gate, Gate]]:
        """Pairs of a gate of the network and the one in its place."""
        return list(self._smaller_gates.values())

    def _alone(self, node: Node) -> Gate:
        gate = self.make(node, type(node.op), self._gate_config(node.op), {})
        self._smaller_gates[id(node.op)] = (node.op, gate)
        return gate

    def gate(self, old: Gate) -> Gate:
        """The smaller gate in place of one inside of a layer."""
        if id(old) not in self._smaller_gates:
            self._smaller_gates[id(old)] = (old, type(old).from_config(self._gate_config(old)))
        return self._smaller_gates[id(old)][1]

    def _gate_config(self, gate: Gate) -> dict[str, Any]:
        config = config_of(gate)
        if gate.groups is not None:
            config["groups"] = len(self.units_left(gate))
        return config

    def units_left(self, gate: Gate) -> np.ndarray:
        """The numbers of the units of a gate that are left; all of one that goes as a whole."""
        left = np.flatnonzero(~self._plan.gone_of(gate))
        return left if len(left) else np.arange(gate.units)

    def shell(self, layer: Any, plain: Any) -> tuple[Any, dict[str, Any]]:
        gate = getattr(layer, "gate", None)
        if not isinstance(gate, Gate):
            return super().shell(layer, plain)
        return type(layer), dict(config_of(layer), gate=self.gate(gate))

    def feeds(self, node: Node, args: Any, kwargs: Any) -> dict[str, Any]:
        if not isinstance(getattr(node.op, "gate", node.op), Gate):
            return {}
        found = {name: kwargs[name] for name in (*FEEDS, "training") if name in kwargs}
        # Attention reads several tensors by position.
        alone = getattr(node.op, "gated", "outputs") != "heads"
        return {**dict(zip(FEEDS, args[1:] if alone else (), strict=False)), **found}

    def _read_by(self, tensor: int) -> Any:
        """The gate that reads what was made for gates, or None."""
        gates = [gate_of(node) or getattr(node.op, "gate", None) for node in self.walk.network.consumers[tensor]]
        return next((gate for gate in gates if gate is not None), None)

    def _feeder(self, node: Node) -> Any:
        """The smaller generator or noise."""
        config = config_of(node.op)
        gates = [self._read_by(tensor) for tensor in node.outputs]
        if isinstance(node.op, GateNoise):
            config["units"] = node.op.units if gates[0] is None else len(self.units_left(gates[0]))
        else:
            config["units"] = [len(each) for each in self._chain(node)]
            config["dense_units"] = node.op.units if node.op.dense_units is None else node.op.dense_units
        return self.make(node, type(node.op), config, {})

    def _chain(self, node: Node) -> list[np.ndarray]:
        """For each gate of a generator the units that are left."""
        gates = [self._read_by(tensor) for tensor in node.outputs]
        sizes = zip(gates, node.op.units, strict=True)
        return [np.arange(size) if gate is None else self.units_left(gate) for gate, size in sizes]

    # Where each variable comes from.

    def heirs(self, slices: Slices) -> list[Heir]:
        found = {id(each.variable): each for each in super().heirs(slices)}

        def add(variable: Any, old: Any, kept: dict[int, np.ndarray], *folds: Fold) -> None:
            found[id(variable)] = Heir(variable, Slice(old.path, old, kept), folds)

        for old, gate in self._smaller_gates.values():
            add(gate.seed_generator.state, old.seed_generator.state, {})
            if old.weights:
                kept = {0: self.units_left(old)} if len(old.unit_shape) == 1 else self._of_weights(old)
                add(gate.weights[0], old.weights[0], kept)
        for node in self.walk.network.nodes:
            new: Any = self.successor(node.op) if node.index in self._used else None
            if isinstance(node.op, GateNoise):
                add(new.seed_generator.state, node.op.seed_generator.state, {})
            elif isinstance(node.op, GateGenerator):
                for variable, old, kept, folds in links(new, node.op, self._chain(node)):
                    add(variable, old, kept, *folds)
            elif new is not None and hasattr(new, "variables"):
                # Seeds of layers that were made anew.
                pairs = zip(seeds_of(new), seeds_of(node.op), strict=False)
                for variable, old in pairs:
                    if id(variable) not in found:
                        add(variable, old, {})
        return list(found.values())

    def _of_weights(self, gate: Gate) -> dict[int, np.ndarray]:
        """What is left of a gate on the single weights of a kernel."""
        for node in self.walk.network.nodes:
            if getattr(node.op, "gate", None) is gate:
                return (rule_of(node).slices(self.walk, node, self.keep) or {}).get("kernel", {})
        return {}


def seeds_of(layer: Any) -> list[Any]:
    """The states of seeds that a layer holds."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def links(new: GateGenerator, old: GateGenerator, left: list[np.ndarray]) -> Any:
    """For each variable of a smaller generator `(variable, variable before, kept, folds)`.

    What the logits of units that go add to those of the next gate stays as it is now.

    Args:
        left: for each gate the units that are left.
    """
    logits = [np.asarray(ops.convert_to_numpy(each), np.float64) for each in old.generate()]
    if old.order == "backward":
        left, logits = left[::-1], logits[::-1]
    yield new._links[0][0], old._links[0][0], {0: left[0]}, ()
    for number in range(1, len(left)):
        before, after = left[number - 1], left[number]
        gone = np.setdiff1d(np.arange(len(logits[number - 1])), before)
        pairs = list(zip(new._links[number], old._links[number], strict=True))
        for place, ((kernel, bias), (old_kernel, old_bias)) in enumerate(pairs):
            rows = {0: before} if place == 0 else {}
            columns = after if place == len(pairs) - 1 else None
            yield kernel, old_kernel, rows | ({} if columns is None else {1: columns}), ()
            folds: tuple[Fold, ...] = ()
            if place == 0 and len(gone):
                stored = np.asarray(ops.convert_to_numpy(old_kernel), np.float64)
                added = logits[number - 1][gone] @ stored[gone] / old.spread(number)
                folds = (Fold(offset=added if columns is None else added[columns]),)
            yield bias, old_bias, {} if columns is None else {0: columns}, folds
