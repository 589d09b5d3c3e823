"""The walk: for each channel of each tensor, is it live, is it needed, can it go?"""

import copy
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.implications import in_turn
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import rule_of
from tfgates.graph.spread import settle
from tfgates.graph.values import through_gate
from tfgates.graph.walk_state import WalkState


class Walk(WalkState):
    """Walks over a network, forward for constants and backward for demand.

    Args:
        network: a `Network`.
        symbolic: bool. False: gates count as they are at inference, and zeros in the weights
            are seen. True: each unit is a variable of the formulas, and what is found holds for any
            values of weights and statistics, trainable or not: see `tfgates.graph.values`.
        candidates: dict from the index of a call and a kind of its units, `"outputs"`, `"interleaved"` for outputs of
            which those at equal distances are one unit, `"heads"`, or `"branch"` for all of its output as one unit, to
            `(gate key, number of units)`: gates that do not exist but are imagined.

    Attributes:
        channels: per tensor, a `Channels` or None where nothing is known.
        alive: per group, the formula under which it stays.
        reasons: per group that can never be removed, why.
        implications: pairs of parts and wholes, representatives of groups: a whole stays while its part does.
        infinite: per group whose channels become infinite where a gate closes them, or meet what stays whole, where.
        used: of a symbolic walk: for the index of each call the formula under which it remains.
        refused: for the index of each call that is not understood or is left as it is, why.
        units: list of `(gate, index of unit)`: what the numbers in the formulas mean.
    """

    def __init__(
        self, network: Any, symbolic: bool = False, candidates: dict[tuple[int, str], tuple[Any, int]] | None = None
    ) -> None:
        super().__init__(network, symbolic, candidates)
        self._forward()
        self._backward()
        self._decide()
        if symbolic:
            self._follow()

    # The two passes and the verdict.

    def _forward(self) -> None:
        for node in self.network.nodes:
            self._first_call.setdefault(id(node.op), node.index)
            rule = rule_of(node)
            if self.spread and not rule.moves_entries:
                self.settle(node.inputs)
            rule.forward(self, node)
            if self.output(node) is not None:
                self.imagine(node)

    def settle(self, tensors: Iterable[int]) -> None:
        """Determines the channels of those tensors whose channels are spread over several axes."""
        for tensor in tensors:
            if tensor in self.spread:
                settle(self, tensor)

    def is_spread(self, node: Node) -> bool:
        """Whether the channels of what a call reads lie along several axes."""
        return any(tensor in self.spread for tensor in node.inputs)

    def imagine(self, node: Node) -> None:
        """Puts the imagined gates of a call, if it has any, on what it makes."""
        size, notes = len(self.output(node)), self.notes(node)
        notes.candidate, notes.branch = self.imagined(node, "outputs", size), self.imagined(node, "branch", size)
        if notes.candidate is None:
            notes.candidate = self.imagined(node, "interleaved", size)
        for literal in (notes.candidate, notes.branch):
            # The states of a recurrent layer have the gates of its outputs.
            if literal is None:
                continue
            for tensor in node.outputs:
                x = self.channels[tensor]
                live, value = through_gate(self, x.live, x.value, literal, 1.0)
                self.channels[tensor] = self.like(x, live=live, value=value)

    def _backward(self) -> None:
        self.settle(self.network.outputs)
        for tensor in self.network.outputs:
            channels = self.channels[tensor]
            if channels is not None:
                self.need(channels, TRUE)
                self.groups.lock(channels.group, "an output of the model")
        for node in reversed(self.network.nodes):
            output = self.output(node)
            if output is not None:
                # Marked before the imagined gates are passed: with them live already says the same.
                for literal in (self.notes(node).candidate, self.notes(node).branch):
                    if literal is not None:
                        output.need = self.formulas.both(output.need, literal)
            rule_of(node).backward(self, node)

    def _decide(self) -> None:
        """Sets `alive` per group: it stays if any of its positions is both live and needed."""
        self.root, self.reasons = self.groups.roots()
        alive: np.ndarray = np.zeros(len(self.root), np.int64)
        for channels in [*self.channels, *self._local]:
            if channels is None:
                continue
            self._mark(alive, self.root[channels.group], self.formulas.both(channels.live, channels.need))
        for group in self.reasons:
            alive[group] = TRUE
        self.implications = in_turn((self.root[parts], self.root[wholes]) for parts, wholes in self._implications)
        for parts, wholes in self.implications:
            self._mark(alive, wholes, alive[parts])
        self.alive = alive[self.root] if len(alive) else alive

    def _follow(self) -> None:
        """Sets `used`, back from the outputs through what each call still reads."""
        reached = dict.fromkeys(self.network.outputs, TRUE)
        self.used = {}
        for node in reversed(self.network.nodes):
            used = self.formulas.some([reached.get(tensor, FALSE) for tensor in node.outputs])
            self.used[node.index] = used
            for tensor, formula in rule_of(node).reads(self, node).items():
                read = int(self.formulas.both(used, formula))
                reached[tensor] = int(self.formulas.either(reached.get(tensor, FALSE), read))

    def given(self, candidates: dict[tuple[int, str], tuple[Any, int]]) -> "Walk | None":
        """What a walk would find with other imagined gates, as far as that follows from this one.

        The other gates may be fewer, may share units, and may have coarser ones. Nothing stays there that does not stay
        here. For constants that were not known under more gates, a separate walk may know more, and let more be
        removed. That is why the verdict is final only where it lets things be removed, unless the gates that are
        missing are those of branches: they close 0 into an addition, which is a constant of nothing else.

        Args:
            candidates: see `Walk`.

        Returns:
            None where they are in other places, or finer.
        """
        if not candidates.keys() <= self.candidates.keys():
            return None
        old = {unit: number for number, unit in enumerate(self.units)}
        found = copy.copy(self)
        found.candidates, found.units = dict(candidates), [*self.units]
        imagined = {key for key, _ in self.candidates.values()}
        found._gates = {key: each for key, each in self._gates.items() if key not in imagined}
        numbers: dict[int, int | None] = {}
        for place, (key, count) in self.candidates.items():
            if key not in self._gates:
                # Imagined where nothing is known.
                continue
            new_key, new_count = candidates.get(place, (None, 1))
            if count % new_count:
                return None
            if place in candidates and new_key not in found._gates:
                same = (new_key, new_count) == (key, count)
                found._gates[new_key] = self._gates[key] if same else found._literals(new_key, new_count)
            for unit in range(count):
                number = None
                if place in candidates:
                    ((number,),) = self.formulas.terms[found._gates[new_key][unit * new_count // count]]
                if numbers.setdefault(old[key, unit], number) != number:
                    return None
        distinct, inverse = np.unique(self.alive, return_inverse=True)
        renumbered = [self.formulas.renumbered(formula, numbers) for formula in distinct]
        found.alive = np.array(renumbered, np.int64)[inverse] if len(renumbered) else self.alive
        found.used = {call: self.formulas.renumbered(formula, numbers) for call, formula in self.used.items()}
        return found

    def with_open(self, keys: Collection[Any]) -> "Walk":
        """What follows for the same gates without those of `keys`, see `given`."""
        left: Any = self.given({place: each for place, each in self.candidates.items() if each[0] not in keys})
        return left

    def closure(self, keep: np.ndarray) -> np.ndarray:
        """Adds to `keep`, booleans per group, what stays because something else does."""
        keep = keep[self.root] if len(keep) else keep
        for parts, wholes in self.implications:
            np.logical_or.at(keep, wholes, keep[parts])
        return keep[self.root] if len(keep) else keep

    def reason(self, group: int) -> str | None:
        """Why a group can never be removed, or None."""
        return self.reasons.get(int(self.root[group]))


def symbolic_walk(network: Network, candidates: dict[Any, Any] | None = None) -> Walk:
    """A symbolic walk, made once for a network and candidates, and shared: nobody changes it.

    One with more candidates on branches does as well, see `Walk.given`.

    Args:
        network: a `Network`.
        candidates: see `Walk`.
    """
    candidates = candidates or {}
    key = frozenset(candidates.items())
    if key not in network.walks:
        walk = without_branches(network.walks.values(), candidates) or Walk(network, True, candidates)
        network.walks[key] = walk
        # Gates that were imagined where nothing is known have changed nothing.
        here = {place: each for place, each in walk.candidates.items() if each[0] in walk._gates}
        network.walks[frozenset(here.items())] = walk
    return network.walks[key]


def known_walk(network: Network, candidates: dict[Any, Any]) -> Walk:
    """A symbolic walk, or what follows from one that was made with more candidates, see `Walk.given`."""
    if frozenset(candidates.items()) not in network.walks:
        for walk in network.walks.values():
            found = walk.given(candidates)
            if found is not None:
                return found
    return symbolic_walk(network, candidates)


def without_branches(walks: Iterable[Walk], candidates: dict[Any, Any]) -> Walk | None:
    """What follows for `candidates` from a walk with the same ones, and others on branches; None without any."""
    for walk in walks:
        more = {place for place, each in walk.candidates.items() if each[0] in walk._gates} - candidates.keys()
        if candidates.items() <= walk.candidates.items() and all(kind == "branch" for _, kind in more):
            return walk.given(candidates)
    return None
