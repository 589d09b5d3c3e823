"""Operators and layers without weights that have no rule: elementwise if they prove to be so."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import tree

from tfgates.graph import rule as rules
from tfgates.graph.equality import state_kept
from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.probe import alike, along, evaluate, obstacle, sample
from tfgates.graph.rule import Rule, Term
from tfgates.graph.rules.activations import call_at_inference
from tfgates.graph.rules.merge import MergeRule
from tfgates.graph.values import combine_constants
from tfgates.graph.walk import Walk


class ProbedRule(MergeRule):
    """`f(x1, x2, ...)` position by position, smaller tensors broadcast, for any f that is tried and found so.

    What is tried holds after training too: f has no weights of its own, and is given none.
    """

    multiplies = True

    def operands(self, node: Node) -> list[Any]:
        return [x for x in tree.flatten((node.args, node.kwargs)) if isinstance(x, Ref)]

    def forward(self, walk: Walk, node: Node) -> None:
        if all(channels is None for channels in walk.inputs(node)) and len(node.outputs) == 1:
            walk.set(node, None)
            return
        proofs = walk.network.proofs
        if node.index not in proofs:
            proofs[node.index] = self.obstacle(walk.network, node)
        if proofs[node.index] is None:
            return super().forward(walk, node)
        x = walk.inputs(node)[0]
        alone = x is not None and all(channels is None for channels in walk.inputs(node)[1:])
        if alone and self.alike_along(walk, node, x.axis):
            zero = self.keeps_zero(walk, node)
            return walk.set(node, walk.like(x, value=np.where((x.value == 0.0) & zero, 0.0, np.nan)))
        return self.refuse(walk, node, f"{Rule().why(node)}, and it {proofs[node.index]}")

    def alike_along(self, walk: Walk, node: Node, axis: int) -> bool:
        """Whether the call treats each position along an axis by itself, all in the same way."""
        known = walk.network.proofs.setdefault("along", {})
        if (node.index, axis) not in known:
            shapes = [walk.shape(tensor) for tensor in (node.inputs[0], *node.outputs)]
            same = (
                not is_given_weights(node)
                and len(shapes) == 2
                and len(shapes[0]) == len(shapes[1])
                and shapes[0][axis] == shapes[1][axis]
                and not any(walk.network.dtypes[tensor] == "string" for tensor in node.inputs)
            )
            shape, dtype = sized(walk, node, node.inputs[0]), walk.network.dtypes[node.inputs[0]]
            known[node.index, axis] = same and all(
                along(function, shape, axis, dtype) for function in self.beside_others(walk, node)
            )
        return known[node.index, axis]

    def keeps_zero(self, walk: Walk, node: Node) -> bool:
        """Whether the call makes 0 of 0."""
        zeros: np.ndarray = np.zeros(sized(walk, node, node.inputs[0]), walk.network.dtypes[node.inputs[0]])
        return not any(evaluate(function, zeros).any() for function in self.beside_others(walk, node))

    def beside_others(self, walk: Walk, node: Node) -> list[Callable[..., Any]]:
        """The call as functions of its first tensor, with random numbers for the others, small ones and large ones."""
        generator, function = np.random.default_rng(2), self.function(node)

        def about(offset: float) -> Callable[..., Any]:
            others = []
            for tensor in node.inputs[1:]:
                dtype = walk.network.dtypes[tensor]
                value = sample(generator, sized(walk, node, tensor), dtype, largest=max(10.0, abs(offset)))
                if "int" in dtype:
                    limits = np.iinfo(value.dtype)
                    value = value + value.dtype.type(np.clip(offset, limits.min // 2, limits.max // 2))
                elif dtype != "bool":
                    value = value + value.dtype.type(offset)
                others.append(keras.ops.convert_to_tensor(value))
            return lambda x: function(x, *others)

        return [about(offset) for offset in (OFFSETS if len(node.inputs) > 1 else OFFSETS[:1])]

    def backward(self, walk: Walk, node: Node) -> None:
        along_axis = walk.notes(node).parts is None and node.index not in walk.refused
        x, y = walk.inputs(node)[0] if node.inputs else None, walk.output(node)
        if along_axis and x is not None and y is not None:
            return walk.need(x, y.need)
        return super().backward(walk, node)

    def obstacle(self, network: Network, node: Node) -> str | None:
        """Why the call is not elementwise in its tensors, or None; see `tfgates.graph.probe.obstacle`."""
        if len(node.outputs) != 1:
            return "has several outputs"
        if is_given_weights(node):
            return "is given a weight, of whose values to come trying it says nothing"
        operands = self.operands(node)
        shapes = [tuple(s or size for s, size in zip(network.shapes[t.tensor], SIZES, strict=False)) for t in operands]
        shape = tuple(s or size for s, size in zip(network.shapes[node.outputs[0]], SIZES, strict=False))
        dtypes = [network.dtypes[t.tensor] for t in operands]
        if "string" in dtypes:
            return "reads strings"
        function = self.function(node)
        found = obstacle(function, shape, dtypes)
        if found is None and any(s != shape for s in shapes):
            generator = np.random.default_rng(1)
            x = [sample(generator, s, d) for s, d in zip(shapes, dtypes, strict=True)]
            try:
                wide = [np.broadcast_to(v, shape) for v in x]
                if not alike(evaluate(function, *x), evaluate(function, *wide)):
                    found = "does not broadcast its tensors"
            except Exception:
                found = "does not broadcast its tensors"
        return found

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        # Where nothing is known of the channels it was not tried, and may well multiply matrices.
        elementwise = walk.network.proofs.get(node.index, "not tried") is None
        return [] if elementwise else super().terms(walk, node)

    def function(self, node: Node) -> Callable[..., Any]:
        """The call as a function of its tensors."""

        def call(*tensors: Any) -> Any:
            left = iter(tensors)
            args, kwargs = tree.map_structure(
                lambda x: next(left) if isinstance(x, Ref) else x, (node.args, node.kwargs)
            )
            if node.layer is None:
                return node.op(*args, **kwargs)
            with state_kept(node.layer):
                if len(args) == 1 and not kwargs:
                    return call_at_inference(node.op, args[0])
                return node.op(*args, **kwargs)

        return call

    def combined(self, walk: Walk, node: Node, values: list[np.ndarray]) -> np.ndarray:
        dtypes = [walk.network.dtypes[t.tensor] for t in self.operands(node)]

        def call(columns: list[np.ndarray]) -> np.ndarray:
            given = [v[:, None].astype(d) for v, d in zip(columns, dtypes, strict=True)]
            return evaluate(self.function(node), *given).reshape(-1)

        return combine_constants(call, values)


def is_given_weights(node: Node) -> bool:
    """Whether variables are among the arguments of a call."""
    return any(isinstance(x, keras.Variable) for x in tree.flatten((node.args, node.kwargs)))


def sized(walk: Walk, node: Node, tensor: int) -> tuple[int, ...]:
    """The shape of a tensor that a call reads, with a size for each that is left open, one of another if it can be."""
    others = [walk.shape(each) for each in node.inputs]
    found = []
    for axis, size in enumerate(walk.shape(tensor)):
        known = (shape[axis] for shape in others if axis < len(shape) and shape[axis] not in (None, 1))
        found.append(size or next(known, SIZES[axis]))
    return tuple(found)


# About which numbers those of other tensors are tried.
OFFSETS = (0.0, 100.0, -100.0, 1e3, -1e3, 1e5, -1e5)

# For sizes that the model leaves open, the batch first.
SIZES = (2, 3, 4, 5, 6, 7, 8, 9)
_PROBED = ProbedRule()


def find(op: Any) -> ProbedRule | None:
    """The rule for what has no weights, else None."""
    return None if isinstance(op, keras.Layer) and (op.weights or isinstance(op, keras.Model)) else _PROBED


rules.FALLBACKS.append(find)
