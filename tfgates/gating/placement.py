"""Where gates can go so that what they close can be removed exactly."""

import dataclasses
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.dense import DenseAnatomy
from tfgates.gates import Gate
from tfgates.gating.chains import chain_from, makes_units
from tfgates.graph import Network, Walk
from tfgates.graph.phase import trains, why_it_trains
from tfgates.graph.rule import rule_of
from tfgates.graph.walk import symbolic_walk
from tfgates.layers import GatedLayer


@dataclasses.dataclass
class Place:
    """A place for a gate.

    Attributes:
        layer: name of the layer whose units are gated.
        node: the call behind which the gate stands.
        source: the call that makes the units (the convolution before a batch normalisation).
        key: places with the same key share one gate.
        units: number of units.
        axis: the axis of the units; None for a whole branch.
        last: whether that is the last axis.
        groups: number of groups if a unit is a group of channels, else None.
        interleaved: whether the channels of a group are at equal distances, and not next to each other.
        weights: number of weights that one unit owns.
        kind: `"outputs"`, or the kind of units inside of the layer, `"heads"`: the gate is then inside of it.
        word: what the units are called in the report, where that is not their kind.
        carrier: of a whole layer (kind `"layer"`), which input of its addition is what comes in.
        goes: of a whole layer, the indices of the calls that go with it.
        makers: where `source` is not what makes the units: pairs of the calls that do, of which no other place is, and
            of the calls behind which their gate would stand.
    """

    layer: str
    node: Any
    source: Any
    key: Any
    units: int
    axis: int | None
    last: bool
    groups: int | None
    weights: int
    kind: str = "outputs"
    word: str = ""
    carrier: int | None = None
    goes: frozenset[int] = frozenset()
    makers: tuple[tuple[Any, Any], ...] | None = None
    interleaved: bool = False

    @property
    def told(self) -> str:
        """What a `Walk` is told of its units."""
        return "branch" if self.axis is None else "interleaved" if self.interleaved else self.kind


def chooser(layers: Any) -> Callable[[Any], bool]:
    """A function from a layer to whether `layers` asks for it.

    Args:
        layers: None (all), a regular expression that matches the whole name, a list of names,
            or a function of the layer.
    """
    if layers is None:
        return lambda layer: True
    if callable(layers):
        return layers
    if isinstance(layers, str):
        try:
            pattern = re.compile(layers)
        except re.error as error:
            raise ValueError(
                f"`layers` must be a regular expression when it is a string; this is none: {error}. "
                f"Received: layers={layers!r}"
            ) from None
        return lambda layer: pattern.fullmatch(layer.name) is not None
    if isinstance(layers, (list, tuple, set)) and all(isinstance(name, str) for name in layers):
        names = set(layers)
        return lambda layer: layer.name in names
    raise ValueError(
        "`layers` must be None, a regular expression, a list of layer names or a function of a layer. "
        f"Received: layers={layers!r}"
    )


