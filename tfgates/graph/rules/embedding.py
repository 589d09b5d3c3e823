"""Tables that are looked up."""

import numpy as np

from tfgates.anatomy.embedding import EmbeddingAnatomy
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.linear import altered
from tfgates.graph.walk import Walk


@register_rule(EmbeddingAnatomy)
class EmbeddingRule(DeclaredRule):
    """A table `(words, features)`: a column is a channel."""

    keeps = "no gates are placed on the features of an embedding"

    def forward(self, walk: Walk, node: Node) -> None:
        reason = altered(node)
        if reason is not None:
            return self.refuse(walk, node, reason)
        table = walk.weight(node.op.embeddings)
        dead = ~walk.nonzero(table, (0,))
        y = walk.fresh(
            len(walk.shape(node.outputs[0])) - 1,
            table.shape[1],
            np.where(dead, FALSE, TRUE),
            np.where(dead, 0.0, np.nan),
        )
        y.group = walk.slot(node, "outputs", table.shape[1])
        walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        pass
