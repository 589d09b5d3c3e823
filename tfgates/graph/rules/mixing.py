"""What layers that mix channels by a kernel are made of, and what is folded into the weights of a smaller one."""

import collections
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tfgates.anatomy import take, variable_of
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import Term
from tfgates.graph.rules import activations
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.normalization import absorber
from tfgates.graph.slices import Fold
from tfgates.graph.walk import Walk


class MixingRule(DeclaredRule):
    """A layer y = act(z * (x W + b)): its kernels, its gates, the bias that its constants need, and its folds."""

    linear = True

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

    # The cost.

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        terms = super().terms(walk, node)
        gains = getattr(node.op, "bias", None) is None and walk.symbolic and not walk.seen_before(node)
        return [*terms, *self.bias_gained(walk, node)] if gains and node.index not in walk.refused else terms

    def bias_gained(self, walk: Walk, node: Node) -> Iterator[Term]:
        """The bias that constants of removed inputs will need, whatever the weights are by then."""
        constants, groups = walk.notes_of_layer(node).folded, walk.notes(node).x.group
        if constants is None:
            return
        folded = (constants != 0.0) & (walk.alive[groups] != TRUE)
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
        constants = walk.notes_of_layer(node).folded
        folded = np.zeros(len(keep_in)) if constants is None else np.where(keep_in, 0.0, constants)
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
