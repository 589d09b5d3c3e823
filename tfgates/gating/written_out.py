"""Attention and gated units that are written out by operators: where one gate closes all that goes together."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfgates.anatomy import anatomy_of, variable_of
from tfgates.gating.chains import makes_units, place_after
from tfgates.gating.placement import Place, candidates_of, chooser, is_gated
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import rule_of
from tfgates.graph.walk import Walk, symbolic_walk

PRODUCTS = ("Matmul", "Einsum", "DotProductAttention", "Dot", "Attention")

# Operators that move numbers, between what makes the values and what weighs them.
MOVING = ("Transpose", "Permute", "Reshape", "Cast", "Repeat", "Swapaxes", "Moveaxis", "Split", "GetItem", "Dropout")


def has_written_out(network: Network) -> bool:
    """Whether a network may have attention or gated linear units that are written out."""
    return any(may_be_one(network, node) for node in network.nodes)


def places_written_out(network: Network, layers: Any, report: Any) -> list[Place]:
    """Candidates on the heads of attention, on its values, and on the products of gated linear units.

    Args:
        network: the `Network` to gate.
        layers: which layers, see `tfgates.gating.placement.chooser`: those that make the values, or the first factor.
        report: gets what is skipped, and why.
    """
    wanted, found = chooser(layers), dict[tuple[Any, ...], Place]()
    if not has_written_out(network):
        return []
    walk = symbolic_walk(network)
    for node, word in (*heads_of(walk), *features_of(walk), *products_of(walk)):
        channels = walk.output(node)
        source = source_of(network, node)
        if source is None and channels is not None:
            # Of heads that are told apart behind the product alone: what makes the queries.
            source = next((other for other in network.nodes if makes(walk, other, channels)), None)
        if channels is None or source is None or not wanted(source.op) or len(channels) < 2:
            continue
        shape = network.shapes[node.outputs[0]]
        key = (word, node.index)
        found[key] = Place(
            source.name,
            node,
            source,
            key,
            len(channels),
            channels.axis,
            channels.axis == len(shape) - 1,
            None,
            owned(walk, channels.group) // len(channels),
            word=word,
        )
    return list(found.values())


def may_be_one(network: Network, node: Node) -> bool:
    """Whether a call may be of attention, or the product of a gated linear unit."""
    kind = type(node.op).__name__
    shapes = {network.shapes[tensor] for tensor in (*node.inputs, *node.outputs)}
    return kind in PRODUCTS or (kind == "Multiply" and len(node.inputs) == 2 and len(shapes) == 1)


def carried_by(network: Network, places: list[Place]) -> frozenset[int]:
    """The indices of calls whose units all go with gates at `places`, of those that could have gates of their own."""
    if not any(place.word for place in places):
        return frozenset()
    walk, found = symbolic_walk(network, candidates_of(places)), set[int]()
    for node in network.nodes:
        if makes_units(node, depthwise=False):
            channels = walk.output(place_after(network, node))
            if channels is not None and is_gated(walk, channels):
                found.add(node.index)
    return frozenset(found)


def heads_of(walk: Walk) -> Iterator[tuple[Node, str]]:
    """For each product of attention with values the call that makes the heads of the values."""
    for node in walk.network.nodes:
        factors = walk.notes(node).factors
        if factors is None:
            continue
        tensors = rule_of(node).tensors(node) if hasattr(rule_of(node), "tensors") else node.inputs
        values = tensors[2:] if len(tensors) == 3 else [t for t in tensors if not is_attention(walk.network, t)]
        if len(tensors) == 3 or (len(values) == 1 and len(tensors) == 2):
            maker, made = first_with_heads(walk, values[0]), walk.output(node)
            if maker is not None:
                # Of one head the channels are on the last axis.
                last = len(walk.shape(maker.outputs[0])) - 1
                word = "features" if walk.output(maker).axis == last else "heads"
                # Heads of queries that all read the same values are told apart behind them.
                shared = word == "heads" and made is not None and len(walk.output(maker)) == 1 < len(made)
                yield (node if shared else maker), word


def features_of(walk: Walk) -> Iterator[tuple[Node, str]]:
    """For each sum of products over channels of two tensors the call that makes those of the first.

    The queries and keys of attention with one head are such, and those of heads that are folded into the batch: there
    the values have features too.
    """
    for node in walk.network.nodes:
        summed = walk.notes(node).summed
        if summed is not None and None not in summed.factors:
            maker = first_with_heads(walk, summed.tensors[0], passes=True)
            if maker is not None:
                yield maker, "features"
        elif type(node.op).__name__ == "Matmul" and walk.output(node) is not None and len(node.inputs) == 2:
            maker = first_with_heads(walk, node.inputs[1], passes=True)
            if maker is not None and walk.notes(maker).across:
                yield maker, "features"


def is_attention(network: Network, tensor: int) -> bool:
    """Whether a tensor is what a softmax made, or a part of it, dropout and casts passed over."""
    node = network.producer[tensor]
    while node is not None and type(node.op).__name__ in ("Dropout", "Cast", "GetItem"):
        node = network.producer[node.inputs[0]]
    return node is not None and type(node.op).__name__ == "Softmax"


def first_with_heads(walk: Walk, tensor: int, passes: bool = False) -> Node | None:
    """The first call behind which the channels of a tensor are heads, going back.

    Args:
        passes: whether to go back through what scales them too, as queries are before some of their products.
    """
    node, found = walk.network.producer[tensor], None
    while node is not None and walk.output(node) is not None:
        found = node
        moves = type(node.op).__name__ in MOVING or (passes and is_scaling(node))
        if not moves or walk.notes(node).width or walk.notes(node).across or len(node.outputs) > 1:
            break
        node = walk.network.producer[node.inputs[0]]
    return found


def is_scaling(node: Node) -> bool:
    """Whether a call multiplies a tensor by a number."""
    kinds = ("Multiply", "Divide", "TrueDivide")
    return node.layer is None and type(node.op).__name__ in kinds and len(node.inputs) == 1


def products_of(walk: Walk) -> Iterator[tuple[Node, str]]:
    """The products of two factors that both come from layers with weights, unit by unit: gated linear units."""
    network = walk.network
    for node in network.nodes:
        if type(node.op).__name__ != "Multiply" or walk.notes(node).parts is None or len(node.inputs) != 2:
            continue
        shapes = {network.shapes[tensor] for tensor in (*node.inputs, *node.outputs)}
        sources = [source_of(network, network.producer[tensor]) for tensor in node.inputs]
        if len(shapes) == 1 and None not in sources and all(walk.channels[t] is not None for t in node.inputs):
            yield node, "units"


def source_of(network: Network, node: Node | None) -> Node | None:
    """The linear layer that makes the channels of a call's output, one at a time; None if there is none."""
    while node is not None and not rule_of(node).linear:
        passes = isinstance(rule_of(node), ElementwiseRule) and not getattr(node.op, "weights", ())
        moves = type(node.op).__name__ in MOVING
        product = type(node.op).__name__ == "Multiply"
        if not (passes or moves or product or is_function(node)) or not node.inputs:
            return None
        node = network.producer[node.inputs[0]]
    return node


def makes(walk: Walk, node: Node, channels: Any) -> bool:
    """Whether a linear layer makes units that go with those of a tensor."""
    made = walk.output(node) if rule_of(node).linear else None
    return made is not None and not set(walk.root[made.group].tolist()).isdisjoint(walk.root[channels.group].tolist())


def is_function(node: Node) -> bool:
    """Whether a call is of a function of one tensor, without weights."""
    return len(node.inputs) == 1 and not getattr(node.op, "weights", ())


def owned(walk: Walk, groups: np.ndarray) -> int:
    """How many weights of linear layers belong to units."""
    roots, total, seen = set(walk.root[groups].tolist()), 0, set[int]()
    for node in walk.network.nodes:
        if node.layer is None or not rule_of(node).linear or id(node.op) in seen:
            continue
        seen.add(id(node.op))
        anatomy = anatomy_of(node.op)
        weights = [variable_of(node.op, path) for path in anatomy.products]
        size = sum(math.prod(variable.shape) for variable in weights if variable is not None)
        for kind in ("inputs", "outputs"):
            of_side = walk.slots.get(id(node.op), {}).get(kind)
            if of_side is not None:
                share = np.mean([root in roots for root in walk.root[of_side].tolist()])
                total += round(share * size)
    return total
