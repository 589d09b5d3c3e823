"""Dense layers that mix places, channel by channel, of what channels are multiplied with: spatial gating units.

`u * transpose(dense(transpose(normalised(v))))`, as in gMLP: where a channel of u is 0, that of v is not read, so
that the dense layer does without it, while the normalisation needs all of them.
"""

from typing import TYPE_CHECKING, Any

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.dense import DenseAnatomy
from tfgates.anatomy.normalization import AveragingAnatomy

if TYPE_CHECKING:
    from tfgates.graph.network import Network, Node


def mark_over_places(network: "Network") -> None:
    """Says of such dense layers, and of what is normalised for them, that they are read channel by channel."""
    calls: dict[int, int] = {}
    for node in network.nodes:
        calls[id(node.op)] = calls.get(id(node.op), 0) + 1
    for node in network.nodes:
        plain = type(anatomy_of(node.op)) is DenseAnatomy and getattr(node.op, "gate", None) is None
        if not plain or calls[id(node.op)] > 1 or node.tie is not None:
            continue
        rank = len(network.shapes[node.outputs[0]])
        if rank < 3 or not multiplied_elsewhere(network, node, rank - 1):
            continue
        before = network.producer[node.inputs[0]]
        # What is left of a pruned one picks the channels that are read.
        passed = ("Transpose", "Take", "GetItem")
        while before is not None and type(before.op).__name__ in passed and alone(network, before):
            if len(network.shapes[before.inputs[0]]) != rank:
                break
            before = network.producer[before.inputs[0]]
        node.by_channel = True
        if before is not None and isinstance(anatomy_of(before.op), AveragingAnatomy) and alone(network, before):
            before.by_channel = True


def multiplied_elsewhere(network: "Network", node: "Node", axis: int) -> bool:
    """Whether what a call makes is only multiplied by a tensor of its shape, where `axis` of it is not the last."""
    while alone(network, node):
        (reader,) = network.consumers[node.outputs[0]]
        kind, shapes = type(reader.op).__name__, [network.shapes[tensor] for tensor in reader.inputs]
        if kind == "Multiply" and len(shapes) == 2:
            return shapes[0] == shapes[1] and axis not in (0, len(shapes[0]) - 1)
        if kind == "Transpose":
            order: Any = reader.op.axes or range(len(shapes[0]))[::-1]
            axis = [each % len(shapes[0]) for each in order].index(axis)
        elif kind not in ("Add", "Dropout") or len(shapes) != 1:
            return False
        node = reader
    return False


def alone(network: "Network", node: "Node") -> bool:
    """Whether one call reads what a call makes, and that is no output."""
    return (
        len(node.outputs) == 1
        and len(network.consumers[node.outputs[0]]) == 1
        and (node.outputs[0] not in network.outputs)
    )
