"""How much of a network gates at given places could close."""

import math
from collections.abc import Sequence

import numpy as np

from tfgates.gating.placement import Place, candidates_of
from tfgates.graph import Network
from tfgates.graph.formula import TRUE
from tfgates.graph.rule import rule_of
from tfgates.graph.walk import known_walk

# Gates inside of branches are enough where they reach this share of what gates on streams too would reach.
ENOUGH = 0.8


def reach(network: Network, places: Sequence[Place]) -> float:
    """The share of the MACs of a network that goes when all gates at `places` close, a float of at most 1.

    Calls whose MACs cannot be counted count by their weights.

    Args:
        network: the `Network`.
        places: the places of its gates, proven.
    """
    walk = known_walk(network, candidates_of(places))
    total = left = 0.0
    for node in network.nodes:
        stays = walk.used[node.index] == TRUE
        for term in rule_of(node).terms(walk, node):
            amount = term.params if math.isnan(term.macs) else term.macs
            total += amount * math.prod(map(len, term.over))
            if stays:
                left += amount * math.prod(int(np.sum(walk.alive[groups] == TRUE)) for groups in term.over)
    return 1.0 - left / total if total else 0.0
