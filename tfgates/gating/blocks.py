"""Gates on whole residual branches, and on whole layers that end with a normalisation: where they can go."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.normalization import LayerNormalizationAnatomy
from tfgates.gating.placement import Place, candidates_of, chooser
from tfgates.graph import Network, Walk
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_for
from tfgates.graph.rules.sums import AddRule
from tfgates.graph.walk import known_walk
from tfgates.training.report import Report

UNKNOWN = "its branch cannot be followed"


def block_places(network: Network, layers: Any, report: Report, with_end: bool = False) -> list[Place]:
    """Candidates for gates on whole residual branches, in front of their additions.

    Args:
        network: the `Network` to gate.
        layers: which layers, see `tfgates.gating.placement.chooser`.
        report: gets what is skipped, and why.
        with_end: bool, whether a gate is on a branch, its addition and the normalisation behind it together where there
            is one: `x + z * (normalised(x + branch(x)) - x)`.
    """
    wanted = chooser(layers)
    ancestors: list[set[Any]] = []
    for node in network.nodes:
        own = {node.index}
        for tensor in node.inputs:
            producer = network.producer[tensor]
            if producer is not None:
                own |= ancestors[producer.index]
        ancestors.append(own)
    places = []
    for node in network.nodes:
        if not isinstance(rule_for(node.op), AddRule) or len(node.inputs) != 2:
            continue
        if any(network.producer[t] is None for t in node.inputs) and node.inputs[0] == node.inputs[1]:
            continue
        made_by = [network.producer[t] for t in node.inputs]
        reach: list[set[int]] = [set() if each is None else ancestors[each.index] for each in made_by]
        lengths = [len(reach[0] - reach[1]), len(reach[1] - reach[0])]
        if lengths[0] == lengths[1]:
            report.skipped.append((node.name, "neither of its inputs is the longer branch"))
            continue
        branch = int(lengths[1] > lengths[0])
        before: Any = network.producer[node.inputs[branch]]
        inside = reach[branch] - reach[1 - branch]
        # What stays whole goes with its branch as what is linear does.
        nodes = [network.nodes[i] for i in inside]
        linear = [n.index for n in nodes if rule_for(n.op).linear or (n.whole is not None and n.layer.weights)]
        if not any(wanted(network.nodes[i].op) for i in linear):
            report.skipped.append((node.name, "not asked for by `layers`"))
            continue
        if len(before.outputs) > 1:
            report.skipped.append((node.name, UNKNOWN))
            continue
        if len(network.consumers[before.outputs[0]]) != 1:
            report.skipped.append((node.name, "its branch is read by others too"))
            continue
        if node.inputs[branch] in network.outputs:
            report.skipped.append((node.name, "its branch is an output of the model too"))
            continue
        end = end_behind(network, node) if with_end else None
        left = left_without(network, node if end is None else end, [node.inputs[1 - branch]])
        if left.issuperset(linear):
            report.skipped.append((node.name, "all layers of its branch are read by others too"))
            continue
        weights = sum(
            int(np.prod(w.shape))
            for i in inside
            if network.nodes[i].layer is not None
            for w in network.nodes[i].layer.trainable_weights
        )
        if end is None:
            places.append(Place(node.name, before, before, ("block", before.index), 1, None, False, None, weights))
            continue
        weights += sum(int(np.prod(w.shape)) for w in end.op.trainable_weights)
        goes = frozenset(n.index for n in network.nodes if n is end or n.index not in left)
        key = ("layer", end.index)
        places.append(Place(node.name, end, end, key, 1, None, False, None, weights, "layer", "", 1 - branch, goes))
    return places


def end_behind(network: Network, addition: Node) -> Node | None:
    """The normalisation of a sum, if it is all that reads the sum, else None."""
    reader = network.reader(addition.outputs[0])
    return reader if reader is not None and isinstance(anatomy_of(reader.op), LayerNormalizationAnatomy) else None


def left_without(network: Network, node: Node, inputs: Sequence[Any]) -> set[int]:
    """The calls that the outputs depend on where a call reads the tensors `inputs` alone."""
    reached, stack = set(), [network.producer[t] for t in network.outputs]
    while stack:
        current = stack.pop()
        if current is None or current.index in reached:
            continue
        reached.add(current.index)
        stack.extend(network.producer[t] for t in (inputs if current is node else current.inputs))
    return reached


def proven_blocks(network: Network, places: list[Place], report: Report) -> list[Place]:
    """The branches that vanish when their gate closes."""
    walk = known_walk(network, candidates_of(places))
    good = []
    for place in places:
        if place.carrier is None:
            branch = place.node.outputs[0]
            (addition,) = network.consumers[branch]
        else:
            addition = network.producer[place.node.inputs[0]]
            branch = addition.inputs[1 - place.carrier]
        if walk.output(place.node) is None or walk.channels[branch] is None:
            report.skipped.append((place.layer, UNKNOWN))
        elif not can_drop(walk, addition, branch):
            report.skipped.append(
                (place.layer, "its addition cannot go: what is left has not the shape, or not the mask, of the sum")
            )
        else:
            good.append(place)
    return good


def can_drop(walk: Walk, addition: Node, branch: Any) -> bool:
    """Whether an addition can do without the tensor `branch`: the other one carries the shape of the sum."""
    if walk.notes(addition).parts is None or not rule_for(addition.op).may_drop(walk, addition):
        return False
    return all(walk.shape(t) == walk.shape(addition.outputs[0]) for t in addition.inputs if t != branch)
