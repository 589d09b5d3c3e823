"""Which gates can stay: the proof that what a gate closes goes, whatever else is closed."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfgates.gating.other_places import behind_weights, further_on, in_blocks, inside, together
from tfgates.gating.placement import Place, candidates_of
from tfgates.graph import Network, Walk
from tfgates.graph.formula import TRUE
from tfgates.graph.gate_places import channels_of
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_of
from tfgates.graph.rules.slicing import PadRule
from tfgates.graph.rules.sums import AddRule
from tfgates.graph.walk import symbolic_walk

AT_OUTPUT = "an output of the model"
JOINED = "its channels are joined with those of other layers (a residual stream: see `residual`)"
# Where one gate for all of a stream was asked for.
UNSHARED = (
    "its channels are joined with those of other layers (a residual stream) that cannot share its gate, such as those "
    "of another number of channels"
)


def could_be_tied(reason: str) -> bool:
    """Whether a gate for a whole stream may do where one was refused for `reason`: joined channels, or constants."""
    return "residual stream" in reason or "constant" in reason


def proven(network: Network, places: list[Place], report: Any, tied: bool) -> list[Place]:
    """The places where closing a unit lets its channels go, whatever else is closed."""
    # What needs no walk, unless the gate of an output may be that of other layers too.
    at_outputs = set() if tied else {p.key for p in places if at_output(network, p)}
    report.skipped.extend((p.layer, AT_OUTPUT) for p in places if p.key in at_outputs)
    places = [place for place in places if place.key not in at_outputs]
    walk = symbolic_walk(network, candidates_of(places))
    while True:
        # A layer that is called several times has one gate: its calls stand or fall together.
        failed = obstacles(walk, places)
        moved = in_blocks(walk, places, failed)
        if moved is None:
            moved = together(walk, places, failed)
        if moved is None:
            moved = further_on(walk, places, failed)
        if moved is None:
            moved = behind_weights(walk, places, failed)
        if moved is None:
            moved = in_blocks(walk, places, failed, interleaved=True)
        if moved is None and tied and failed:
            moved = tie_streams(walk, places, failed) or behind_sums(walk, places, failed)
        if moved is not None:
            walk, places = walk_of_moved(walk, places, moved, failed), moved
            continue
        if not failed:
            return places
        for place in places:
            if place.key in failed:
                reason = failed[place.key][1]
                report.skipped.append((place.layer, UNSHARED if tied and reason == JOINED else reason))
        places = [p for p in places if p.key not in failed]
        known = walk.with_open(set(failed))
        if obstacles(known, places):
            # It may be for want of knowing more.
            walk = symbolic_walk(network, candidates_of(places))
        else:
            walk = network.walks.setdefault(frozenset(known.candidates.items()), known)


def walk_of_moved(walk: Walk, places: list[Place], moved: list[Place], failed: Collection[Any]) -> Walk:
    """A walk for places of which some share gates now, or have coarser units, or are elsewhere.

    What follows from the walk before is enough where no place fails by it but those that failed and are as they were,
    and those whose channels can never go, whatever gates share.
    """
    known = walk.given(candidates_of(moved))
    if known is not None:
        before = {id(place) for place in places}
        same = {place.key for place in moved if id(place) in before}
        left = obstacles(known, moved).values()
        if all((place.key in same and place.key in failed) or is_locked(known, place) for place, _ in left):
            return walk.network.walks.setdefault(frozenset(known.candidates.items()), known)
    return symbolic_walk(walk.network, candidates_of(moved))


def is_locked(walk: Walk, place: Place) -> bool:
    """Whether some of the channels of a place can never go."""
    channels: Any = channels_of(walk, place.node, place.kind)
    return any(walk.reason(group) is not None for group in channels.group)


def obstacles(walk: Walk, places: Sequence[Place]) -> dict[Any, tuple[Place, str]]:
    """By the key of a place the place and why its units cannot go, for those where something is in the way."""
    pairs = [(place, obstacle(walk, place)) for place in places]
    return {place.key: (place, reason) for place, reason in pairs if reason}


def at_output(network: Network, place: Place) -> bool:
    """Whether a place is on an output of the model."""
    return place.kind == "outputs" and place.node.outputs[0] in network.outputs


def obstacle(walk: Walk, place: Place) -> str | None:
    """Why closing the units of a place would not let all of their channels go, or None."""
    channels: Any = channels_of(walk, place.node, place.kind)
    own = {int(unit) for literal in walk._gates[place.key] for term in walk.formulas.terms[literal] for unit in term}
    literals = walk._gates[place.key]
    literals = (np.tile if place.interleaved else np.repeat)(literals, len(channels) // len(literals))
    alive = walk.alive[channels.group]
    infinite = {int(walk.root[group]): reason for group, reason in walk.infinite.items()}
    for group, formula, literal in zip(channels.group, alive, literals, strict=True):
        (unit,) = next(iter(walk.formulas.terms[literal]))
        if all(unit in term for term in walk.formulas.terms[formula]):
            continue
        if at_output(walk.network, place):
            return AT_OUTPUT
        lock = walk.reason(group)
        if lock:
            return lock.removeprefix(f"{place.layer}: ")
        if formula == TRUE:
            joined = "its channels are joined with others that have no gate (a residual stream)"
            return infinite.get(int(walk.root[group]), joined)
        if formula != TRUE and own.issuperset(frozenset().union(*walk.formulas.terms[formula])):
            return "several of its own channels fall together (those of a split that is multiplied, say)"
        return JOINED
    return None


def tie_streams(walk: Walk, places: list[Place], failed: Collection[Any]) -> list[Place] | None:
    """Gives one key to all places on the same channels, where that has not been done; else None."""
    by_channels: dict[Any, Any] = {}
    changed = False
    for place in places:
        # A gate that several layers share cannot be inside of them.
        on_outputs = place.kind == "outputs" and not inside(place)
        if place.key in failed and place.key[0] == "unit" and on_outputs:
            by_channels.setdefault(unit_roots(walk, place), []).append(place)
    renamed: dict[Any, dict[str, Any]] = {}
    more: list[Place] = []
    for groups, stream in by_channels.items():
        picked = [node for node in walk.network.nodes if begins(walk, node, groups)]
        alike = len({(p.units, p.axis) for p in stream}) == 1 and len({p.interleaved for p in stream if p.groups}) < 2
        if len({p.key for p in stream}) + len(picked) > 1 and alike:
            # One gate lies on channels, and on groups of as many.
            like = next((place for place in stream if place.groups), stream[0])
            shared = {"key": ("tied", stream[0].node.index), "groups": like.groups, "interleaved": like.interleaved}
            renamed.update(dict.fromkeys((place.key for place in stream), shared))
            more += [dataclasses.replace(standing(stream[0], node), **shared) for node in picked]
            changed = True
    if not changed:
        return None
    return [dataclasses.replace(p, **renamed.get(p.key, {})) for p in places] + more


def unit_roots(walk: Walk, place: Place) -> tuple[int, ...]:
    """What of each unit of a place stays or goes together, one number where that is so for all of its channels."""
    roots = walk.root[walk.output(place.node).group]
    rows = roots.reshape(-1, place.units).T if place.interleaved else roots.reshape(place.units, -1)
    return tuple(rows[:, 0]) if (rows == rows[:, :1]).all() else tuple(roots)


def behind_sums(walk: Walk, places: list[Place], failed: Collection[Any]) -> list[Place] | None:
    """The places on a stream with those in front of its sums moved behind them; None where that moves none.

    Where what comes in is normalised before it is added, as in RepVGG, a closed channel is a constant of that
    normalisation, and 0 only behind the sum.
    """
    keys: dict[tuple[Any, ...], set[Any]] = {}
    for place in places:
        if place.key in failed and place.kind == "outputs" and not inside(place) and place.axis is not None:
            keys.setdefault((place.axis, *walk.root[walk.output(place.node).group]), set()).add(place.key)
    streams = []
    for (axis, *groups), of_stream in keys.items():
        sums = [node for node in walk.network.nodes if is_sum(walk, node, axis, groups)]
        ends = [node for node in sums if walk.network.reader(node.outputs[0]) not in sums]
        # A constant that nothing can take up is 0 behind the sum; other reasons are the same there.
        locked = not all(could_be_tied(reason) for reason in filter(None, map(walk.reason, groups)))
        alone = not any(of_stream & others for others in keys.values() if others is not of_stream)
        if ends and alone and not locked and not all(p.node in ends for p in places if p.key in of_stream):
            streams.append(Stream(of_stream, sums, ends, len(groups)))
    if not streams:
        return None
    # Those that do not stand there either stay where they were, with the reason of that place.
    moved = to_sums(walk.network, places, streams)
    stuck = obstacles(walk_of_moved(walk, places, moved, failed), moved)
    streams = [stream for stream in streams if stream.key not in stuck]
    return to_sums(walk.network, places, streams) if streams else None


@dataclasses.dataclass
class Stream:
    """What is to be gated behind sums.

    Attributes:
        keys: of the gates in front of the sums.
        sums: the calls that add up its channels.
        ends: those that no other of them reads.
        units: number of its channels.
    """

    keys: set[Any]
    sums: list[Node]
    ends: list[Node]
    units: int

    @property
    def key(self) -> tuple[str, int]:
        """Of the gate behind the sums."""
        return ("behind", self.ends[0].index)


def to_sums(network: Network, places: list[Place], streams: list[Stream]) -> list[Place]:
    """The places with those of streams behind the last of their sums, where they stand in front of any."""
    of_key = {key: stream for stream in streams for key in stream.keys}
    found, first = [], dict[tuple[str, int], Place]()
    makers = dict[tuple[str, int], list[tuple[Any, Any]]]()
    for place in places:
        stream = of_key.get(place.key)
        if stream is None:
            found.append(place)
            continue
        # A unit that was several channels is one now.
        weights = place.weights * place.units // stream.units
        place = dataclasses.replace(place, key=stream.key, weights=weights, units=stream.units)
        place = dataclasses.replace(place, groups=None, interleaved=False)
        first.setdefault(stream.key, place)
        if place.node not in stream.sums and network.reader(place.node.outputs[0]) not in stream.sums:
            found.append(place)
        else:
            makers.setdefault(stream.key, []).extend(makers_of(place))
    for stream in streams:
        some = [standing(first[stream.key], node) for node in stream.ends]
        some[0] = dataclasses.replace(some[0], makers=tuple(makers.get(stream.key, ())))
        found += some
    return found


def standing(place: Place, node: Node) -> Place:
    """A place like another behind a call that makes no units."""
    return dataclasses.replace(place, layer=node.name, node=node, source=node, makers=())


def makers_of(place: Place) -> tuple[tuple[Any, Any], ...]:
    """Pairs of the calls that make the units of a place, and of those behind which their gate would stand."""
    return ((place.source, place.node),) if place.makers is None else place.makers


def is_sum(walk: Walk, node: Node, axis: int, groups: Sequence[int]) -> bool:
    """Whether a call adds up channels of a stream, and what it makes is no output."""
    made = walk.channels[node.outputs[0]]
    if not isinstance(rule_of(node), AddRule) or made is None or node.outputs[0] in walk.network.outputs:
        return False
    return made.axis == axis and walk.root[made.group].tolist() == list(groups)


def begins(walk: Walk, node: Node, groups: tuple[int, ...]) -> bool:
    """Whether a call makes the channels of a stream by picking those of another one, as a padded shortcut does."""
    rule = rule_of(node)
    return (
        isinstance(rule, PadRule)
        and rule.begins_stream(walk, node)
        and tuple(walk.root[walk.output(node).group]) == groups
    )
