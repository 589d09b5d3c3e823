"""Other places for gates that could not be removed exactly where they were tried: coarser units, or further on."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.normalization import BatchNormalizationAnatomy, GroupNormalizationAnatomy
from tfgates.graph import Network, Walk
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_of
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.scalars import ScalarsRule
from tfgates.graph.rules.sums import AddRule
from tfgates.layers import GatedLayer

# Behind which closed channels are 0 where they are constants in front.
NORMALIZATIONS = (BatchNormalizationAnatomy, GroupNormalizationAnatomy)


def in_blocks(walk: Walk, places: list[Any], failed: Collection[Any], interleaved: bool = False) -> list[Any] | None:
    """The places with units of several channels where those fall together; None where that changes none.

    Channels in a row of a group normalisation, say, or of what a grouped convolution reads; with `interleaved` channels
    at equal distances, of which some are made of the others one by one (GhostNet).
    """
    changed: dict[Any, Any] = {}
    for place in places:
        on_outputs = place.key in failed and place.kind == "outputs"
        blocks = blocks_of(walk.root[walk.output(place.node).group], interleaved) if on_outputs else 0
        if 1 < blocks < place.units:
            changed.setdefault(place.key, []).append(blocks)
    changed = {key: found[0] for key, found in changed.items() if len(found) == len(of_key(places, key))}
    if not changed:
        return None
    left = []
    for place in places:
        if place.key in changed:
            blocks = changed[place.key]
            weights = place.weights * (place.units // blocks)
            place = dataclasses.replace(place, units=blocks, groups=blocks, interleaved=interleaved, weights=weights)
        left.append(place)
    return left


def blocks_of(roots: np.ndarray, interleaved: bool = False) -> int:
    """The number of sets of channels that fall together, all of one size; 0 where there are none.

    Args:
        roots: what each channel goes with.
        interleaved: whether sets are of channels at equal distances, and not of neighbours.
    """
    blocks = len(np.unique(roots))
    if len(roots) % blocks:
        return 0
    sets = roots.reshape(-1, blocks).T if interleaved else roots.reshape(blocks, -1)
    return blocks if (sets == sets[:, :1]).all() else 0


def together(walk: Walk, places: list[Any], failed: Collection[Any]) -> list[Any] | None:
    """The places with those moved to where channels of theirs that fall together have become one; None for none.

    Behind a pixel shuffle, or where the parts of a split are multiplied. One gate is enough where several lead to.
    """
    taken, left, changed = {place.node.index for place in places if place.kind == "outputs"}, [], False
    for place in places:
        alone = len(of_key(places, place.key)) == 1 and place.kind == "outputs" and not inside(place)
        node = joined_behind(walk, place) if place.key in failed and alone else None
        if node is None:
            left.append(place)
            continue
        changed = True
        if node.index in taken:
            continue
        taken.add(node.index)
        y = walk.output(node)
        last = y.axis == len(walk.network.shapes[node.outputs[0]]) - 1
        weights, key = place.weights * place.units // len(y), ("unit", node.index)
        left.append(
            dataclasses.replace(
                place, node=node, key=key, units=len(y), axis=y.axis, last=last, groups=None, weights=weights
            )
        )
    return left if changed else None


def joined_behind(walk: Walk, place: Any) -> Node | None:
    """The first call that all that is made of a place's units goes through, and that makes fewer units of them."""
    own = set(walk.root[walk.output(place.node).group].tolist())
    for node in behind(walk.network, place.node):
        if isinstance(rule_of(node), DeclaredRule) and anatomy_of(node.op).products:
            return None
        y = walk.output(node) if len(node.outputs) == 1 else None
        # Values that scores are multiplied with are other channels.
        if y is None or own.isdisjoint(walk.root[y.group].tolist()):
            continue
        if len(np.unique(walk.root[y.group])) < place.units and len(y) < place.units:
            return None if node.outputs[0] in walk.network.outputs else node
    return None


