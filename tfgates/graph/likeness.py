"""Which layers are alike but for the values of their variables: what is proven of one of them holds for the others."""

import functools
import math
import types
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.graph.unrolling import Unrolled
from tfgates.keras_internals import layers_within, mask_of, own_attributes

PLAIN = (type(None), bool, int, float, complex, str, bytes, type, slice, types.EllipsisType, types.CodeType, np.dtype)

# Of Keras, whose config says all of them, but for the name.
CONFIGURED = (
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.DTypePolicy,
)

# Larger constants are not looked at.
MOST_ENTRIES = 1_000_000


class UnknownError(Exception):
    """Something of which it cannot be told whether another is like it."""


def likeness(layer: keras.Layer, args: Any, kwargs: Any, unrolled: Unrolled, masks: bool) -> Any:
    """What a call of a layer, and the calls that it was followed as, have in common with others alike; None if unknown.

    Two calls with equal likenesses are of layers of the same classes, with the same attributes, down to the layers,
    numbers, functions and shapes of variables in them, called alike on tensors of the same shapes, and were followed
    as the same calls on the same of their parts. So the same code runs in both: what one of them computes differs from
    the other by the values of its variables alone. Names are left out.

    Args:
        layer: the layer.
        args, kwargs: the arguments of its call, symbolic tensors in them.
        unrolled: what it was followed as.
        masks: bool, whether the masks of what it makes matter.
    """
    description = Description()
    try:
        found = (description.of(layer), description.of((args, kwargs)), description.of_calls(unrolled, layer), masks)
        hash(found)
    except (UnknownError, TypeError, ValueError):
        # Of what cannot be hashed, and of functions whose closures are not filled yet, too.
        return None
    return found


class Description:
    """Describes things as tuples that are equal for things that are alike; what was met before by its number."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        # None of them may be freed and its address used again.
        self._kept: list[Any] = []

    def of(self, thing: Any) -> Any:
        """The description of a thing.

        Raises:
            UnknownError: if it cannot be described in all that matters.
        """
        if isinstance(thing, PLAIN):
            return type(thing).__name__, thing if not isinstance(thing, float) else repr(thing)
        if isinstance(thing, np.generic):
            return thing.dtype.str, thing.tobytes()
        if id(thing) in self._met:
            return "again", self._met[id(thing)]
        self._met[id(thing)] = len(self._met)
        self._kept.append(thing)
        return type(thing), self._inside(thing)

    def _inside(self, thing: Any) -> Any:
        if isinstance(thing, keras.Variable):
            return tuple(thing.shape), str(thing.dtype), thing.trainable, self.of((thing.regularizer, thing.constraint))
        if isinstance(thing, keras.KerasTensor):
            mask = mask_of(thing)
            return tuple(thing.shape), thing.dtype, None if mask is None else tuple(mask.shape)
        if isinstance(thing, keras.random.SeedGenerator):
            # The seed that it began with is the value of its variable.
            return self.of(thing.state)
        if isinstance(thing, keras.Operation):
            return self._named(own_attributes(thing))
        if isinstance(thing, CONFIGURED):
            return self._named({key: value for key, value in thing.get_config().items() if key != "name"})
        if isinstance(thing, dict):
            return tuple((self.of(key), self.of(value)) for key, value in thing.items())
        if isinstance(thing, (list, tuple)):
            return tuple(map(self.of, thing))
        if isinstance(thing, (set, frozenset)) and all(isinstance(each, PLAIN) for each in thing):
            return frozenset(map(self.of, thing))
        if isinstance(thing, np.ndarray) and thing.dtype != object and thing.size <= MOST_ENTRIES:
            return thing.shape, thing.dtype.str, thing.tobytes()
        if ops.is_tensor(thing) and math.prod(thing.shape) <= MOST_ENTRIES:
            return self.of(np.asarray(ops.convert_to_numpy(thing)))
        return self._code(thing)

    def _code(self, thing: Any) -> Any:
        """The description of a function."""
        if isinstance(thing, types.FunctionType):
            cells = [cell.cell_contents for cell in thing.__closure__ or ()]
            parts = (thing.__defaults__, thing.__kwdefaults__, cells, vars(thing))
            return thing.__code__, id(thing.__globals__), tuple(map(self.of, parts))
        if isinstance(thing, types.BuiltinFunctionType):
            return (thing,)
        if isinstance(thing, types.MethodType):
            return self.of(thing.__func__), self.of(thing.__self__)
        if isinstance(thing, functools.partial):
            return tuple(map(self.of, (thing.func, thing.args, thing.keywords)))
        raise UnknownError

    def _named(self, attributes: dict[str, Any]) -> Any:
        return tuple((name, self.of(attributes[name])) for name in sorted(attributes))

    def of_calls(self, unrolled: Unrolled, layer: keras.Layer) -> Any:
        """The description of the calls that a layer was followed as, its own layers by their places in it."""
        places = {id(inner): place for place, inner in enumerate(layers_within(layer))}
        inputs = self.of([*unrolled.inputs, *((each.tensor, each.source) for each in unrolled.given)])
        calls = []
        for call in unrolled.calls:
            what = places.get(id(call.op))
            calls.append((self.of(call.op) if what is None else what, self.of((call.args, call.kwargs))))
            calls.append(self.of(call.outputs))
        return inputs, tuple(calls), self.of(unrolled.outputs)
