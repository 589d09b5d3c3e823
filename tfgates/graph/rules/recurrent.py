"""Recurrent layers: hidden units that nothing reads, or that a gate closes, go; and input features that are 0."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops, tree

from tfgates.anatomy.recurrent import SimpleRNNAnatomy
from tfgates.graph.calls import arguments_by_name
from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.sequence import InputFeatures
from tfgates.graph.slices import Fold
from tfgates.graph.state import set_value, states_of
from tfgates.graph.values import through_gate
from tfgates.graph.walk import Walk

# What feeds a gate inside of the layer.
FEEDS = ("logits", "noise")


@register_rule(SimpleRNNAnatomy)
class RecurrentRule(InputFeatures, DeclaredRule):
    """A hidden unit is read by the outputs, by other units through the recurrent kernel, and by itself.

    It is needed where an output that is needed, or a unit that is, reads it. States, those that are given and
    those that are returned, have the units of the layer: of what is given each unit takes its own, and the constant
    where the channel has gone. Which steps are masked does not matter.
    """

    def given(self, node: Node) -> dict[str, Any]:
        """The arguments of the call by their names, without what feeds a gate."""
        found = arguments_by_name(node.op, node.args, node.kwargs)
        return {name: value for name, value in found.items() if name not in FEEDS}

    def gate(self, walk: Walk, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Formula and value of the layer's own gate for each unit; TRUE and 1 without one."""
        gate, units = getattr(node.op, "gate", None), node.op.units
        return (np.full(units, TRUE, np.int64), np.ones(units)) if gate is None else walk.gate_positions(gate, units)

    def forward(self, walk: Walk, node: Node) -> None:
        layer, x, given = node.op, walk.inputs(node)[0], self.given(node)
        mask = given.get("mask")
        if isinstance(mask, Ref) and walk.channels[mask.tensor] is not None:
            channels = walk.channels[mask.tensor]
            walk.groups.lock(channels.group, f"{node.name}: a mask is kept whole")
            walk.need(channels, TRUE)
        walk.notes(node).x = self.take_input(walk, node, x, "inputs", layer.cell.kernel.shape[0], 2)
        units = walk.slot(node, "outputs", layer.units)
        states = [value for value in tree.flatten(given.get("initial_state")) if value is not None]
        walk.notes(node).states = [self.take_state(walk, node, value, units) for value in states]
        live, value = through_gate(walk, np.full(len(units), TRUE), np.full(len(units), np.nan), *self.gate(walk, node))
        # Read by the units themselves; and for each output what is read of it.
        read = walk.local(1, len(units))
        read.group, read.live = units, live
        walk.notes(node).read = read
        for tensor in node.outputs:
            y = walk.fresh(len(walk.shape(tensor)) - 1, len(units), live, value)
            y.group = units
            walk.channels[tensor] = y

    def take_state(self, walk: Walk, node: Node, value: Any, units: np.ndarray) -> Any:
        """Channels of a state that is given, which are those of the units."""
        x = walk.channels[value.tensor] if isinstance(value, Ref) else None
        if x is not None and (x.axis, len(x)) == (1, len(units)):
            return x
        if x is not None:
            walk.groups.lock(x.group, f"{node.name}: its initial state has its channels on another axis")
            walk.need(x, TRUE)
        walk.groups.lock(units, f"{node.name}: its initial state keeps its channels")
        return None

    def backward(self, walk: Walk, node: Node) -> None:
        read, outputs = walk.notes(node).read, [walk.channels[tensor] for tensor in node.outputs]
        need: np.ndarray = np.full(len(read), FALSE, np.int64)
        for y in outputs:
            need = walk.formulas.either(need, y.need)
        imagined = TRUE if walk.notes(node).candidate is None else walk.notes(node).candidate
        literal = walk.formulas.both(self.gate(walk, node)[0], imagined)
        need = walk.formulas.both(need, literal)
        if walk.symbolic:
            every = walk.formulas.any(need)
            need = walk.formulas.both(walk.formulas.either(need, every), literal)
            walk.need(walk.notes(node).x, np.full(len(walk.notes(node).x), every, np.int64))
        else:
            need = self.read_by_needed(walk, node, need != FALSE, literal != FALSE)
            kernel = walk.weight(node.op.cell.kernel)
            columns = kernel.reshape(len(kernel), -1, len(need))[..., need]
            self.demand(walk, walk.notes(node).x, np.any(columns != 0, axis=(1, 2)))
            need = np.where(need, TRUE, FALSE)
        walk.need(read, need)
        for state in walk.notes(node).states:
            if state is not None:
                walk.need(state, need)

    def read_by_needed(self, walk: Walk, node: Node, needed: np.ndarray, open_now: np.ndarray) -> np.ndarray:
        """The units that are needed, and those that they read, and so on."""
        reads = connections(walk.weight(node.op.cell.recurrent_kernel))
        before = -1
        while before != needed.sum():
            before = needed.sum()
            needed = needed | (reads[:, needed].any(axis=1) & open_now)
        return needed

    # The smaller layer.

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        return [x.tensor for x in tree.flatten(self.given(node)) if isinstance(x, Ref)]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        new = surgery.made(node) or self.smaller(surgery, node)
        told = {name: value for name, value in kwargs.items() if name not in FEEDS}
        args, told = self.with_states(surgery, node, args, told)
        results = new(*args, **{**told, **surgery.feeds(node, args[:1], kwargs)})
        left = surgery.keep(surgery.walk.units_of(node))
        for variable, old in zip(states_of(new), states_of(node.op), strict=True):
            set_value(variable, np.asarray(old)[:, left])
        if surgery.is_folded(node):
            return results
        factor = self.gate(surgery.walk, node)[1][left]
        return tree.map_structure(lambda y: surgery.scale(y, factor, len(y.shape) - 1, node), results)

    def with_states(self, surgery: Any, node: Node, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The arguments of the smaller call, with what the units that are left take of the states that are given."""
        known, units = iter(surgery.walk.notes(node).states), surgery.keep(surgery.walk.units_of(node))

        def own(state: Any) -> Any:
            x = None if state is None else next(known)
            return state if x is None else filled(surgery, node, state, x, units)

        if "initial_state" in kwargs:
            return args, {**kwargs, "initial_state": tree.map_structure(own, kwargs["initial_state"])}
        return (*args[:1], *(tree.map_structure(own, each) for each in args[1:2]), *args[2:]), kwargs

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        found = {}
        factor = self.gate(surgery.walk, node)[1][keep["outputs"]]
        if np.any(factor != 1.0):
            found["cell.recurrent_kernel"] = [Fold(factor[:, None])]
        factor = surgery.input_factor(node, len(keep["inputs"]))[keep["inputs"]]
        if np.any(factor != 1.0):
            found["cell.kernel"] = [Fold(factor[:, None])]
        return found

    def scales_inputs(self, walk: Walk, node: Node) -> bool:
        return walk.notes(node).x is walk.inputs(node)[0]

    def factor_behind(self, walk: Walk, node: Node) -> np.ndarray | None:
        return self.gate(walk, node)[1] if hasattr(node.op, "gate") and len(node.outputs) == 1 else None


def filled(surgery: Any, node: Node, tensor: Any, x: Channels, wanted: np.ndarray) -> Any:
    """The channels `wanted` of what is left of a vector, the constants that they are in place of those that went.

    Of a unit that is closed, and stays for a round width, the state is nobody's: 0.
    """
    left = surgery.keep(x.group)
    gone = wanted & ~left
    if not gone.any():
        return surgery.pick(tensor, wanted[left], 1)
    place = np.where(left, np.cumsum(left) - 1, left.sum())[wanted]
    result = ops.take(ops.pad(tensor, [[0, 0], [0, 1]]), place.astype("int32"), axis=1)
    constants = np.where(gone & np.isfinite(x.value), x.value, 0.0)
    return surgery.shift(result, constants[wanted], 1, node)


def connections(recurrent_kernel: np.ndarray) -> np.ndarray:
    """Boolean matrix (units, units): which units the others read at the next step."""
    units = len(recurrent_kernel)
    return (recurrent_kernel != 0).reshape(units, -1, units).any(axis=1)
