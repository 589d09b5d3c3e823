"""Tensors of a functional model as its layers make them, where Keras was told something else of them."""

from collections.abc import Container
from typing import Any

import keras
from keras import tree

from tfgates.graph.specs import EXAMPLES, filled, specs_of, specs_with_sizes
from tfgates.graph.unrolling import Call, first_line
from tfgates.keras_internals import give_mask, mask_of

# For what else is open in the inputs, until all layers take it.
SIZES = (16, 128, 4096, 65_536)


class NotCorrectedError(Exception):
    """What is behind a layer cannot be called on what it makes; the message says why."""


class Corrected:
    """The calls of a functional model, with symbolic tensors of the ranks and types that they have when it runs.

    Args:
        wrong: ids of layers of which Keras was told something else.
    """

    def __init__(self, wrong: Container[int] = ()) -> None:
        self._wrong = wrong
        self._right: dict[int, Any] = {}
        self._calls: list[Call] = []

    def call(self, node: Any) -> Call:
        """A call of the model's graph.

        Raises:
            NotCorrectedError: if Keras cannot say what comes out of it.
        """
        op, args, kwargs = node.operation, node.arguments.args, node.arguments.kwargs
        changed = any(id(x) in self._right for x in tree.flatten((args, kwargs)))
        if id(op) not in self._wrong and not changed:
            return self._made(Call(op, args, kwargs, node.outputs))
        args, kwargs = tree.map_structure(lambda x: self._right.get(id(x), x), (args, kwargs))
        try:
            specs = self._specs(op, args, kwargs)
            if id(op) in self._wrong:
                check_known(op, args, kwargs, node.outputs, specs)
            outputs = [self._corrected(*pair) for pair in zip(node.outputs, specs, strict=True)]
        except NotCorrectedError:
            raise
        except Exception as error:
            # A layer of the user's can raise anything here.
            raise NotCorrectedError(first_line(error)) from error
        return self._made(Call(op, args, kwargs, outputs))

    def _made(self, call: Call) -> Call:
        self._calls.append(call)
        return call

    def _specs(self, op: Any, args: Any, kwargs: Any) -> list[Any]:
        """What a layer or operator makes."""
        if id(op) in self._wrong:
            return specs_with_sizes(op, args, kwargs)
        return tree.flatten(op.compute_output_spec(*args, **kwargs))

    def _corrected(self, tensor: Any, spec: Any) -> Any:
        new = keras.KerasTensor(spec.shape, spec.dtype, name=tensor.name)
        if mask_of(tensor) is not None:
            give_mask(new, mask_of(tensor))
        self._right[id(tensor)] = new
        return new

    def beside_examples(self, tensors: list[Any]) -> set[int]:
        """The ids of the open tensors among some whose first axis has as many entries for any number of examples."""
        wanted = {id(t) for t in tensors if isinstance(t, keras.KerasTensor) and t.shape and t.shape[0] is None}
        for size in SIZES:
            few, more = (self._first_sizes(count, size) for count in EXAMPLES)
            if wanted <= few.keys() & more.keys():
                # What a layer does not say of them is taken for examples.
                return {key for key in wanted if few[key] == more[key] and few[key]}
        return set()

    def _first_sizes(self, examples: int, size: int) -> dict[int, int | None]:
        """By the ids of tensors how many entries their first axis has, for so many examples and a size in each."""
        known: dict[int, Any] = {}

        def filled(tensor: Any) -> Any:
            if not isinstance(tensor, keras.KerasTensor):
                return tensor
            shape = ((s or (size if axis else examples)) for axis, s in enumerate(tensor.shape))
            # What no call before has made is an input.
            return known.setdefault(id(tensor), keras.KerasTensor(tuple(shape), tensor.dtype))

        for call in self._calls:
            args, kwargs = tree.map_structure(filled, (call.args, call.kwargs))
            try:
                specs = self._specs(call.op, args, kwargs)
            except Exception:
                # A layer of the user's can raise anything here.
                break
            known.update((id(t), spec) for t, spec in zip(call.outputs, specs, strict=True))
        return {key: tensor.shape[0] for key, tensor in known.items() if tensor.shape}


def check_known(layer: keras.Layer, args: Any, kwargs: Any, told: list[Any], specs: list[Any]) -> None:
    """Refuses what a layer makes by tracing it where a size was told of it, and nothing is known of that.

    What is behind it may need the size, which may well be right.

    Raises:
        NotCorrectedError: if it is so.
    """
    for a, b, c in zip(told, specs, specs_of(layer, *filled(EXAMPLES[0], args, kwargs)), strict=True):
        if len(a.shape) == len(b.shape) and any(
            size and found is None and one is None
            for size, found, one in zip(a.shape[1:], b.shape[1:], c.shape[1:], strict=True)
        ):
            raise NotCorrectedError("a size of what it makes cannot be told")
