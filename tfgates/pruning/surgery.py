"""Making the smaller network, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops

from tfgates.anatomy import variable_of
from tfgates.anatomy.weightless import is_dropout
from tfgates.gates import Gate
from tfgates.graph import Walk
from tfgates.graph.configs import config_of
from tfgates.graph.copier import Copier, input_names
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_of
from tfgates.graph.slices import Fold, Heir, Slices
from tfgates.graph.state import activation_variables


class ClosedLayerError(ValueError):
    """A layer that the network needs has no unit left."""


def closed_layer(name: str) -> ClosedLayerError:
    return ClosedLayerError(
        f"All units of layer {name!r} are closed, so nothing would be left of it: train with a smaller "
        "penalty, or keep the likeliest ones by `min_units=1`. Received: min_units=0"
    )


class Surgery(Copier):
    """What rules use to make the successors of layers.

    Args:
        walk: a finished `Walk`.
        keep: boolean array, for each group whether it stays.
        used: set of indices of the calls that are left.
    """

    def __init__(self, walk: Walk, keep: np.ndarray, used: set[int]) -> None:
        super().__init__(taken=input_names(walk.network))
        self.walk = walk
        self._keep, self._used = keep, used
        self._factors, self._input_factors, self._folded = fold_gates(walk, used)
        self._mean_offsets: dict[int, np.ndarray] = {}
        self._folds: dict[int, dict[str, list[Fold]]] = {}

    # Whether what is left has gates of its own.
    gates_stay = False

    def shell(self, layer: Any, plain: Any) -> tuple[Any, dict[str, Any]]:
        """The class of the successor of a layer, and its config as long as nothing is cut.

        Args:
            plain: the class without a gate, which may be that of the layer.
        """
        return plain, config_of(layer, plain)

    def feeds(self, node: Node, args: Any, kwargs: Any) -> dict[str, Any]:
        """Keyword arguments for the gate inside of the successor of a call's layer: none, as it has none."""
        return {}

    def keep(self, groups: np.ndarray) -> np.ndarray:
        """Which of `groups` stay, as a boolean array."""
        return self._keep[groups]

    def factor(self, node: Node, size: int) -> np.ndarray:
        """Product of the gates behind the call that are folded into its weights, per channel."""
        return self._factors.get(node.index, np.ones(size))

    def input_factor(self, node: Node, size: int) -> np.ndarray:
        """Product of the gates in front of the call that are folded into its weights, per channel."""
        return self._input_factors.get(node.index, np.ones(size))

    def offset_mean(self, node: Node, offset: np.ndarray) -> None:
        """Lets a batch normalisation take up `offset`, per channel, that its input has lost."""
        self._mean_offsets[node.index] = offset

    def mean_offset(self, node: Node, size: int) -> np.ndarray:
        """What the input of a batch normalisation has lost, per channel."""
        return self._mean_offsets.get(node.index, np.zeros(size))

    def remember_folds(self, node: Node, folds: dict[str, list[Fold]]) -> None:
        """Notes what the variables of the call's layer take up."""
        self._folds[id(node.op)] = {path: each for path, each in folds.items() if each}

    def heirs(self, slices: Slices) -> list[Heir]:
        """For each variable of the layers that were made where it comes from; after `finish`."""
        found: dict[int, Heir] = {}
        for node in self.walk.network.nodes:
            new = self.successor(node.op) if node.index in self._used else None
            if not isinstance(new, keras.Layer):
                continue
            kept = rule_of(node).slices(self.walk, node, self.keep)
            folds = self._folds.get(id(node.op), {})
            pairs: list[tuple[Any, Any, Any]] = []
            if kept is not None:
                paths = dict.fromkeys((*kept, *folds))
                pairs = [(variable_of(new, path), variable_of(node.op, path), folds.get(path, ())) for path in paths]
            # What is not cut by its axes is copied.
            variables = [layer.variables if kept is None else activation_variables(layer) for layer in (new, node.op)]
            pairs += [(to, old, ()) for to, old in zip(*variables, strict=True)]
            for variable, old, each in pairs:
                source = None if old is None else slices[old]
                found.setdefault(id(variable), Heir(variable, source, tuple(each)))
        return list(found.values())

    def is_folded(self, node: Node) -> bool:
        """Whether a gate's factor has gone into the weights before or behind it."""
        return node.index in self._folded

    def reshaped(self, node: Node, shape: Sequence[int | None]) -> Any:
        """A Reshape to `shape`, in place of one with the channels' old number baked in."""
        return keras.layers.Reshape(shape, name=self.name(node))

    def pick(self, tensor: Any, keep: np.ndarray, axis: int) -> Any:
        """The positions `keep` of `tensor` along `axis`."""
        if keep.all():
            return tensor
        return ops.take(tensor, np.flatnonzero(keep).astype("int32"), axis=axis)

    def scale(self, tensor: Any, factor: np.ndarray, axis: int, node: Any) -> Any:
        """`factor * tensor` along `axis`, as a plain Keras layer; nothing if all factors are 1."""
        return self._rescale(tensor, factor, np.zeros(len(factor)), axis, node)

    def shift(self, tensor: Any, offset: np.ndarray, axis: int, node: Any) -> Any:
        """`tensor + offset` along `axis`, as a plain Keras layer; nothing if all offsets are 0."""
        return self._rescale(tensor, np.ones(len(offset)), offset, axis, node)

    def _rescale(self, tensor: Any, scale: np.ndarray, offset: np.ndarray, axis: int, node: Any) -> Any:
        if np.all(scale == 1.0) and not np.any(offset):
            return tensor
        # Trailing axes of length 1 bring the channels to their place whatever the data format.
        shape = (-1,) + (1,) * (len(tensor.shape) - 1 - axis)
        factors = (v.reshape(shape).tolist() if np.any(v != v[0]) else float(v[0]) for v in (scale, offset))
        layer = keras.layers.Rescaling(*factors, name=self.name(node))
        return layer(tensor)

    def nothing_left(self, node: Node) -> NoReturn:
        raise closed_layer(node.name)


