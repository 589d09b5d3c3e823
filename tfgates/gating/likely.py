"""Where gates will probably go, told without a walk, so that one walk finds the places and proves them."""

from collections.abc import Collection
from typing import Any

from tfgates.anatomy import anatomy_of
from tfgates.gates import Gate
from tfgates.gating.chains import makes_units, place_after
from tfgates.gating.placement import Place, candidates_of, chooser
from tfgates.graph.network import Network
from tfgates.graph.phase import trains
from tfgates.layers import GatedLayer


def likely_candidates(
    network: Network,
    layers: Any,
    first: list[Place],
    tied: bool,
    no_inside: str,
    carried: Collection[int] = frozenset(),
) -> dict[Any, Any]:
    """The candidates of a walk: those of `first`, and of the channels that convolutions and dense layers make.

    A network with gates has none: whether a layer has one shows only in a walk without others.

    Args:
        network: the `Network` to gate.
        layers: which layers, see `tfgates.gating.placement.chooser`.
        first: the places on heads, and on what goes together.
        carried: the indices of calls whose units go with these.
        tied: whether outputs of the model may share a gate with others.
        no_inside: why no gate can be inside of a layer; nothing where they can.
    """
    found: dict[Any, Any] = candidates_of(first)
    if any(isinstance(node.op, (Gate, GatedLayer)) for node in network.nodes):
        return found
    wanted, seen = chooser(layers), dict[int, Any]()
    for node in network.nodes:
        if not makes_units(node, depthwise=False) or not wanted(node.op) or node.index in carried:
            continue
        if anatomy_of(node.op).recurs and (no_inside or trains(node)):
            continue
        after = place_after(network, node)
        tensor = after.outputs[0]
        if tensor in network.outputs and not tied:
            continue
        shape = network.shapes[tensor]
        size = shape[anatomy_of(after.op).channel_axis(after.op, len(shape))] if shape else None
        if size is None:
            continue
        parts = anatomy_of(node.op).parts(node.op)
        key = seen.setdefault(id(after.op), ("unit", after.index))
        found[after.index, "outputs"] = (key, parts if 1 < parts < size else size)
    return found
