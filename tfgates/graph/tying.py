"""Layers that are several and share weights: they stay whole, and so do their copies, which share theirs."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from tfgates.backend import memory_of
from tfgates.gates import Gate
from tfgates.keras_internals import attributes_of_object, has_graph, layers_within, tracked_layers

# What every layer has, beside what its class gives it.
OF_KERAS = set(vars(keras.Layer()))


@dataclasses.dataclass(frozen=True)
class Tie:
    """What a call shares weights with.

    Attributes:
        why: that it does, in words, for the report.
        calls: the indices of all calls that are tied to each other, its own included.
    """

    why: str
    calls: tuple[int, ...]


def find_ties(nodes: list[Any]) -> None:
    """Sets `tie` of the calls of layers that share weights with others, and of operators that are given weights.

    Several calls of one layer are no tie: rules know of them. Nor are gates that several layers hold.
    """
    readers: dict[int, list[Any]] = {}
    refuse_views(nodes)
    for node in nodes:
        for variable in weights_read(node):
            readers.setdefault(id(variable), []).append(node)
    group = {node.index: {node.index} for node in nodes}
    partners: dict[int, dict[int, str]] = {}
    for sharing in readers.values():
        if len({id(node.op) for node in sharing}) == 1:
            continue
        for node in sharing:
            others = {id(other.op): other.name for other in sharing if other.op is not node.op}
            partners.setdefault(node.index, {}).update(others)
            group[sharing[0].index] |= group[node.index]
            for index in group[sharing[0].index]:
                group[index] = group[sharing[0].index]
    for node in nodes:
        if node.index in partners:
            names = ", ".join(repr(name) for name in dict.fromkeys(partners[node.index].values()))
            node.tie = Tie(f"it shares weights with {names}", tuple(sorted(group[node.index])))


def refuse_views(nodes: list[Any]) -> None:
    """Refuses operators that are given a tensor in the memory of a weight: those of a copy would read the original's.

    Raises:
        ValueError: if there is one.
    """
    found = [(node, memory_of(x)) for node in nodes for x in tree.flatten((node.args, node.kwargs))]
    given = [(node, place) for node, place in found if place]
    weights = [v for node in nodes if node.layer is not None for v in node.op.weights] if given else []
    paths = {memory_of(v.value): v.path for v in weights}
    for node, place in given:
        if place in paths:
            raise ValueError(
                "An operator must be given a weight itself, or what it makes of it: with PyTorch a transpose or a "
                "slice is a view that is trained with the weight, and a copy of the model would read the original's. "
                f"Received: `{node.name}` with a view of {paths[place]}"
            )


def weights_read(node: Any) -> list[keras.Variable]:
    """The weights that a call reads, those of gates left out: its layer's, and those that it is given."""
    given = [x for x in tree.flatten((node.args, node.kwargs)) if isinstance(x, keras.Variable)]
    if node.layer is None:
        return given
    gates = {id(v) for each in layers_within(node.op) if isinstance(each, Gate) for v in each.variables}
    return given + [v for v in node.op.weights if id(v) not in gates]


def parts_of(new: Any, old: Any) -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    """The layers that two layers of one class hold in the same places.

    Yields:
        That of `new`, that of `old`, and a function that puts another layer into the place of the first.
    """
    if isinstance(old, keras.Model) and has_graph(old):
        # Its graph holds them too.
        return
    held = attributes_of_object(new)
    for name, value in attributes_of_object(old).items():
        if name not in OF_KERAS and name in held:
            yield from _places(new, held[name], value, functools.partial(setattr, new, name))


def _places(holder: Any, new: Any, old: Any, put: Callable[[Any], None]) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(old, keras.Layer):
        if type(new) is type(old):

            def replace(layer: Any) -> None:
                _exchange(holder, new, layer)
                put(layer)

            yield new, old, replace
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, value in enumerate(old):
            yield from _places(holder, new[i], value, functools.partial(list.__setitem__, new, i))
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in [key for key in old if key in new]:
            yield from _places(holder, new[key], old[key], functools.partial(dict.__setitem__, new, key))


def _exchange(holder: keras.Layer, old: keras.Layer, new: keras.Layer) -> None:
    """Lets a layer track `new` in the place of `old`: the order of its variables is that of its layers."""
    layers, ids = tracked_layers(holder)
    for i in [i for i, each in enumerate(layers) if each is old]:
        layers[i] = new
        ids.discard(id(old))
        ids.add(id(new))
