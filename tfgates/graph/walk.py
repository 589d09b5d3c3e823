"""The walk: for each channel of each tensor, is it live, is it needed, can it go?"""

import copy
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Network, Node
from tfgates.graph.rule import rule_of
from tfgates.graph.spread import settle
from tfgates.graph.values import through_gate
from tfgates.graph.walk_state import WalkState


class Walk(WalkState):
    """Walks over a network, forward for constants and backward for demand.

    Args:
        network: a `Network`.
        symbolic: bool. False: gates count as they stand at inference, and zeros in the weights
            are seen. True: each unit is a variable of the formulas, and what is found holds for any
            values of weights and statistics, trainable or not: see `tfgates.graph.values`.
        candidates: dict from the index of a call and a kind of its units, `"outputs"` or `"heads"`, to `(gate key,
            number of units)`: gates that are not there but are imagined on them.

    Attributes:
        channels: per tensor, a `Channels` or None where nothing is known.
        alive: per group, the formula under which it stays.
        reasons: per group that can never go, why.
        infinite: per group whose channels become infinite where a gate closes them, where.
        used: of a symbolic walk: for the index of each call the formula under which it is left.
        refused: for the index of each call that is not understood or left alone, why.
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
        """Tells the channels of tensors along several axes of which they are spread."""
        for tensor in tensors:
            if tensor in self.spread:
                settle(self, tensor)

    def is_spread(self, node: Node) -> bool:
        """Whether the channels of what a call reads lie along several axes."""
        return any(tensor in self.spread for tensor in node.inputs)

    def imagine(self, node: Node) -> None:
        """Puts the imagined gate of a call, if it has one, on what it makes."""
        x = self.output(node)
        literal = self.imagined(node, "outputs", len(x))
        if literal is None:
            return
        self.notes(node).candidate = literal
        for tensor in node.outputs:
            # The states of a recurrent layer have the gates of its outputs.
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
                # Marked before the imagined gate is passed: with it live already says the same.
                literal = self.notes(node).candidate
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
        for parts, wholes in reversed(self._implications):
            self._mark(alive, self.root[wholes], alive[self.root[parts]])
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

    def with_open(self, keys: Collection[Any]) -> "Walk":
        """What a walk would find without the imagined gates `keys`, as far as that follows from this one.

        Nothing stays there that does not stay here; of constants that were not known under more gates a walk of its
        own may know more, and let more go. That is why its verdict is one only where it lets things go.
        """
        units = frozenset(number for number, (key, _) in enumerate(self.units) if key in keys)
        found = copy.copy(self)
        found.candidates = {place: each for place, each in self.candidates.items() if each[0] not in keys}
        found._gates = {key: each for key, each in self._gates.items() if key not in keys}
        distinct, inverse = np.unique(self.alive, return_inverse=True)
        opened = [self.formulas.without(formula, units) for formula in distinct]
        found.alive = np.array(opened, np.int64)[inverse] if len(opened) else self.alive
        found.used = {call: self.formulas.without(formula, units) for call, formula in self.used.items()}
        return found

    def closure(self, keep: np.ndarray) -> np.ndarray:
        """Adds to `keep`, booleans per group, what stays because something else does."""
        keep = keep[self.root] if len(keep) else keep
        for parts, wholes in reversed(self._implications):
            np.logical_or.at(keep, self.root[wholes], keep[self.root[parts]])
        return keep[self.root] if len(keep) else keep

    def reason(self, group: int) -> str | None:
        """Why a group can never go, or None."""
        return self.reasons.get(int(self.root[group]))


def symbolic_walk(network: Network, candidates: dict | None = None) -> Walk:
    """A symbolic walk, made once for a network and candidates, and shared: nobody changes it.

    Args:
        network: a `Network`.
        candidates: see `Walk`.
    """
    key = frozenset((candidates or {}).items())
    if key not in network.walks:
        walk = Walk(network, symbolic=True, candidates=candidates)
        network.walks[key] = walk
        # Gates that were imagined where nothing is known have changed nothing.
        here = {place: each for place, each in walk.candidates.items() if each[0] in walk._gates}
        network.walks[frozenset(here.items())] = walk
    return network.walks[key]
