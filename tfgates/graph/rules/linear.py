"""What all layers have in common that mix channels by a kernel: y = act(z * (x W + b))."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfgates.graph.copier import config_of
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.rule import Rule, Term
from tfgates.graph.rules import activations
from tfgates.graph.rules.normalization import absorber
from tfgates.graph.sizes import places
from tfgates.graph.values import GENERIC, is_generic, is_known, through_gate


def is_altered(layer):
    """Whether a layer computes with other weights than those that its class has: quantised, or with LoRA."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def altered(node):
    """None, or the reason why a layer of such weights is left alone."""
    return f"{node.name}: quantised and LoRA layers are kept whole" if is_altered(node.op) else None


class LinearRule(Rule):
    """Base of convolutions and dense layers.

    A subclass says where the channels are (`axes`), how inputs meet outputs (`mixing`: where the
    kernel is non-zero; `sums`: what a constant input adds to each output), whether a constant
    input makes the same at all places (`uniform`), and how the kernel shrinks (`shrink`).
    """

    def axes(self, walk, node):
        """Axis of the channels in the input and in the output."""
        raise NotImplementedError

    def sizes(self, node):
        """Number of input and output channels."""
        raise NotImplementedError

    def kernels(self, walk, node):
        """The weights that mix channels, as numpy arrays."""
        raise NotImplementedError

    def mixing(self, walk, node):
        """Boolean matrix (inputs, outputs): where an input reaches an output."""
        raise NotImplementedError

    def sums(self, walk, node):
        """Float matrix (inputs, outputs): what a unit of constant input adds to an output."""
        raise NotImplementedError

    def uniform(self, node):
        """Whether a constant input gives the same at all places (no zero padding is seen)."""
        return True

    def supported(self, node):
        """None, or the reason why the layer is left alone."""
        return altered(node)

    # Gates inside of the layer.

    def gate(self, node, where):
        """The layer's own gate if it is on its `"inputs"` or `"outputs"`, else None."""
        gate = getattr(node.op, "gate", None)
        if gate is None or node.op.granularity != "unit":
            return None
        return gate if getattr(node.op, "gated", "outputs") == where else None

    def gated(self, walk, node, where, size):
        """Formula and factor per position of the gate on `where`; TRUE and 1 without one."""
        gate = self.gate(node, where)
        if gate is None:
            return np.full(size, TRUE, np.int64), np.ones(size)
        return walk.gate_positions(gate, size)

    # The walk.

    def forward(self, walk, node):
        reason = self.supported(node)
        x = walk.inputs(node)[0]
        in_axis, out_axis = self.axes(walk, node)
        if reason is not None:
            return self.refuse(walk, node, reason)
        if x is not None and x.axis != in_axis:
            walk.groups.lock(x.group, f"{node.name}: it mixes another axis than the one that carries the channels")
            walk.need(x, TRUE)
            x = None
        inputs, outputs = self.sizes(node)
        if x is None:
            x = self.unknown_input(walk, node, in_axis, inputs)
        walk.slot(node, "in", x.group)
        walk.state[node.index, "x"] = x
        live, value = through_gate(walk, x.live, x.value, *self.gated(walk, node, "inputs", inputs))
        walk.state[node.index, "constants"] = (live, value)
        self.compare_calls(walk, node, x)
        live, value = self.mix(walk, node, live, value, outputs)
        live, value = through_gate(walk, live, value, *self.gated(walk, node, "outputs", outputs))
        y = walk.fresh(out_axis, outputs, live, activations.through(node.op.activation, value, out_axis))
        y.group = self.output_groups(walk, node, x, outputs)
        walk.set(node, y)
        obstacle = activations.obstacle_of(node.op.activation, out_axis)
        if obstacle is not None:
            y.live[:] = TRUE
            walk.groups.lock(y.group, f"{node.name}: its activation {obstacle}")

    def compare_calls(self, walk, node, x):
        """Keeps inputs whose constants would go into one bias but differ between a layer's calls."""
        live, value = walk.state[node.index, "constants"]
        folded = np.where((live != TRUE) & is_known(value), value, 0.0)
        first = walk.state.setdefault((id(node.op), "folded"), folded)
        differ = (folded != first) | (walk.seen_before(node) & is_generic(folded))
        if differ.any():
            walk.groups.lock(x.group[differ], f"{node.name}: it is called again where this is another constant")

    def unknown_input(self, walk, node, axis, size):
        """Channels for an input of which nothing is known: kept whole."""
        x = walk.local(axis, size)
        walk.groups.lock(x.group, f"input of {node.name}")
        return x

    def output_groups(self, walk, node, x, outputs):
        return walk.slot(node, "out", outputs)

    def mix(self, walk, node, live, value, outputs):
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

    def parts(self, node):
        """Number of equal parts that share no input and no output, as the groups of a convolution."""
        return 1

    def per_part(self, walk, node, formulas, size):
        """For each of `size` channels the formula "any in its part"."""
        parts = np.split(formulas, self.parts(node))
        return np.repeat([walk.formulas.any(part) for part in parts], size // len(parts)).astype(np.int64)

    def passes(self, node, value):
        """Which constants make a constant: 0 always, others only where no padding is seen."""
        return is_known(value) if self.uniform(node) else value == 0.0

    def bias(self, walk, node, outputs):
        bias = getattr(node.op, "bias", None)
        return np.zeros(outputs) if bias is None else walk.weight(bias).astype(np.float64)

    def backward(self, walk, node):
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.state[node.index, "x"], walk.output(node)
        inputs, outputs = self.sizes(node)
        demand = y.need
        if not activations.is_elementwise(node.op.activation, y.axis):
            demand = np.full(outputs, walk.formulas.any(demand), np.int64)
        demand = walk.formulas.both(demand, self.gated(walk, node, "outputs", outputs)[0])
        if walk.symbolic:
            need = self.per_part(walk, node, demand, inputs)
        else:
            need = self.mixing(walk, node)[:, demand != FALSE].any(axis=1)
            need = np.where(need, TRUE, FALSE).astype(np.int64)
        live, value = walk.state[node.index, "constants"]
        stuck = (live != TRUE) & (need != FALSE) & ~self.passes(node, value)
        if stuck.any():
            walk.groups.lock(
                x.group[stuck],
                f"{node.name}: its zero padding makes a closed channel's constant differ at the border",
            )
        walk.need(x, walk.formulas.both(need, self.gated(walk, node, "inputs", inputs)[0]))

    # The cost.

    def positions(self, walk, node):
        """How often the kernel is applied for one example; nan where a dimension is unknown."""
        return places(walk.network, node.outputs[0], self.axes(walk, node)[1])

    def terms(self, walk, node):
        if node.index in walk.refused:
            return super().terms(walk, node)
        slots = walk.slots[id(node.op)]
        once = 0 if walk.seen_before(node) else 1
        per_pair = self.kernel_size(node)
        macs = per_pair * self.positions(walk, node)
        terms = [Term(node.name, per_pair * once, macs, (slots["in"], slots["out"]))]
        if getattr(node.op, "bias", None) is not None:
            terms.append(Term(node.name, once, 0, (slots["out"],)))
        elif walk.symbolic and once:
            terms.extend(self.bias_gained(walk, node))
        for variable in activations.weights_of(node.op.activation):
            size = math.prod(variable.shape)
            if size == len(slots["out"]):
                terms.append(Term(node.name, once, 0, (slots["out"],)))
            else:
                terms.append(Term(node.name, once * size, 0, ()))
        return terms

    def bias_gained(self, walk: Any, node: Any) -> Iterator[Term]:
        """The bias that constants of removed inputs will need, whatever the weights are by then."""
        live, value = walk.state[node.index, "constants"]
        groups = walk.state[node.index, "x"].group
        folded = (live != TRUE) & (value != 0.0) & (walk.alive[groups] != TRUE)
        if folded.any() and absorber(walk, node) is None:
            yield Term(node.name, 1, 0, (walk.slots[id(node.op)]["out"],), groups[folded])

    def kernel_size(self, node):
        """Weights per pair of an input and an output channel."""
        return 1

    # The smaller layer.

    plain = None  # The Keras class without a gate.

    def sources(self, walk, node, keep):
        return node.inputs[:1]

    def emit(self, surgery, node, args, kwargs):
        walk = surgery.walk
        if node.index in walk.refused:
            return super().emit(surgery, node, args, kwargs)
        new = surgery.made(node) or self.smaller(surgery, node)
        return new(self.adapt_input(surgery, node, args[0]))

    def adapt_input(self, surgery, node, tensor):
        return tensor

    def smaller(self, surgery, node):
        walk, layer = surgery.walk, node.op
        slots = walk.slots[id(layer)]
        keep_in, keep_out = surgery.keep(slots["in"]), surgery.keep(slots["out"])
        if not keep_out.any() or not keep_in.any():
            surgery.nothing_left(node)
        bias, added = self.bias_left(walk, node, surgery.keep)
        factor_in = self.gated(walk, node, "inputs", len(keep_in))[1]
        factor_in = factor_in * surgery.input_factor(node, len(keep_in))
        factor_out = self.gated(walk, node, "outputs", len(keep_out))[1]
        factor_out = factor_out * surgery.factor(node, len(keep_out))
        config = config_of(layer, self.plain)
        weights = self.shrink(walk, node, keep_in, keep_out, factor_in, factor_out, config)
        if added or getattr(layer, "bias", None) is not None:
            self.add_bias(node, config)
            weights["bias"] = (bias * factor_out)[keep_out]
        elif np.any(bias[keep_out]):
            surgery.offset_mean(absorber(walk, node), bias * factor_out)
        weights["activation"] = activations.variables_left(walk, layer.activation, keep_out, self.axes(walk, node)[1])
        return surgery.make(node, self.plain, config, weights)

    def bias_left(self, walk, node, keep):
        """The bias with the constants of the removed inputs folded in, and whether it is one more weight."""
        slots = walk.slots[id(node.op)]
        keep_in, keep_out = keep(slots["in"]), keep(slots["out"])
        live, value = walk.state[node.index, "constants"]
        folded = np.where(~keep_in & (live == FALSE) & is_known(value), value, 0.0)
        bias = self.bias(walk, node, len(keep_out))
        if not np.any(folded):
            return bias, False
        bias = bias + folded @ self.sums(walk, node)
        new = getattr(node.op, "bias", None) is None and absorber(walk, node) is None
        return bias, new and bool(np.any(bias[keep_out]))

    def terms_left(self, walk, node, keep):
        terms = self.terms(walk, node)
        first = node.index not in walk.refused and not walk.seen_before(node)
        if first and self.bias_left(walk, node, keep)[1]:
            terms.append(Term(node.name, 1, 0, (walk.slots[id(node.op)]["out"],)))
        return terms

    def add_bias(self, node, config):
        """Writes into `config` that the layer has a bias, be it only for folded constants."""
        config["use_bias"] = True

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        """Slices the kernels, folds the gates' factors in, and writes the widths into `config`."""
        raise NotImplementedError


def kernel_of(walk, layer):
    """The kernel that acts at inference, gated weights included."""
    if getattr(layer, "granularity", "unit") == "weight":
        return np.asarray(keras.ops.convert_to_numpy(layer.gated_kernel()), np.float32)
    return walk.weight(layer.kernel)
