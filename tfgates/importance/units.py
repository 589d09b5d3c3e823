"""Units that stay or go together, with the weights that they own."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.anatomy import anatomy_of, variable_of
from tfgates.graph.gate_places import channels_of
from tfgates.graph.network import Network
from tfgates.graph.walk import Walk, symbolic_walk


@dataclasses.dataclass
class Units:
    """The units of one gate: those of a layer, or of all layers that a residual stream ties together.

    Attributes:
        name: name of the (first) layer.
        count: int, number of units.
        layers: the layers that make them, of the model that is pruned; for single positions of a flattened map
            the dense layer that reads them.
        weights: for each of `layers` a float array `(count, weights per unit)`: the kernel, a row for each
            unit, without biases.
        normalizations: for each of `layers` the BatchNormalization after it, or None.
        interleaved: whether the channels of a unit, where it has several, are at equal distances.
    """

    name: str
    count: int
    layers: list[keras.Layer]
    weights: list[np.ndarray]
    normalizations: list[keras.Layer | None]
    interleaved: bool = False

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Something given for each channel of a layer, along the first axis, rearranged into a row for each unit."""
        if self.interleaved:
            values = np.swapaxes(values.reshape(-1, self.count, *values.shape[1:]), 0, 1)
        return values.reshape(self.count, -1)


def units_of(network: Network, places: Iterable[Any]) -> dict[Any, Units]:
    """By the key of their gate, the `Units` of `places` (see `tfgates.gating.placement`)."""
    found: dict[Any, Units] = {}
    for place in places:
        units = found.setdefault(place.key, Units(place.layer, place.units, [], [], [], place.interleaved))
        for source, node in ((place.source, place.node),) if place.makers is None else place.makers:
            layer, rows = weights_of(network, source, place.kind)
            if place.word:
                walk = symbolic_walk(network)
                rows = gathered(walk, place, rows)
            if any(layer is other for other in units.layers):
                continue
            units.layers.append(layer)
            units.weights.append(units.by_unit(rows))
            units.normalizations.append(node.op if node is not source else None)
    return found


def weights_of(network: Network, node: Any, kind: str = "outputs") -> tuple[keras.Layer, np.ndarray]:
    """The layer whose weights the units of a call own, and these weights, a row for each of its channels or heads."""
    anatomy = anatomy_of(node.op)
    if anatomy is None:
        # Single positions of a map: what they own is what reads them.
        reader = network.reader(node.outputs[0]).op
        return reader, as_array(reader.kernel)
    axes = anatomy.axes(node.op)
    values = {path: as_array(variable_of(node.op, path)) for path in anatomy.products if path in axes}
    return node.op, anatomy.filters(node.op, values, kind)


def gathered(walk: Walk, place: Any, rows: np.ndarray) -> np.ndarray:
    """Of the rows of a layer's channels those that go with each unit of a place further on, side by side."""
    channels = channels_of(walk, place.node, place.kind)
    assert channels is not None
    made = walk.root[walk.output(place.source).group]
    return np.stack([rows[made == unit].reshape(-1) for unit in walk.root[channels.group]])


def as_array(variable: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable), np.float64)
