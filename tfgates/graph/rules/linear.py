"""What all layers have in common that mix channels by a kernel: y = act(z * (x W + b))."""

from typing import Any

import numpy as np

from tfgates.anatomy import LinearAnatomy
from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.keras_faults import misplaced_bias
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules import activations
from tfgates.graph.rules.mixing import MixingRule, activation_of
from tfgates.graph.values import GENERIC, is_generic, is_known, through_gate
from tfgates.graph.walk import Walk


def is_altered(layer: Any) -> bool:
    """Whether a layer computes with other weights than those that its class has: quantised, or with LoRA."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def altered(node: Node) -> str | None:
    """None, or the reason why a layer of such weights is left alone."""
    return f"{node.name}: quantised and LoRA layers are kept whole" if is_altered(node.op) else None


@register_rule(LinearAnatomy)
class LinearRule(MixingRule):
    """Convolutions and dense layers: where their inputs meet their outputs, their anatomy says."""

    # Why an input that is some constant cannot go.
    stuck = "its zero padding makes a closed channel's constant differ at the border"

    def supported(self, node: Node) -> str | None:
        return super().supported(node) or altered(node)

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
        live, value = self.mix(walk, node, live, value, outputs)
        live, value = through_gate(walk, live, value, *self.gated(walk, node, "outputs", outputs))
        y = walk.fresh(out_axis, outputs, live, activations.through(activation_of(node), value, out_axis))
        y.group = self.output_groups(walk, node, x, outputs)
        walk.set(node, y)
        obstacle = activations.obstacle_of(activation_of(node), out_axis)
        if obstacle is not None:
            y.live[:] = TRUE
            walk.groups.lock(y.group, f"{node.name}: its activation {obstacle}")

    def compare_calls(self, walk: Walk, node: Node, x: Channels, need: np.ndarray) -> None:
        """Notes the constants that go into the bias, and keeps inputs where they differ between a layer's calls.

        Of a call that does not need an input, it is all the same what its constant is.
        """
        live, value = walk.notes(node).constants
        constants = np.where((live != TRUE) & is_known(value), value, 0.0)
        notes, needed = walk.notes_of_layer(node), need != FALSE
        if notes.folded is None or notes.needed is None:
            notes.folded, notes.needed = constants, needed
            return
        differ = needed & notes.needed & ((constants != notes.folded) | is_generic(constants))
        if differ.any():
            walk.groups.lock(x.group[differ], f"{node.name}: it is called again where this is another constant")
        notes.folded = np.where(notes.needed, notes.folded, constants)
        notes.needed = notes.needed | needed

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
        self.compare_calls(walk, node, x, need)
        live, value = walk.notes(node).constants
        stuck = (live != TRUE) & (need != FALSE) & ~self.passes(node, value)
        if stuck.any():
            walk.groups.lock(
                x.group[stuck],
                f"{node.name}: {self.stuck}",
            )
        walk.need(x, walk.formulas.both(need, self.gated(walk, node, "inputs", inputs)[0]))
