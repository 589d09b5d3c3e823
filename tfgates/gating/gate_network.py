"""From a network to the network with gates: places, the proof of them, and the layers."""

from typing import Any

from tfgates import gates
from tfgates.costs.remainder import BudgetError
from tfgates.gating.blocks import block_places, proven_blocks
from tfgates.gating.check import check_gated, warn_of_lost_ties
from tfgates.gating.gated_builder import GatedBuilder
from tfgates.gating.heads import head_places
from tfgates.gating.likely import likely_candidates
from tfgates.gating.origins import origins_of
from tfgates.gating.placement import Place, candidates_of, flat_places, unit_places
from tfgates.gating.proof import could_be_tied, proven
from tfgates.gating.reach import ENOUGH, reach
from tfgates.gating.report import complete, skipped_by_name
from tfgates.gating.subclasses import carry_over, gated_class
from tfgates.gating.written_out import carried_by, has_written_out, places_written_out
from tfgates.graph.configs import is_foreign
from tfgates.graph.copier import copy_of
from tfgates.graph.lengths import length_of, shapes_of
from tfgates.graph.network import Network
from tfgates.graph.original import original_from, set_original
from tfgates.graph.rebuild import rebuild
from tfgates.graph.unrolling import calls_forgotten
from tfgates.graph.walk import symbolic_walk
from tfgates.selection.target_shape import BRANCH, LAYER
from tfgates.training.gated_model import GatedModel
from tfgates.training.report import Report


def word_for(place: Place) -> str:
    """What the units of a place are called."""
    if place.axis is None:
        return BRANCH if place.carrier is None else LAYER
    if place.word or place.kind != "outputs":
        return place.word or place.kind
    return "groups" if place.groups else "units"


def no_inside(gate: Any, gate_arguments: dict[str, Any], copy_weights: bool) -> str:
    """Why gates cannot be inside of recurrent layers, or nothing."""
    if not copy_weights:
        return "`copy_weights=False` uses the layers as they are"
    made = gates.get(gate, **(gate_arguments if isinstance(gate, str) else {}))
    return "one recurrent kernel serves all examples: `sampling` must be 'batch'" if made.sampling == "example" else ""


def placed(
    network: Network,
    residual: tuple[str, ...],
    report: Report,
    gate: Any,
    gate_arguments: dict[str, Any],
    layers: Any,
    flattened: bool,
    copy_weights: bool,
) -> list[Place]:
    """The places of gates, proven; what has none goes into `report`."""
    places = []
    of_blocks = Report()
    of_layers = "layer" in residual
    blocks = block_places(network, layers, of_blocks, of_layers) if of_layers or "block" in residual else []
    if "inner" in residual or "tied" in residual:
        tied = "tied" in residual
        why = no_inside(gate, gate_arguments, copy_weights)
        likely = candidates_of(blocks)
        if not has_written_out(network):
            # All gates at once: what follows for fewer of them follows from this one walk.
            heads = head_places(network, layers, Report(), copy_weights)
            likely |= likely_candidates(network, layers, heads, tied, why)
        walk = symbolic_walk(network, likely)
        first = head_places(network, layers, report, copy_weights, walk) + places_written_out(network, layers, report)
        # Of these nothing is reported: what they would have closed gets gates of its own.
        first = proven(network, first, Report(), tied=False) if any(place.word for place in first) else first
        carried = carried_by(network, first)
        likely = likely_candidates(network, layers, first, tied, why, carried)
        made = gates.get(gate, **(gate_arguments if isinstance(gate, str) else {}))
        each = made.sampling == "example"
        units = unit_places(network, layers, report, likely, no_inside=why, carried=carried, per_example=each)
        places = proven(network, first + units, report, tied)
        more = unit_places(network, layers, report, candidates_of(places), depthwise=True, per_example=each)
        places = proven(network, places + more, report, tied) if more else places
    if flattened:
        places = proven(network, places + flat_places(network, layers, places), report, tied=False)
    if of_layers or "block" in residual:
        report.skipped.extend(of_blocks.skipped)
        places += proven_blocks(network, blocks, report)
    complete(report, network, places, candidates_of(places))
    return places


