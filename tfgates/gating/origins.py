"""Which layers of a gated network took the place of which layers and nested models."""

from collections.abc import Callable
from typing import Any

from tfgates.graph.network import Network


def origins_of(network: Network, successor: Callable[[Any], Any]) -> dict[str, list[str]]:
    """The paths, of names separated by slashes, that each layer of a gated network had in the original.

    Args:
        network: the original.
        successor: function from one of its layers to the one that took its place, or None.
    """
    origins: dict[str, list[str]] = {}
    for node in network.nodes:
        layer = None if node.layer is None else successor(node.op)
        if layer is not None and node.name not in origins.setdefault(layer.name, []):
            origins[layer.name].append(node.name)
    return origins
