"""`Attention` of Keras, one head without kernels: its values pass, and pairs of queries and keys can go."""

import math
from typing import Any

import numpy as np
from keras import layers

from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.rules.summed import follow_sum, need_of_sum
from tfgates.graph.sizes import counted, entries_per_example
from tfgates.graph.walk import Walk


@register_rule(layers.Attention)
class LuongRule(Rule):
    """`softmax(q k^T) v`: the channels are those of the values, and of a pair of q and k one can be 0.

    Often the keys are the values: then a channel that is 0 goes as both, and what is beside it of the queries is not
    read.
    """

    reason = "attention with other scores than products, with outputs beside the result, or of other axes stays whole"

    def tensors(self, node: Node) -> list[int] | None:
        """The numbers of the queries, values and keys; None if not all of them are tensors."""
        given = [x.tensor for x in node.args[0] if isinstance(x, Ref)]
        return [*given, given[1]][:3] if len(given) == len(node.args[0]) else None

    def forward(self, walk: Walk, node: Node) -> None:
        tensors = self.tensors(node)
        if all(channels is None for channels in walk.inputs(node)) and len(node.outputs) == 1:
            return walk.set(node, None)
        if tensors is None or len(node.outputs) > 1 or node.op.score_mode != "dot":
            return self.refuse(walk, node)
        query, _, key = tensors
        known, others = [walk.channels[tensor] for tensor in tensors], set(node.inputs) - set(tensors)
        plain = all(x is None or x.axis == 2 for x in known) and all(len(walk.shape(t)) == 3 for t in tensors)
        if not plain or any(walk.channels[tensor] is not None for tensor in others):
            return self.refuse(walk, node)
        if (known[0], known[2]) != (None, None) and not follow_sum(walk, node, [query, key], [2, 2]):
            return self.refuse(walk, node)
        x = known[1]
        # Of masked queries it makes 0.
        y = None if x is None else walk.like(x, axis=2, value=np.where(x.value == 0.0, 0.0, np.nan))
        return walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        tensors, y = self.tensors(node), walk.output(node)
        if node.index in walk.refused or tensors is None:
            return super().backward(walk, node)
        if walk.notes(node).summed is not None:
            need_of_sum(walk, node)
        if y is not None:
            walk.need(walk.channels[tensors[1]], y.need)
        return None

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        tensors, y, summed = self.tensors(node), walk.output(node), walk.notes(node).summed
        if node.index in walk.refused or tensors is None or (y is None and summed is None):
            return super().terms(walk, node)
        shapes = [counted(walk.network, tensor) for tensor in tensors]
        sizes = [shapes[0][1], shapes[1][1]]
        examples = entries_per_example(walk.network, node.outputs[0])
        scores = math.nan if None in sizes else math.prod(sizes) * examples
        params = 0 if walk.seen_before(node) else node.op.count_params()
        found = [Term(node.name, params, 0.0)] if params else []
        for channels, width in ((None if summed is None else summed.pairs, shapes[0][2]), (y, shapes[1][2])):
            over = () if channels is None else (channels.group,)
            found.append(Term(node.name, 0, scores if over else scores * width, over))
        return found

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk, y, summed = surgery.walk, surgery.walk.output(node), surgery.walk.notes(node).summed
        if node.index in walk.refused or (y is None and summed is None):
            return super().emit(surgery, node, args, kwargs)
        if y is not None and not surgery.keep(y.group).any():
            surgery.nothing_left(node)
        query, value, *key = args[0]
        if summed is not None:
            pairs = surgery.keep(summed.pairs.group)
            if not pairs.any():
                surgery.nothing_left(node)
            query, picked = (
                surgery.pick(x, pairs if factor is None else pairs[surgery.keep(factor.group)], 2)
                for x, factor in zip((query, key[0] if key else value), summed.factors, strict=True)
            )
            key = [picked] if key or picked is not value else []
        return super().emit(surgery, node, ([query, value, *key], *args[1:]), kwargs)
