"""Following the `call` of a layer with the masks that it hands on."""

import itertools
from collections.abc import Callable
from typing import Any

from keras import tree

from tfgates.keras_internals import mask_of
from tfgates.layers.with_mask import WithMask


def masks_handed_on(tensors: list[Any], outputs: list[Any]) -> dict[int, int]:
    """For each output of a call that carries the very mask of a tensor that it reads, by their numbers, that tensor.

    Args:
        tensors: the symbolic tensors among the arguments.
        outputs: what the call returned.
    """
    carried = {
        id(mask_of(tensor)): i for i, tensor in reversed(list(enumerate(tensors))) if mask_of(tensor) is not None
    }
    return {i: carried[id(mask_of(y))] for i, y in enumerate(outputs) if id(mask_of(y)) in carried}


def with_masks(call: Callable[..., Any], handed_on: dict[int, int], copied: bool = False) -> Callable[..., Any]:
    """A function like `call`, which takes a list of tensors, whose outputs carry masks of these tensors.

    Args:
        call: the function.
        handed_on: as `masks_handed_on` returns it.
        copied: bool, whether `call` is given copies of the tensors whose masks are handed on: attention of Keras takes
            the masks off the very tensors that it is called on.
    """
    numbers = itertools.count()

    def given_mask(x: Any, masked: Any) -> Any:
        number = next(numbers)
        return WithMask(name=f"with_mask_{number}" if number else "with_mask")([x, masked])

    def followed(given: Any) -> Any:
        carrying = set(handed_on.values())
        read = [given_mask(x, x) if copied and i in carrying else x for i, x in enumerate(given)]
        outputs = [y for y in tree.flatten(call(read)) if y is not None]
        return [given_mask(y, given[handed_on[i]]) if i in handed_on else y for i, y in enumerate(outputs)]

    return followed