def unit_places(
    network: Network,
    layers: Any,
    report: Any,
    candidates: Any,
    depthwise: bool = False,
    no_inside: str = "",
    carried: Collection[int] = frozenset(),
    per_example: bool = False,
) -> list[Place]:
    """Candidates on the output channels of convolutions, dense and recurrent layers.

    Args:
        candidates: gates that are imagined already: those of the places found so far, or likely ones, so that the
            walk that finds the places proves them too.
        depthwise: False for convolutions that mix channels. True for depthwise ones whose
            channels no gate of `candidates` takes along: behind squeeze-and-excitation, say, only a
            gate behind the depthwise convolution leaves a zero.
        no_inside: why no gate can be inside of a layer, which those of recurrent layers must be; nothing where
            they can.
        carried: the indices of calls whose units go with gates that were placed before.
        per_example: whether gates draw for each example, which are along the first axis.
    """
    wanted = chooser(layers)
    batches = [network.shapes[tensor][0] for tensor in network.inputs]
    seen: dict[Any, Any] = {}
    found: list[Place] = []
    walk = symbolic_walk(network, candidates)
    for node in network.nodes:
        anatomy = anatomy_of(node.op)
        if node.whole is not None and not depthwise and node.layer.weights:
            report.skipped.append((node.name, f"{type(node.op).__name__} stays whole: {node.whole}"))
        rule = rule_of(node)
        if not makes_units(node, depthwise) or node.index in carried:
            continue
        if depthwise and (node.index in walk.refused or is_gated(walk, walk.output(node))):
            continue
        if not wanted(node.op):
            report.skipped.append((node.name, "not asked for by `layers`"))
            continue
        if node.index in walk.refused:
            reason = rule.supported(node) or walk.refused[node.index] or "its channels cannot be followed"
            report.skipped.append((node.name, reason))
            continue
        noisy = f"it {why_it_trains(node, network.nodes)}" if trains(node) else ""
        why = (no_inside or noisy) if anatomy.recurs else ""
        if why:
            report.skipped.append((node.name, f"gates on the units of recurrent layers are inside of them, and {why}"))
            continue
        chain = chain_from(network, node)
        after = chain[-1]
        if per_example and None in batches and network.shapes[after.outputs[0]][0] is not None:
            report.skipped.append((node.name, "`sampling='example'` draws along the first axis, and examples are not"))
            continue
        if walk.output(after) is None:
            report.skipped.append((node.name, walk.refused.get(after.index, "its channels cannot be followed")))
            continue
        has_gate = isinstance(after.op, GatedLayer) or isinstance(node.op, GatedLayer)
        if has_gate or is_gated(walk, walk.output(after), by_present=True):
            report.skipped.append((node.name, "has a gate already"))
            continue
        channels = walk.output(after)
        size = len(channels)
        groups = anatomy.counts(node.op)["channels"] if depthwise else anatomy.parts(node.op)
        per_group = groups > 1 and size > groups
        weights = [w for each in chain for w in getattr(each.op, "trainable_weights", ())]
        owned = sum(int(np.prod(w.shape)) for w in weights) // size
        units = groups if per_group else size
        key = seen.setdefault(id(after.op), ("unit", after.index))
        found.append(
            Place(
                node.name,
                after,
                node,
                key,
                units,
                channels.axis,
                channels.axis == len(network.shapes[after.outputs[0]]) - 1,
                groups if per_group else None,
                owned * (size // units),
            )
        )
    return found


def flat_places(network: Network, layers: Any, places: list[Place]) -> list[Place]:
    """Candidates on the single positions of flattened maps, in front of dense layers."""
    wanted, found = chooser(layers), []
    walk = symbolic_walk(network, candidates_of(places))
    for node in network.nodes:
        channel = walk.notes(node).channel
        if channel is None or len(channel) == len(set(channel.tolist())):
            continue
        dense = network.reader(node.outputs[0])
        if dense is None or not isinstance(anatomy_of(dense.op), DenseAnatomy) or not wanted(dense.op):
            continue
        size, axis = len(channel), walk.output(node).axis
        found.append(
            Place(node.name, node, node, ("unit", node.index), size, axis, True, None, int(dense.op.kernel.shape[-1]))
        )
    return found


def is_gated(walk: Walk, channels: Any, by_present: bool = False) -> bool:
    """Whether each of the channels goes when some unit closes; `by_present`: of a gate already there."""
    for formula in np.unique(walk.alive[channels.group]):
        units = walk.formulas.common([formula])
        gates = [walk.units[unit][0] for unit in units]
        if by_present:
            # A gate on a whole branch leaves room for gates on its channels.
            gates = [gate for gate in gates if isinstance(gate, Gate) and gate.axis is not None]
        if not gates:
            return False
    return True


def candidates_of(places: Sequence[Place]) -> dict[tuple[int, str], tuple[Any, int]]:
    """What a `Walk` is told of places; a whole branch is told apart from the channels of the same call.

    Of whole layers nothing: what comes in goes on where they are closed, so no channel becomes a constant.
    """
    told = [place for place in places if place.carrier is None]
    return {(place.node.index, place.told): (place.key, place.units) for place in told}