def gate_network(
    network: Network,
    residual: tuple[str, ...],
    gate: Any = "hard_concrete",
    gate_arguments: dict[str, Any] | None = None,
    layers: Any = None,
    flattened: bool = False,
    generator: str | None = None,
    penalty: Any = None,
    budget: Any = None,
    copy_weights: bool = True,
    compensate: bool = False,
    keep_class: bool = False,
    example: Any = None,
    length: Any = None,
) -> tuple[Any, list[Place], dict[Any, Any]]:
    """The work of `gate_model`.

    Args:
        keep_class: bool, whether the result is trained by the methods of the model's class, if it has own ones.
        example: what to compare the gated network on, beside random numbers.

    Returns:
        The gated model, the places of its gates, and the gates by the keys of their places.
    """
    model, report = network.model, Report()
    if not copy_weights and any(node.layer is not None and is_foreign(node.op) for node in network.nodes):
        # Pruning will copy them: what cannot be copied is refused before it is trained.
        with calls_forgotten(model):
            check_gated(network, copy_of(network))
    own_class: Any = type(model)
    kind = gated_class(own_class) if keep_class else GatedModel
    if isinstance(layers, (list, tuple, set)) and all(isinstance(name, str) for name in layers):
        unknown = sorted(set(layers) - {node.op.name for node in network.nodes})
        if unknown:
            raise ValueError(f"`layers` must name layers of the model. Received, and not found: {unknown}")

    def found(kinds: tuple[str, ...], told: Report) -> list[Place]:
        return placed(network, kinds, told, gate, gate_arguments or {}, layers, flattened, copy_weights)

    places = found(residual, report)
    if "inner" in residual and "tied" not in residual:
        # Streams, or little else, may be what is there.
        open_to_more = layers is None and any(could_be_tied(reason) for _, reason in report.skipped)
        reached = reach(network, places) if open_to_more else 1.0
        if not places or reached < ENOUGH:
            of_streams = Report()
            more = found((*residual, "tied"), of_streams)
            if not places or reached < ENOUGH * reach(network, more):
                places, report = more, of_streams
    if not places:
        raise ValueError(f"`model` has no layer that can be gated.\n{report}\nReceived: model={model.name!r}")
    # Once for each gate on a layer, however often that is called.
    told: dict[Any, tuple[str, str]] = {}
    for place in places:
        word = word_for(place)
        what = f"the whole {word}" if place.axis is None else f"{place.units} {word}"
        shared = " (one gate for the residual stream)" if place.key[0] in ("tied", "behind") else ""
        told.setdefault((place.layer, place.key), (place.layer, what + shared))
    report.gated += told.values()
    report.skipped = list(dict.fromkeys(report.skipped))
    builder = GatedBuilder(network, places, gate, gate_arguments or {}, generator, copy_weights, compensate)
    inputs, outputs = rebuild(network, builder.emit)
    sizes = length or length_of(model) or shapes_of(network.functional.inputs, example)
    try:
        gated = kind(inputs, outputs, name=model.name, penalty=penalty, budget=budget, length=sizes)
    except BudgetError as error:
        raise error.explained(skipped_by_name(network, report, builder.successor)) from None
    builder.finish()
    carry_over(network, gated, builder.successor)
    check_gated(network, gated, () if compensate else builder.gates, example)
    warn_of_lost_ties(network)
    gated.report = report
    added = {name: [path] for name, path in builder.added.items()}
    gated._origins = {**origins_of(network, builder.successor), **added}
    original = original_from(network, builder.successor)
    if original is not None:
        for place in places:
            named = original.places.setdefault(builder.gates_by_key[place.key].name, [])
            named.append((place.layer, word_for(place)))
        set_original(gated, original)
    return gated, places, builder.gates_by_key