def fold_gates(walk: Walk, used: set[int]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], set[int]]:
    """Which gates that stand alone can go into the weights of the layer before or behind.

    Returns:
        The factors per output channel and per input channel, each by index of the layer's call,
        and the indices of the gates.
    """
    calls: dict[int, int] = {}
    for node in walk.network.nodes:
        if node.index in used:
            calls[id(node.op)] = calls.get(id(node.op), 0) + 1

    def only_reader(tensor: Any) -> Node | None:
        """The one call that reads a tensor, if it is of a layer that is called once, else None."""
        reader = walk.network.reader(tensor, used)
        return None if reader is None or calls[id(reader.op)] > 1 else reader

    factors: dict[int, np.ndarray] = {}
    input_factors: dict[int, np.ndarray] = {}
    folded = set()
    for node in walk.network.nodes:
        inside = rule_of(node).factor_behind(walk, node) if node.index in used else None
        if inside is not None:
            behind = only_reader(node.outputs[0]) if calls[id(node.op)] == 1 else None
            if behind is not None and free(walk, behind, input_factors) and rule_of(behind).scales_inputs(walk, behind):
                input_factors[behind.index] = inside
                folded.add(node.index)
            continue
        x = walk.inputs(node)[0] if isinstance(node.op, Gate) and node.index in used else None
        factor = None if x is None else values_at(walk, node, x)
        if factor is None:
            continue
        tensor = node.inputs[0]
        before: Any = walk.network.producer[tensor]
        while before is not None and is_dropout(before.op):
            # What is scaled in front of it is scaled behind it.
            tensor = before.inputs[0]
            before = walk.network.producer[tensor]
        behind = only_reader(node.outputs[0])
        alone = before is not None and walk.network.reader(tensor, used) is node
        once = alone and calls[id(before.op)] == 1 and free(walk, before, factors)
        fits = behind is not None and free(walk, behind, input_factors)
        if once and rule_of(before).scales_outputs(before, factor):
            factors[before.index] = factor
            folded.add(node.index)
        elif fits and behind is not None and rule_of(behind).scales_inputs(walk, behind):
            input_factors[behind.index] = factor
            folded.add(node.index)
    return factors, input_factors, folded


def free(walk: Walk, node: Node, factors: Mapping[int, np.ndarray]) -> bool:
    """Whether a call is understood and no other gate has been folded into it on this side."""
    return node.index not in walk.refused and node.index not in factors


def values_at(walk: Walk, node: Node, x: Any) -> np.ndarray | None:
    """A gate's inference values for each channel of x, or None if it lies along another axis."""
    gate = node.op
    if gate.axis is None:
        return np.repeat(walk.gate(gate)[1], len(x))
    if gate.axis % len(walk.shape(node.inputs[0])) != x.axis:
        return None
    return walk.gate_positions(gate, len(x))[1]
