"""Gates on the heads of attention: where they can go."""

from typing import Any

from tfgates.anatomy import anatomy_of, gated_class
from tfgates.gating.chains import has_heads
from tfgates.gating.placement import Place, chooser
from tfgates.graph.network import Network
from tfgates.graph.phase import trains, why_it_trains
from tfgates.graph.walk import Walk
from tfgates.keras_internals import output_projection
from tfgates.layers import GatedLayer


def head_places(
    network: Network, layers: Any, report: Any, copies: bool = True, walk: Walk | None = None
) -> list[Place]:
    """Candidates on the heads of attention layers, inside of these.

    Args:
        network: the `Network` to gate.
        layers: which layers, see `tfgates.gating.placement.chooser`.
        report: gets what is skipped, and why.
        copies: whether the gated network has layers of its own: only these can have a gate inside.
        walk: a symbolic walk, by which those are left out that are not understood; None: what is likely without one.
    """
    wanted, found = chooser(layers), list[Place]()
    for node in network.nodes:
        if not has_heads(node.op):
            continue
        reason = None
        if not wanted(node.op):
            reason = "not asked for by `layers`"
        elif walk is not None and node.index in walk.refused:
            reason = walk.refused[node.index].removeprefix(f"{node.name}: ")
        elif isinstance(node.op, GatedLayer):
            reason = "has a gate already"
        elif not copies:
            reason = "a gate on heads is inside of the layer: that needs `copy_weights=True`"
        elif gated_class(type(node.op)) is None:
            reason = "there is no gated layer of its class"
        elif node.op.get_config().get("dropout") and (training := [n for n in calls_like(network, node) if trains(n)]):
            # One call cannot tell its dropout to train and its gate not to.
            why = why_it_trains(training[0], network.nodes)
            reason = f"its dropout {why}, and a gate on heads is inside of the layer"
        if reason is not None:
            report.skipped.append((node.name, reason))
            continue
        anatomy = anatomy_of(node.op)
        heads, bias = anatomy.counts(node.op)["heads"], output_projection(node.op).bias
        owned = anatomy.parameters(node.op) - (0 if bias is None else int(bias.shape[-1]))
        key = ("heads", first_call(network, node))
        found.append(Place(node.name, node, node, key, heads, -1, True, None, owned // heads, "heads"))
    return found


def first_call(network: Network, node: Any) -> int:
    """The index of the first call of a call's layer."""
    return calls_like(network, node)[0].index


def calls_like(network: Network, node: Any) -> list[Any]:
    """All calls of a call's layer."""
    return [other for other in network.nodes if other.op is node.op]
