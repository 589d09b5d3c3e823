"""Following the `call` of a layer with what it adds to the loss."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from tfgates.graph.phase import default_mode
from tfgates.graph.unrolling import NotOpenedError, Training
from tfgates.layers.added_loss import AddedLoss


def with_losses(layer: keras.Layer, call: Callable[..., Any], training: bool = False) -> Callable[..., Any]:
    """A function like `call`, with what the layer adds to the loss meanwhile in front of its first output.

    Args:
        layer: the layer.
        call: follows it; takes a list of tensors.
        training: whether it is followed in training, and the losses are those of training alone.

    Raises:
        NotOpenedError: by the function, if the losses cannot be followed.
    """
    added = AddedLoss(always=not training, name="added_loss")

    def followed(given: Any) -> Any:
        with losses_of(layer) as losses:
            outputs = [y for y in tree.flatten(call(given)) if y is not None]
        if not losses:
            return outputs
        if not all(isinstance(x, keras.KerasTensor) for x in (*losses, *outputs[:1])):
            raise NotOpenedError("it adds numbers to the loss, or a loss to numbers")
        return [added(outputs[0], losses), *outputs[1:]]

    return followed


def in_training(layer: keras.Layer, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a call that tell a layer to train, and the calls that it makes what they tell them now."""
    return {**kwargs, "training": Training(kwargs.get("training", default_mode(layer)))}


@contextlib.contextmanager
def losses_of(layer: keras.Layer) -> Iterator[list[Any]]:
    """Gathers what a layer adds to the loss for a while, symbolic tensors, of which Keras takes none."""
    losses: list[Any] = []
    attributes: Any = vars(layer)
    attributes["add_loss"] = lambda loss: losses.extend(tree.flatten(loss))
    try:
        yield losses
    finally:
        del attributes["add_loss"]
