"""Operators and layers without weights that have no rule: elementwise if they prove to be so."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph import rule as rules
from tfgates.graph.equality import state_kept
from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.phase import heeds
from tfgates.graph.probe import alike, evaluate, obstacle, sample
from tfgates.graph.rule import Rule, Term
from tfgates.graph.rules.activations import call_at_inference
from tfgates.graph.rules.along import SIZES, follow_along, need_along, smaller_along
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
        if self.follow_along(walk, node):
            return None
        return self.refuse(walk, node, f"{Rule().why(node)}, and it {proofs[node.index]}")

    def follow_along(self, walk: Walk, node: Node) -> bool:
        """Tells the channels of what the call makes where it treats each of them by itself: see `along`."""
        if is_given_weights(node):
            return False
        functions = (self.function(node), self.in_training(walk.network, node))
        return follow_along(walk, node, [function for function in functions if function is not None])

    def backward(self, walk: Walk, node: Node) -> None:
        if walk.notes(node).along is not None:
            return need_along(walk, node)
        return super().backward(walk, node)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if surgery.walk.notes(node).along is None:
            return super().emit(surgery, node, args, kwargs)
        call = functools.partial(Rule.emit, self, surgery, node)
        return smaller_along(surgery, node, args, kwargs, call)

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
        in_training = self.in_training(network, node)
        if found is None and in_training is not None:
            found = obstacle(in_training, shape, dtypes)
            found = found and f"{found} in training"
        return found

    def in_training(self, network: Network, node: Node) -> Callable[..., Any] | None:
        """The call as a function of its tensors in training, where that may be another one.

        None for noise, too, which is not to be told from what it is put on.
        """
        layer = node.layer
        if layer is None or not heeds(layer) or any(network.dtypes[t] == "string" for t in node.inputs):
            return None
        function = self.function(node, training=True)
        generator = np.random.default_rng(0)
        shapes = [[s or size for s, size in zip(network.shapes[t], SIZES, strict=False)] for t in node.inputs]
        x = [sample(generator, shape, network.dtypes[t]) for t, shape in zip(node.inputs, shapes, strict=True)]
        try:
            with state_kept(layer):
                once, again = (tree.flatten(function(*map(ops.convert_to_tensor, x))) for _ in range(2))
        except Exception:
            # A layer of the user's can raise anything, of numbers that it does not take.
            return None
        arrays = [[np.asarray(ops.convert_to_numpy(y)) for y in made] for made in (once, again)]
        if not all(map(alike, *arrays)):
            return None

        def call(*tensors: Any) -> Any:
            with state_kept(layer):
                return function(*tensors)

        return call

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        # Where nothing is known of the channels it was not tried, and may well multiply matrices.
        elementwise = walk.network.proofs.get(node.index, "not tried") is None
        return [] if elementwise else super().terms(walk, node)

    def function(self, node: Node, training: bool = False) -> Callable[..., Any]:
        """The call as a function of its tensors, at inference or in training."""

        def call(*tensors: Any) -> Any:
            left = iter(tensors)
            args, kwargs = tree.map_structure(
                lambda x: next(left) if isinstance(x, Ref) else x, (node.args, node.kwargs)
            )
            if training:
                # What it draws or counts goes on.
                return node.op(*args, **{**kwargs, "training": True})
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


_PROBED = ProbedRule()


def find(op: Any) -> ProbedRule | None:
    """The rule for what has no weights, else None."""
    return None if isinstance(op, keras.Layer) and (op.weights or isinstance(op, keras.Model)) else _PROBED


rules.FALLBACKS.append(find)