def behind(network: Network, node: Any) -> Iterator[Node]:
    """The calls that all paths from a call to the outputs go through, the nearest first."""
    reached = set(node.outputs)
    later = []
    for other in network.nodes[node.index + 1 :]:
        if reached.intersection(other.inputs):
            reached.update(other.outputs)
            later.append(other)
    for passed in later:
        found = set(node.outputs)
        for other in later:
            if other is not passed and found.intersection(other.inputs):
                found.update(other.outputs)
        if not found.intersection(network.outputs):
            yield passed


def inside(place: Any) -> bool:
    """Whether the gate of a place must be inside of the layer."""
    return place.source is place.node and getattr(anatomy_of(place.source.op), "recurs", False)


def further_on(walk: Walk, places: list[Any], failed: Collection[Any]) -> list[Any] | None:
    """The places with those that failed moved behind the next batch normalisation; None where that moves none.

    A convolution with an activation of its own and a normalisation behind it: a closed channel is 0 behind the
    activation, and a constant that a padded convolution cannot take up behind the normalisation.
    """
    moved: dict[Any, list[Any]] = {place.key: [] for place in places if place.key in failed and place.kind == "outputs"}
    for place in places:
        if place.key in moved:
            moved[place.key].append(None if inside(place) else normalization_behind(walk, place.node))
    moved = {key: nodes for key, nodes in moved.items() if all(node is not None for node in nodes)}
    if not moved:
        return None
    left = []
    for place in places:
        if place.key in moved:
            key = ("unit", moved[place.key][0].index)
            node = next(n for n, p in zip(moved[place.key], of_key(places, place.key), strict=True) if p is place)
            owned = sum(int(np.prod(w.shape)) for w in node.op.trainable_weights) // place.units
            place = dataclasses.replace(place, node=node, key=key, weights=place.weights + owned)
        left.append(place)
    return left


def behind_weights(walk: Walk, places: list[Any], failed: Collection[Any]) -> list[Any] | None:
    """The places with those that failed moved behind the sum with a weight; None where that moves none.

    A bias that differs from place to place, or from kernel to kernel, is left where nothing but a gate behind it closes
    a channel.
    """
    left, changed = [], False
    for place in places:
        alone = len(of_key(places, place.key)) == 1 and place.kind == "outputs" and not inside(place)
        node = sum_behind(walk.network, place.node) if place.key in failed and alone else None
        changed |= node is not None
        left.append(place if node is None else dataclasses.replace(place, node=node, key=("unit", node.index)))
    return left if changed else None


def sum_behind(network: Network, node: Any) -> Node | None:
    """The sum that alone reads what a call makes, and adds nothing to it but what no input has part in."""
    tensor = node.outputs[0]
    if tensor in network.outputs or len(network.consumers[tensor]) != 1:
        return None
    (reader,) = network.consumers[tensor]
    others = [network.shapes[each] for each in reader.inputs if each != tensor]
    weights = isinstance(rule_of(reader), AddRule) and others and all(None not in shape for shape in others)
    return reader if weights and network.shapes[reader.outputs[0]] == network.shapes[tensor] else None


def of_key(places: Iterable[Any], key: Any) -> list[Any]:
    return [place for place in places if place.key == key]


def normalization_behind(walk: Walk, node: Any) -> Node | None:
    """The next normalisation that alone reads what a call makes, elementwise calls and pooling passed over.

    Or the next layer that scales and shifts all channels alike.
    """
    network, tensor = walk.network, node.outputs[0]
    rank, made = len(network.shapes[tensor]), walk.output(node)
    while tensor not in network.outputs and len(network.consumers[tensor]) == 1:
        (reader,) = network.consumers[tensor]
        if isinstance(anatomy_of(reader.op), NORMALIZATIONS) or isinstance(rule_of(reader), ScalarsRule):
            found = walk.output(reader)
            same = found is not None and (found.axis, len(found)) == (made.axis, len(made))
            return reader if same and not isinstance(reader.op, GatedLayer) else None
        alone = len(reader.inputs) == 1 and len(reader.outputs) == 1
        passes = isinstance(rule_of(reader), ElementwiseRule) and not getattr(reader.op, "weights", ())
        if not alone or not passes or len(network.shapes[reader.outputs[0]]) != rank:
            return None
        tensor = reader.outputs[0]
    return None
