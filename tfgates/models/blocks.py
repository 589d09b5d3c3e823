"""Gates on whole residual branches: where they can go."""

import numpy as np

from tfgates.graph.rule import rule_for
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.rules.merge import AddRule
from tfgates.graph.walk import Walk
from tfgates.models.placement import Place, candidates_of, chooser


def block_places(network, layers, report):
    """Candidates for gates on whole residual branches, in front of their additions."""
    wanted = chooser(layers)
    ancestors: list[set] = []
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
        reach = [set() if network.producer[t] is None else ancestors[network.producer[t].index] for t in node.inputs]
        own = [len(reach[0] - reach[1]), len(reach[1] - reach[0])]
        if own[0] == own[1]:
            report.skipped.append((node.name, "neither of its inputs is the longer branch"))
            continue
        branch = int(own[1] > own[0])
        before = network.producer[node.inputs[branch]]
        inside = reach[branch] - reach[1 - branch]
        linear = [i for i in inside if isinstance(rule_for(network.nodes[i].op), LinearRule)]
        if not any(wanted(network.nodes[i].op) for i in linear):
            report.skipped.append((node.name, "not asked for by `layers`"))
            continue
        if len(network.consumers[before.outputs[0]]) != 1:
            report.skipped.append((node.name, "its branch is read by others too"))
            continue
        weights = sum(
            int(np.prod(w.shape))
            for i in inside
            if network.nodes[i].layer is not None
            for w in network.nodes[i].layer.trainable_weights
        )
        places.append(Place(node.name, before, before, ("block", before.index), 1, None, False, None, weights))
    return places


def proven_blocks(network, places, report):
    """The branches that vanish when their gate closes."""
    walk = Walk(network, symbolic=True, candidates=candidates_of(places))
    good = []
    for place in places:
        channels = walk.output(place.node)
        closed = channels is not None and bool(np.all(channels.value == 0.0))
        if closed:
            good.append(place)
        else:
            report.skipped.append((place.layer, "its branch is not 0 when closed, or cannot be followed"))
    return good
