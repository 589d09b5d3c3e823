"""A call of a network as a function of its tensors, to be traced."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from tfgates.graph.network import Node
from tfgates.keras_internals import added_losses, give_added_losses, layers_within, tells_training


def function_of(node: Node, args: Any, kwargs: Any) -> tuple[Callable[..., Any], list[keras.KerasTensor]]:
    """What a call computes at inference, as a function of its tensors, and what those are like.

    Args:
        node: the call.
        args, kwargs: its arguments, a `KerasTensor` in place of each tensor.
    """
    if tells_training(node.op):
        kwargs = {"training": False, **kwargs}
    flat = tree.flatten((args, kwargs))
    places = [i for i, x in enumerate(flat) if isinstance(x, keras.KerasTensor)]

    def call(*given: Any) -> Any:
        filled = list(flat)
        for place, tensor in zip(places, given, strict=True):
            filled[place] = tensor
        packed, named = tree.pack_sequence_as((args, kwargs), filled)
        return node.op(*packed, **named)

    return call, [flat[i] for i in places]


@contextlib.contextmanager
def untouched(node: Node) -> Iterator[None]:
    """Within it a call changes nothing of its layer: not its variables, nor the losses of its last call."""
    added = [] if node.layer is None else [(layer, list(added_losses(layer))) for layer in layers_within(node.layer)]
    try:
        with keras.StatelessScope(collect_losses=True):
            yield
    finally:
        for layer, losses in added:
            give_added_losses(layer, losses)
