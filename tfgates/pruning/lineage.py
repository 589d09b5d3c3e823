"""Which layer of the network before a layer of the pruned one comes from, and which of its outputs are left."""

import dataclasses
import weakref
from typing import Any

import keras
import numpy as np

from tfgates.graph.copier import Copier, input_names
from tfgates.graph.network import Network, Node
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.surgery import Surgery


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a layer of a pruned network comes from.

    Attributes:
        name: of the layer before, as `names_of` gives it.
        kept: boolean array, for each output channel of the layer before whether it is left; None where its
            channels could not be followed, so that all of them are left.
    """

    name: str
    kept: np.ndarray | None


# Beside the models, as their reports.
_ORIGINS: "weakref.WeakKeyDictionary[keras.Model, dict[str, Origin]]" = weakref.WeakKeyDictionary()


def remember_origins(pruned: keras.Model, plan: PruningPlan, surgery: Surgery) -> None:
    """Keeps where each layer of `pruned` comes from."""
    origins: dict[str, Origin] = {}
    for node in plan.network.nodes:
        layer = surgery.successor(node.op) if node.index in plan.used else None
        if layer is None or layer.name in origins:
            continue
        channels = plan.walk.output(node)
        kept = None if channels is None else np.array(plan.kept_groups(channels.group))
        origins[layer.name] = Origin(node.op.name, kept)
    _ORIGINS[pruned] = origins


def origins_of(pruned: keras.Model) -> dict[str, Origin] | None:
    """By name of each layer where it comes from; None for a model that `prune` has not made in this process."""
    return _ORIGINS.get(pruned)


def names_of(network: Network) -> dict[str, list[Node]]:
    """The calls of each layer, by the name that the layer gets when the network is laid out flat."""
    copier, names = Copier(taken=input_names(network)), {}
    calls: dict[str, list[Any]] = {}
    for node in network.nodes:
        if id(node.op) not in names:
            names[id(node.op)] = copier.name(node)
        calls.setdefault(names[id(node.op)], []).append(node)
    return calls
