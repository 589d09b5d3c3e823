"""Units that stay or go together, with the weights that they own."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.graph.network import Network
from tfgates.graph.rule import rule_for
from tfgates.graph.rules.convolution import TransposedRule
from tfgates.graph.rules.depthwise import DepthwiseRule
from tfgates.graph.rules.linear import LinearRule


@dataclasses.dataclass
class Units:
    """The units of one gate: those of a layer, or of all layers that a residual stream ties together.

    Attributes:
        name: name of the (first) layer.
        count: int, number of units.
        layers: the layers that make them, of the model that is pruned; for single positions of a flattened map
            the dense layer that reads them.
        weights: for each of `layers` a float array `(count, weights per unit)`: the kernel, a row for each
            unit, biases left out.
        normalizations: for each of `layers` the BatchNormalization behind it, or None.
    """

    name: str
    count: int
    layers: list[keras.Layer]
    weights: list[np.ndarray]
    normalizations: list[keras.Layer | None]


def units_of(network: Network, places: Iterable[Any]) -> dict[Any, Units]:
    """By the key of their gate, the `Units` of `places` (see `tfgates.models.placement`)."""
    found: dict[Any, Units] = {}
    for place in places:
        units = found.setdefault(place.key, Units(place.layer, place.units, [], [], []))
        layer, rows = weights_of(network, place.source)
        if any(layer is other for other in units.layers):
            continue
        behind = place.node.op if place.node is not place.source else None
        units.layers.append(layer)
        units.weights.append(rows.reshape(place.units, -1))
        units.normalizations.append(behind)
    return found


def weights_of(network: Network, node: Any) -> tuple[keras.Layer, np.ndarray]:
    """The layer whose weights the channels of a call's output own, and these weights, the channels first."""
    rule = rule_for(node.op)
    if not isinstance(rule, LinearRule):
        # Single positions of a map: what they own is what reads them.
        reader = network.reader(node.outputs[0]).op
        return reader, as_array(reader.kernel)
    separable = hasattr(node.op, "pointwise_kernel")
    kernel = as_array(node.op.pointwise_kernel if separable else node.op.kernel)
    if isinstance(rule, DepthwiseRule):
        kernel = kernel.reshape(*kernel.shape[:-2], -1)
    return node.op, np.moveaxis(kernel, -2 if isinstance(rule, TransposedRule) else -1, 0)


def as_array(variable: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable), np.float64)
