"""What all layers have in common that mix channels by a kernel: y = act(z * (x W + b))."""

import collections
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tfgates.anatomy import LinearAnatomy, take, variable_of
from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.keras_faults import misplaced_bias
from tfgates.graph.network import Node
from tfgates.graph.rule import Term, register_rule
from tfgates.graph.rules import activations
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.normalization import absorber
from tfgates.graph.slices import Fold
from tfgates.graph.values import GENERIC, is_generic, is_known, through_gate
from tfgates.graph.walk import Walk


def is_altered(layer: Any) -> bool:
    """Whether a layer computes with other weights than those that its class has: quantised, or with LoRA."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def altered(node: Node) -> str | None:
    """None, or the reason why a layer of such weights is left alone."""
    return f"{node.name}: quantised and LoRA layers are kept whole" if is_altered(node.op) else None


@register_rule(LinearAnatomy)
class LinearRule(DeclaredRule):
    """Convolutions and dense layers: where their inputs meet their outputs, their anatomy says."""

    linear = True

    # Why an input that is some constant cannot go.
    stuck = "its zero padding makes a closed channel's constant differ at the border"

    def axes(self, walk: Walk, node: Node) -> tuple[int, ...]:
        """Axis of the channels in the input and in the output."""
        ranks = (len(walk.shape(tensor)) for tensor in (node.inputs[0], node.outputs[0]))
        return tuple(self.anatomy(node).channel_axis(node.op, rank) for rank in ranks)

    def sizes(self, walk: Walk, node: Node) -> tuple[int, int]:
        """Number of input and output channels."""
        counts = self.counts(walk, node)
        return counts["inputs"], counts["outputs"]

    def mixing(self, walk: Walk, node: Node) -> np.ndarray:
        """Boolean matrix (inputs, outputs): where an input reaches an output."""
        kernels = {path: kernel != 0 for path, kernel in self.kernels(walk, node).items()}
        matrix = self.anatomy(node).mixing(node.op, kernels)
        return matrix if matrix.dtype == bool else matrix > 0

    def sums(self, walk: Walk, node: Node) -> np.ndarray:
        """Float matrix (inputs, outputs): what a unit of constant input adds to an output."""
        return self.anatomy(node).mixing(node.op, self.kernels(walk, node))

    def kernels(self, walk: Walk, node: Node) -> dict[str, np.ndarray]:
        """The variables that mix, as they act at inference, with gates on single weights in them."""
        paths, gates = self.anatomy(node).products, weight_gates(node.op)
        values = {path: walk.weight(variable_of(node.op, path)) for path in paths}
        return values if gates is None else {path: value * gates for path, value in values.items()}

    def uniform(self, node: Node) -> bool:
        """Whether a constant input is a constant behind it, for which there is a bias or can be one."""
        anatomy = self.anatomy(node)
        biased = getattr(node.op, "bias", None) is not None or anatomy.may_have_bias(node.op)
        return biased and anatomy.uniform(node.op)

    def supported(self, node: Node) -> str | None:
        return super().supported(node) or altered(node)

    # Gates inside of the layer.

    def gate(self, node: Node, where: str) -> Any:
        """The layer's own gate if it is on its `"inputs"` or `"outputs"`, else None."""
        gate = getattr(node.op, "gate", None)
        if gate is None or node.op.granularity != "unit":
            return None
        return gate if getattr(node.op, "gated", "outputs") == where else None

    def gated(self, walk: Walk, node: Node, where: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Formula and factor per position of the gate on `where`; TRUE and 1 without one."""
        gate = self.gate(node, where)
        if gate is None:
            return np.full(size, TRUE, np.int64), np.ones(size)
        return walk.gate_positions(gate, size)

    # The walk.

    def forward(self, walk: Walk, node: Node) -> None:
        reason = self.supported(node)
        x = walk.inputs(node)[0]
        in_axis, out_axis = self.axes(walk, node)
        misplaced = misplaced_bias(node.op, walk.shape(node.outputs[0]))
        if reason is None and misplaced is not None:
            reason = f"{node.name}: {misplaced}"
        if reason is not None:
            return self.refuse(walk, node, reason)
        if x is not None and x.axis != in_axis:
            walk.groups.lock(x.group, f"{node.name}: it mixes another axis than the one that carries the channels")
            walk.need(x, TRUE)
            x = None
        inputs, outputs = self.sizes(walk, node)
        if x is None:
            x = self.unknown_input(walk, node, in_axis, inputs)
        (kind,) = self.anatomy(node).reads.values()
        walk.slot(node, kind, x.group)
        walk.notes(node).x = x
        live, value = through_gate(walk, x.live, x.value, *self.gated(walk, node, "inputs", inputs))
        walk.notes(node).constants = (live, value)
        self.compare_calls(walk, node, x)
        live, value = self.mix(walk, node, live, value, outputs)
        live, value = through_gate(walk, live, value, *self.gated(walk, node, "outputs", outputs))
        y = walk.fresh(out_axis, outputs, live, activations.through(activation_of(node), value, out_axis))
        y.group = self.output_groups(walk, node, x, outputs)
        walk.set(node, y)
        obstacle = activations.obstacle_of(activation_of(node), out_axis)
        if obstacle is not None:
            y.live[:] = TRUE
            walk.groups.lock(y.group, f"{node.name}: its activation {obstacle}")

    def compare_calls(self, walk: Walk, node: Node, x: Channels) -> None:
        """Keeps inputs whose constants would go into one bias but differ between a layer's calls."""
        live, value = walk.notes(node).constants
        folded = np.where((live != TRUE) & is_known(value), value, 0.0)
        notes = walk.notes_of_layer(node)
        first = notes.folded = folded if notes.folded is None else notes.folded
        differ = (folded != first) | (walk.seen_before(node) & is_generic(folded))
        if differ.any():
            walk.groups.lock(x.group[differ], f"{node.name}: it is called again where this is another constant")

    def unknown_input(self, walk: Walk, node: Node, axis: int, size: int) -> Channels:
        """Channels for an input of which nothing is known: kept whole."""
        x = walk.local(axis, size)
        walk.groups.lock(x.group, f"input of {node.name}")
        return x

    def output_groups(self, walk: Walk, node: Node, x: Channels, outputs: int) -> np.ndarray:
        slot = walk.slot(node, "outputs", outputs)
        self.tie_parts(walk, node, x.group, slot)
        return slot

    def mix(
        self, walk: Walk, node: Node, live: np.ndarray, value: np.ndarray, outputs: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Through kernel and bias."""
        if walk.symbolic:
            constant = (live != TRUE) & self.passes(node, value)
            zero = getattr(node.op, "bias", None) is None and not np.any(value[live != TRUE])
            live = self.per_part(walk, node, np.where(constant, live, TRUE), outputs)
            return live, np.full(outputs, 0.0 if zero else GENERIC)
        bias = self.bias(walk, node, outputs)
        constant = (live == FALSE) & self.passes(node, value)
        mixing = self.mixing(walk, node)
        alive = mixing[~constant].any(axis=0)
        known = np.where(constant, value, 0.0)
        total = bias + (known @ self.sums(walk, node) if np.any(known) else 0.0)
        return np.where(alive, TRUE, FALSE).astype(np.int64), np.where(alive, np.nan, total)

    def per_part(self, walk: Walk, node: Node, formulas: np.ndarray, size: int) -> np.ndarray:
        """For each of `size` channels the formula "any in its part"."""
        parts = np.split(formulas, self.anatomy(node).parts(node.op))
        return np.repeat([walk.formulas.any(part) for part in parts], size // len(parts)).astype(np.int64)

    def passes(self, node: Node, value: np.ndarray) -> np.ndarray:
        """Which constants make a constant: 0 always, others only where no padding is seen."""
        return is_known(value) if self.uniform(node) else value == 0.0

    def bias(self, walk: Walk, node: Node, outputs: int) -> np.ndarray:
        bias = getattr(node.op, "bias", None)
        return np.zeros(outputs) if bias is None else walk.weight(bias).astype(np.float64)

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.notes(node).x, walk.output(node)
        inputs, outputs = self.sizes(walk, node)
        demand = y.need
        if not activations.is_elementwise(activation_of(node), y.axis):
            demand = np.full(outputs, walk.formulas.any(demand), np.int64)
        demand = walk.formulas.both(demand, self.gated(walk, node, "outputs", outputs)[0])
        if walk.symbolic:
            need = self.per_part(walk, node, demand, inputs)
        else:
            reached: Any = self.mixing(walk, node)[:, demand != FALSE].any(axis=1)
            need = np.where(reached, TRUE, FALSE).astype(np.int64)
        live, value = walk.notes(node).constants
        stuck = (live != TRUE) & (need != FALSE) & ~self.passes(node, value)
        if stuck.any():
            walk.groups.lock(
                x.group[stuck],
                f"{node.name}: {self.stuck}",
            )
        walk.need(x, walk.formulas.both(need, self.gated(walk, node, "inputs", inputs)[0]))

    # The cost.

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        terms = super().terms(walk, node)
        gains = getattr(node.op, "bias", None) is None and walk.symbolic and not walk.seen_before(node)
        return [*terms, *self.bias_gained(walk, node)] if gains and node.index not in walk.refused else terms

    def bias_gained(self, walk: Walk, node: Node) -> Iterator[Term]:
        """The bias that constants of removed inputs will need, whatever the weights are by then."""
        live, value = walk.notes(node).constants
        groups = walk.notes(node).x.group
        folded = (live != TRUE) & (value != 0.0) & (walk.alive[groups] != TRUE)
        if folded.any() and absorber(walk, node) is None:
            yield Term(node.name, 1, 0, (walk.slots[id(node.op)]["outputs"],), groups[folded])

    # The smaller layer.

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        function = activation_of(node)
        return activations.is_linear(function) or (bool(np.all(factor >= 0.0)) and activations.is_homogeneous(function))

    def scales_inputs(self, walk: Walk, node: Node) -> bool:
        # Not where it mixes another axis than the one that carries the channels.
        anatomy = self.anatomy(node)
        return walk.notes(node).x is walk.inputs(node)[0] and anatomy.parts(node.op) == 1

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        walk, anatomy, found = surgery.walk, self.anatomy(node), collections.defaultdict[str, list[Fold]](list)
        axes, gates = anatomy.axes(node.op), weight_gates(node.op)
        if gates is not None:
            (path,) = anatomy.products
            found[path].append(Fold(take(gates, anatomy.kept(node.op, keep)[path])))
        factors = {}
        for kind, outside in (("inputs", surgery.input_factor), ("outputs", surgery.factor)):
            size = len(keep[kind])
            factors[kind] = self.gated(walk, node, kind, size)[1] * outside(node, size)
        for kind, paths in (("inputs", anatomy.products), ("outputs", anatomy.products[::-1])):
            if np.any(factors[kind] != 1.0):
                path = next(path for path in paths if kind in axes[path])
                behind = (1,) * (len(axes[path]) - 1 - axes[path].index(kind))
                found[path].append(Fold(factors[kind][keep[kind]].reshape(-1, *behind)))
        constants, added = self.constants_left(walk, node, surgery.keep)
        factor, left = factors["outputs"], keep["outputs"]
        if added or getattr(node.op, "bias", None) is not None:
            anatomy.add_bias(node.op, config)
            changes = [Fold(offset=constants[left])] if np.any(constants[left]) else []
            found["bias"] = changes
            if np.any(factor != 1.0):
                behind = (1,) * (len(axes["bias"]) - 1 - axes["bias"].index("outputs")) if "bias" in axes else ()
                found["bias"] = [*changes, Fold(factor[left].reshape(-1, *behind))]
        elif np.any(constants[left]):
            surgery.offset_mean(absorber(walk, node), constants * factor)
        return found

    def constants_left(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, bool]:
        """What the constants of the removed inputs add to each output, and whether that needs a new bias."""
        slots = walk.slots[id(node.op)]
        keep_in, keep_out = keep(slots["inputs"]), keep(slots["outputs"])
        live, value = walk.notes(node).constants
        folded = np.where(~keep_in & (live == FALSE) & is_known(value), value, 0.0)
        if not np.any(folded):
            return np.zeros(len(keep_out)), False
        constants = folded @ self.sums(walk, node)
        new = getattr(node.op, "bias", None) is None and absorber(walk, node) is None
        return constants, new and bool(np.any(constants[keep_out]))

    def terms_left(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[Term]:
        terms = self.terms(walk, node)
        first = node.index not in walk.refused and not walk.seen_before(node)
        if first and self.constants_left(walk, node, keep)[1]:
            terms.append(Term(node.name, 1, 0, (walk.slots[id(node.op)]["outputs"],)))
        return terms


def activation_of(node: Node) -> Any:
    """The activation of a call's layer, None without one."""
    return getattr(node.op, "activation", None)


def weight_gates(layer: Any) -> np.ndarray | None:
    """The gates on the single weights of a kernel at inference, or None."""
    if getattr(layer, "granularity", "unit") != "weight":
        return None
    return np.asarray(
        keras.ops.convert_to_numpy(keras.ops.cast(layer.gate.test_gates(), layer.kernel.dtype)), np.float32
    )
