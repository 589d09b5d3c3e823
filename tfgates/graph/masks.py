"""Which tensors of a network carry the same mask of steps: what a mask does must not depend on what was cut out."""

import inspect
import warnings
from typing import Any

import keras
from keras import tree

from tfgates.anatomy.weightless import joins_masks
from tfgates.graph.unrolling import calls_forgotten
from tfgates.keras_internals import dense, give_mask, layers_within, mask_of


def masks_of(network: Any) -> list[Any]:
    """For each tensor of a network the mask that it carries, a symbolic tensor, or None.

    Found by calling the layers on symbolic tensors as they are called when the network is laid out flat: what a
    nested model hands on is not known from its own graph.

    Args:
        network: a `tfgates.graph.Network`.
    """
    from tfgates.graph.sizes import arguments_of

    tensors: list[Any] = [None] * len(network.shapes)
    for number, original in zip(network.inputs, network.functional.inputs, strict=True):
        tensors[number] = keras.KerasTensor(tuple(original.shape), original.dtype, sparse=original.sparse)
    reads_sparse = any(tensor.sparse for tensor in network.functional.inputs)
    with calls_forgotten(network.model), warnings.catch_warnings():
        # Keras warns of layers that do not hand masks on, as it did when the model was made.
        warnings.simplefilter("ignore")
        for node in network.nodes:
            args, kwargs = arguments_of(node, tensors)
            call = node.op if isinstance(node.op, keras.Layer) else node.op.compute_output_spec
            made = tree.flatten(call(*args, **kwargs))
            masks = [mask_of(tensors[number]) for number in node.inputs]
            if joins_masks(node.op) and all(mask is masks[0] for mask in masks):
                # Where any of equal masks says that a step counts, each of them does.
                give_mask(made[0], masks[0])
            for number, tensor in zip(node.outputs, made, strict=True):
                tensors[number] = tensor if reads_sparse else dense(tensor)
    return [mask_of(tensor) for tensor in tensors]


def all_given(model: keras.Model) -> bool:
    """Whether each mask that a layer of a model reads is an argument of its call, so that no tensor needs to carry it.

    Keras makes those that tensors carry arguments of each call that has one for them. Others ask the tensors: products
    and the like, which leave masked steps out, losses of what the model gives, layers of nested models, and, who knows,
    layers of the user's.
    """
    from tfgates.graph.rule import rule_for

    if any(mask_of(tensor) is not None for tensor in model.outputs):
        return False
    within = [layer for layer in layers_within(model) if layer is not model]
    own = any(type(layer).__module__.partition(".")[0] not in ("keras", "tfgates") for layer in within)
    nested = any(isinstance(layer, keras.Model) for layer in within)
    return not own and not nested and not any(rule_for(layer).leaves_masked_out for layer in within)


def why_mixed(network: Any, node: Any) -> str | None:
    """Why the result of a call would carry another mask if one of its tensors went, or None if it would not."""
    reason = why_taken_off(network, node)
    if reason is not None or node.outputs[0] in network.masks_given:
        return reason
    masks = [network.masks[number] for number in node.inputs]
    # Operators hand no mask on.
    handed_on = masks[0] if node.layer is not None else None
    if all(mask is handed_on for mask in masks):
        return None
    return f"{node.name}: its tensors carry masks that are not that of the result, so all of them have to stay"


def why_taken_off(network: Any, node: Any) -> str | None:
    """Why tensors that a call reads have to stay for what their masks are taken off by, or None."""
    for number in node.inputs:
        reader = next(filter(takes_masks_off, network.consumers[number]), None)
        if reader is not None and network.masks[number] is not None:
            return f"{node.name}: {reader.name} takes the mask off what it reads, so that it has to stay"
    return None


def takes_masks_off(node: Any) -> bool:
    """Whether a call is of attention of Keras, which takes the masks off the very tensors that it is called on.

    What is behind an addition of such a tensor, another attention say, then sees no mask.
    """
    return node.layer is not None and "query_mask" in inspect.signature(node.op.call).parameters


def why_masked(network: Any, node: Any) -> str | None:
    """Why what a call computes depends on masks; None where it reads none."""
    if all(network.masks[number] is None for number in node.inputs):
        return None
    return f"{node.name}: a mask decides which steps it reads"
