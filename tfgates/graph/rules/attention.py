"""Attention: heads that are closed, or that the output projection does not read, go."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import layers, tree

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Term, register_rule
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.linear import is_altered
from tfgates.graph.rules.sequence import InputFeatures
from tfgates.graph.sizes import entries_per_example, places
from tfgates.graph.slices import Fold
from tfgates.graph.values import GENERIC
from tfgates.graph.walk import Walk
from tfgates.keras_internals import layers_within, output_projection
from tfgates.layers import GatedMultiHeadAttention


@register_rule(layers.MultiHeadAttention, GatedMultiHeadAttention)
class AttentionRule(InputFeatures, DeclaredRule):
    """`sum_h z_h softmax(q_h k_h) v_h W_h + b`: a closed head, and one that W does not read, is the constant 0.

    Without any head the layer makes the constant b. Features that it reads and that are 0 go, and so do
    features that it makes and nothing needs.
    """

    linear = True

    KERNELS = (("query", "_query_dense"), ("key", "_key_dense"), ("value", "_value_dense"))

    def _parts(self, node: Node) -> dict[str, Any]:
        return {name: getattr(node.op, attribute) for name, attribute in self.KERNELS}

    def _tensors(self, node: Node) -> dict[str, int]:
        """The numbers of the tensors read as query, value and key."""
        names = ("query", "value", "key")
        given = dict(zip(names, node.args, strict=False))
        given.update({k: v for k, v in node.kwargs.items() if k in names})
        if given.get("key") is None:
            given["key"] = given.get("value")
        return {name: r.tensor for name, r in given.items() if isinstance(r, Ref)}

    def unsupported(self, walk: Walk, node: Node, tensors: dict[str, int]) -> str | None:
        """None, or why the layer is left alone."""
        layer = node.op
        if any(map(is_altered, layers_within(layer))):
            return "quantised and LoRA layers are kept whole"
        if len(node.outputs) > 1 or len(tensors) < 3:
            return "its scores are an output too, or its inputs are not tensors"
        if len(output_projection(layer).kernel.shape) != 3:
            return "attention with outputs of several axes is kept whole"
        if len(layer.attention_axes) != len(walk.shape(tensors["value"])) - 2:
            return "attention over some of the axes is kept whole"
        return None

    def gated(self, walk: Walk, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Formula and factor of the gate on each head; TRUE and 1 without one."""
        count, gate = self.counts(walk, node)["heads"], getattr(node.op, "gate", None)
        if gate is not None:
            return walk.gate_positions(gate, count)
        literal = walk.imagined(node, "heads", count)
        return np.full(count, TRUE, np.int64) if literal is None else literal, np.ones(count)

    def forward(self, walk: Walk, node: Node) -> None:
        shape, tensors = walk.shape(node.outputs[0]), self._tensors(node)
        reason = self.unsupported(walk, node, tensors)
        if reason:
            return self.refuse(walk, node, f"{node.name}: {reason}")
        self.take(walk, node, tensors, len(shape) - 1)
        for tensor in set(node.inputs) - set(tensors.values()):
            channels = walk.channels[tensor]
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: a mask is kept whole")
                walk.need(channels, TRUE)
        open_heads = self.gated(walk, node)[0]
        heads = walk.local(0, len(open_heads))
        heads.group, heads.live = walk.slot(node, "heads", len(open_heads)), open_heads.copy()
        walk.notes(node).heads = heads
        y = walk.fresh(len(shape) - 1, *self.made_of(walk, node, open_heads))
        y.group = self.output_groups(walk, node, len(y))
        return walk.set(node, y)

    def take(self, walk: Walk, node: Node, tensors: dict[str, int], axis: int) -> None:
        """Notes what is known of the features that each projection reads."""
        walk.notes(node).taken = {
            name: self.take_input(walk, node, walk.channels[tensors[name]], name, dense.kernel.shape[0], axis)
            for name, dense in self._parts(node).items()
        }

    def output_groups(self, walk: Walk, node: Node, size: int) -> np.ndarray:
        return walk.slot(node, "outputs", size)

    def made_of(self, walk: Walk, node: Node, open_heads: np.ndarray) -> tuple[int, Any, Any]:
        """How many features it makes, under which gates they are no constants, and which constants they are then."""
        projection = output_projection(node.op)
        size = projection.kernel.shape[2]
        if walk.symbolic:
            return size, walk.formulas.some([*np.unique(open_heads)]), 0.0 if projection.bias is None else GENERIC
        kernel = walk.weight(projection.kernel)[self.positions(walk, node, open_heads != FALSE)]
        bias = np.zeros(size) if projection.bias is None else walk.weight(projection.bias)
        reached = np.any(kernel != 0, axis=(0, 1))
        return size, np.where(reached, TRUE, FALSE), np.where(reached, np.nan, bias)

    def positions(self, walk: Walk, node: Node, units: np.ndarray) -> np.ndarray:
        """`units`, something for each unit of heads, for each head that the output projection reads."""
        return np.repeat(units, output_projection(node.op).kernel.shape[0] // len(units))

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused:
            return super().backward(walk, node)
        heads, need = walk.notes(node).heads, walk.output(node).need
        if walk.symbolic:
            used = walk.formulas.both(walk.formulas.any(need), self.gated(walk, node)[0])
        else:
            read = walk.nonzero(walk.weight(output_projection(node.op).kernel), (1,))[:, need != FALSE].any(axis=1)
            used = np.where(read.reshape(len(heads), -1).any(axis=1), self.gated(walk, node)[0], FALSE)
        walk.need(heads, used)
        for name, x in walk.notes(node).taken.items():
            walk.need(x, self.features(walk, node, self._parts(node)[name], used))
        return None

    def features(self, walk: Walk, node: Node, dense: Any, used: np.ndarray) -> Any:
        """Under which gates the features that a projection reads are needed, when the heads are needed under `used`."""
        if walk.symbolic:
            return walk.formulas.some([*np.unique(used)])
        kernel = walk.nonzero(walk.weight(dense.kernel), (2,))
        needed: np.ndarray = np.repeat(used != FALSE, kernel.shape[1] // len(used))
        return np.where(kernel[:, needed].any(axis=1), TRUE, FALSE)

    # The cost.

    def tensor(self, node: Node, name: str) -> int:
        return node.outputs[0] if name == "outputs" else self._tensors(node)[name]

    def places(self, walk: Walk, node: Node, name: str) -> float:
        return places(walk.network, self.tensor(node, name), -1)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        terms = super().terms(walk, node)
        if node.index in walk.refused:
            return terms
        found = {name: self.places(walk, node, name) for name in ("query", "key")}
        scores = self.anatomy(node).scores(node.op, found) / entries_per_example(
            walk.network, self.tensor(node, "query")
        )
        return [*terms, Term(node.name, 0, scores, (walk.slots[id(node.op)]["heads"],))]

    # The smaller layer.

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        return [x.tensor for x in tree.flatten((node.args, of_keras(node.kwargs))) if isinstance(x, Ref)]

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        return True

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        heads, outputs = keep["heads"], keep.get("outputs", np.ones(surgery.walk.shape(node.outputs[0])[-1], bool))
        inside = self.positions(surgery.walk, node, np.where(heads, self.gated(surgery.walk, node)[1], np.nan))
        inside, outside = inside[~np.isnan(inside)], surgery.factor(node, len(outputs))[outputs]
        kernel = [Fold(inside.reshape(-1, 1, 1))] if np.any(inside != 1.0) else []
        behind = [Fold(outside)] if np.any(outside != 1.0) else []
        found = {"_output_dense.kernel": [*kernel, *behind]}
        return found if output_projection(node.op).bias is None else {**found, "_output_dense.bias": behind}

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        kwargs = {**of_keras(kwargs), **surgery.feeds(node, args[:1], kwargs)}
        return (surgery.made(node) or self.smaller(surgery, node))(*args, **kwargs)


def of_keras(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a call without those for its gate."""
    return {name: value for name, value in kwargs.items() if name not in ("logits", "noise")}
