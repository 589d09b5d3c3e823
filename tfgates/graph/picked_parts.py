"""Queries, keys and values that are cut out of one tensor behind a transposition: cut out of the channels instead.

`q, k, v = unstack(transpose(reshape(x, (b, n, 3, heads, d)), (2, 0, 3, 1, 4)))` brings the batch to another axis, where
nothing is followed. Each of the three is a slice of the channels of x, cut into heads and transposed with its batch
in front: the same numbers, so that the calls are written down as these. Where heads are folded into the batch, as in
`unstack(reshape(transpose(...), (3, b * heads, n, d)))`, each part is folded behind its transposition.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from tfgates.keras_internals import history_of

if TYPE_CHECKING:
    from tfgates.graph.network import Network, Node


@dataclasses.dataclass
class Parts:
    """Parts of one tensor.

    Attributes:
        source: the number of the tensor.
        places: the sizes between the batch and what its last axis is cut into.
        shape: the sizes of what its last axis is cut into: parts, heads, width and what else there is.
        order: the axes of each part behind the batch, as the transposition leaves them.
        taken: which part each tensor that comes out is, by its number.
        calls: the indices of the calls that are written down otherwise.
        folded: the sizes behind the batch where the heads are folded into it, else None.
    """

    source: int
    places: tuple[int | None, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    taken: dict[int, int]
    calls: set[int]
    folded: tuple[int, ...] | None = None


def cut_out_of_channels(network: "Network", phases: list[Any]) -> None:
    """Writes down parts that are cut out behind a transposition as slices of channels; all is changed in place.

    Args:
        network: whose calls are known, but not yet who reads what.
        phases: one for each call.
    """
    readers: dict[int, list[Node]] = {}
    for node in network.nodes:
        for tensor in dict.fromkeys(node.inputs):
            readers.setdefault(tensor, []).append(node)
    found = [parts_of(network, node, readers) for node in network.nodes if type(node.op).__name__ == "Transpose"]
    parts = {min(each.calls): each for each in found if each is not None}
    gone = {index for each in parts.values() for index in each.calls}
    if not gone:
        return
    nodes, kept = network.nodes[:], phases[:]
    network.nodes.clear()
    phases.clear()
    for node, phase in zip(nodes, kept, strict=True):
        for tensor, number in parts[node.index].taken.items() if node.index in parts else ():
            for made in calls_for(network, node, parts[node.index], tensor, number):
                network.nodes.append(made)
                phases.append(phase)
        if node.index not in gone:
            network.nodes.append(node)
            phases.append(phase)
    for index, node in enumerate(network.nodes):
        node.index = index


def parts_of(network: "Network", node: "Node", readers: "dict[int, list[Node]]") -> Parts | None:
    """What a transposition is cut into, or None where it is none of parts of the channels."""
    cut = network.producer[node.inputs[0]]
    if cut is None or type(cut.op).__name__ != "Reshape" or readers[cut.outputs[0]] != [node]:
        return None
    before, behind = (network.shapes[each] for each in (cut.inputs[0], cut.outputs[0]))
    first, order = first_part(before, behind), node.op.axes
    if first is None or not order or before[0] != behind[0] or behind[1:first].count(None) > 1:
        return None
    order = [axis % len(behind) for axis in order]
    if order[0] != first or order[1] != 0 or any(t in network.outputs for t in (*cut.outputs, *node.outputs)):
        return None
    found = Parts(cut.inputs[0], behind[1:first], behind[first:], (), {}, {cut.index, node.index})
    found.order = tuple(axis - (axis > first) for axis in order[1:])
    reading = readers.get(node.outputs[0], [])
    if len(reading) == 1 and folds_heads(network, node, reading[0]) and reading[0].outputs[0] not in network.outputs:
        found.folded = tuple(network.shapes[reading[0].outputs[0]][2:])
        found.calls.add(reading[0].index)
        reading = readers.get(reading[0].outputs[0], [])
    return found if reading and all(take_apart(network, each, readers, found) for each in reading) else None


def first_part(before: tuple[Any, ...], behind: tuple[Any, ...]) -> int | None:
    """The first of the axes that a reshape cuts the last axis into, three or more beside those of places; else None."""
    known = [size for size in before[1:-1] if size is not None]
    for first in range(2, len(behind) - 1):
        cut, places = behind[first:], [size for size in behind[1:first] if size is not None]
        open_sizes = [before[1:-1].count(None), behind[1:first].count(None)]
        if None not in cut and math.prod(cut) == before[-1] and open_sizes[0] == open_sizes[1] <= 1:
            return first if len(cut) > 1 and math.prod(places) == math.prod(known) else None
    return None


def folds_heads(network: "Network", node: "Node", reader: "Node") -> bool:
    """Whether a call joins the second and third axis of what a transposition makes, the batch and the heads."""
    before, behind = (tuple(network.shapes[each.outputs[0]]) for each in (node, reader))
    asked = tuple(getattr(reader.op, "newshape", ())) if type(reader.op).__name__ == "Reshape" else ()
    return len(asked) == len(before) - 1 and asked[:2] == (before[0], -1) and behind[2:] == asked[2:] == before[3:]


def take_apart(network: "Network", node: "Node", readers: "dict[int, list[Node]]", found: Parts) -> bool:
    """Notes which parts a call takes, in whose way others may take them one by one; False where it does more."""
    kind = type(node.op).__name__
    if kind == "Unstack" and node.op.axis == 0:
        found.taken.update({tensor: number for number, tensor in enumerate(node.outputs)})
    elif kind == "GetItem" and isinstance(first_of(node), int):
        found.taken[node.outputs[0]] = first_of(node) % found.shape[0]
    elif kind == "Split" and node.op.axis == 0 and len(node.outputs) == found.shape[0]:
        for number, tensor in enumerate(node.outputs):
            reading = readers.get(tensor, [])
            if tensor in network.outputs or not all(drops_first(each) for each in reading):
                return False
            found.taken.update({each.outputs[0]: number for each in reading})
            found.calls.update(each.index for each in reading)
    else:
        return False
    found.calls.add(node.index)
    return True


def first_of(node: "Node") -> Any:
    """The key of a slice where it takes one position of the first axis and all else; None where it does not."""
    key = node.args[1] if len(node.args) > 1 else node.kwargs.get("key")
    key = key if isinstance(key, tuple) else (key,)
    rest = all(part is Ellipsis or part == slice(None) for part in key[1:])
    return key[0] if rest and not isinstance(key[0], bool) else None


def drops_first(node: "Node") -> bool:
    """Whether a call drops the first axis, of which there is one position."""
    kind = type(node.op).__name__
    return (kind == "Squeeze" and node.op.axis in (0, (0,), [0])) or (kind == "GetItem" and first_of(node) in (0, -1))


def calls_for(network: "Network", node: "Node", parts: Parts, tensor: int, number: int) -> "list[Node]":
    """The calls that make one part: a slice of the channels, their heads, and the order of the axes."""
    from tfgates.graph.network import Node, Ref

    shape, dtype = network.shapes[parts.source], network.dtypes[parts.source]
    width = shape[-1] // parts.shape[0]
    key = (*(slice(None),) * (len(shape) - 1), slice(number * width, (number + 1) * width))
    x = keras.KerasTensor(shape, dtype)
    sizes = [-1 if size is None else size for size in (*parts.places, *parts.shape[1:])]
    reshape = keras.layers.Reshape(sizes, dtype=dtype)
    found: list[Node] = []
    steps: tuple[tuple[str, Any, Any], ...] = (
        ("slice", lambda x: x[key], (key,)),
        ("heads", reshape, ()),
        ("transposed", lambda x: ops.transpose(x, parts.order), ()),
    )
    if parts.folded is not None:
        steps = (*steps, ("folded", lambda x: ops.reshape(x, (-1, *parts.folded)), ()))
    last = parts.source
    for word, step, more in steps:
        x = step(x)
        op: Any = history_of(x).operation
        made = Node(0, op, (Ref(last), *more), {}, [last], [], f"{node.name}/{word}_{number}", None, node.inside)
        last = tensor if word == steps[-1][0] else network._tensor(x, made)
        network.producer[last] = made
        made.outputs.append(last)
        found.append(made)
    return found
