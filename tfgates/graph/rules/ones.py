"""Tensors of ones and zeros like another, of which a place is counted, not a channel."""

from tfgates.graph.network import Network, Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.probed import ProbedRule
from tfgates.graph.rules.slicing import parts_of_key
from tfgates.graph.walk import Walk


@register_rule("OnesLike", "ZerosLike")
class LikeRule(ProbedRule):
    """Ones: where one channel of them is picked by number, it is the same whichever channels are left."""

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is not None and self.is_picked(walk.network, node, x.axis):
            walk.notes(node).picked = True
            return walk.set(node, None)
        return super().forward(walk, node)

    def is_picked(self, network: Network, node: Node, axis: int) -> bool:
        """Whether all that reads what it makes takes the first position along an axis."""
        (tensor,) = node.outputs
        readers = network.consumers[tensor]
        rank = len(network.shapes[tensor])
        return bool(readers) and tensor not in network.outputs and all(picks_first(n, rank, axis) for n in readers)

    def backward(self, walk: Walk, node: Node) -> None:
        if not walk.notes(node).picked:
            super().backward(walk, node)


def picks_first(node: Node, rank: int, axis: int) -> bool:
    """Whether a call is `x[..., 0, ...]` with the 0 at `axis`."""
    if type(node.op).__name__ != "GetItem":
        return False
    parts = parts_of_key(node, rank)
    if parts is None:
        return False
    taken = [part for part in parts if part is not None]
    return isinstance(taken[axis], int) and taken[axis] == 0
