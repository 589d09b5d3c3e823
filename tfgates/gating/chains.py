"""From a call that makes units to the place of their gate."""

from typing import Any

import keras

from tfgates.anatomy import anatomy_of
from tfgates.gates import Gate
from tfgates.gating.other_places import NORMALIZATIONS
from tfgates.graph import Network
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Node
from tfgates.graph.rule import rule_of
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.reshape import ZeroPaddingRule
from tfgates.layers import GatedLayer


def has_heads(layer: Any) -> bool:
    """Whether a layer has heads, which get a gate in the place of what it makes."""
    anatomy = anatomy_of(layer)
    return anatomy is not None and "heads" in anatomy.widths.values()


def makes_units(node: Node, depthwise: bool) -> bool:
    """Whether a call is of a convolution or dense layer that can have a gate on what it makes."""
    anatomy, rule = anatomy_of(node.op), rule_of(node)
    if not isinstance(rule, DeclaredRule) or rule.keeps or has_heads(node.op):
        return False
    return anatomy is not None and bool(anatomy.products) and anatomy.by_channel == depthwise


def place_after(network: Network, node: Node) -> Node:
    """The call behind which the gate on what a call makes stands: the last of `chain_from`."""
    return chain_from(network, node)[-1]


def chain_from(network: Network, node: Node) -> list[Node]:
    """The calls from one that makes units to the place of their gate.

    A batch normalisation behind it is among them if it is all that reads it, and so is a depthwise convolution, with
    what is between, and its normalisation. In front of it a closed channel would be 0 as well, but the normalisation
    behind would make a constant of it, another one in training than at inference: it could not go while training.
    """
    found = _normalized(network, node)
    if anatomy_of(node.op).recurs:
        return found
    while True:
        further = _to_depthwise(network, found[-1])
        if not further:
            return found
        found += further[:-1] + _normalized(network, further[-1])


def _normalized(network: Network, node: Node) -> list[Node]:
    """A call, and the batch normalisation behind it if it is all that reads it."""
    reader = None if anatomy_of(node.op).recurs else _only_reader(network, node)
    activation = getattr(node.op, "activation", None)
    linear = activation is None or activation is keras.activations.linear
    if reader is not None and linear and isinstance(anatomy_of(reader.op), NORMALIZATIONS):
        return [node, reader]
    return [node]


def _to_depthwise(network: Network, node: Node) -> list[Node]:
    """The calls behind one up to the depthwise convolution that alone reads its channels, each; none without one."""
    found: list[Node] = []
    shape = network.shapes[node.outputs[0]]
    while True:
        reader = _only_reader(network, found[-1] if found else node)
        if reader is None or isinstance(reader.op, GatedLayer) or len(reader.inputs) != 1 or len(reader.outputs) != 1:
            return []
        made = network.shapes[reader.outputs[0]]
        if made is None or len(made) != len(shape) or made[-1] != shape[-1]:
            return []
        found.append(reader)
        if makes_units(reader, depthwise=True):
            # With several channels for each that comes in, these are the units.
            return found if getattr(reader.op, "depth_multiplier", 1) == 1 else []
        if not isinstance(rule_of(reader), (ElementwiseRule, ZeroPaddingRule)) or isinstance(reader.op, Gate):
            return []


def _only_reader(network: Network, node: Node) -> Node | None:
    readers = network.consumers[node.outputs[0]]
    return readers[0] if len(readers) == 1 and node.outputs[0] not in network.outputs else None
