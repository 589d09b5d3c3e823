"""What the `call` of a layer computes with beside its arguments, weights above all: tensors while it is followed."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.backend import kept
from tfgates.graph.tying import OF_KERAS
from tfgates.keras_internals import layers_within, may_be_cast, own_trainable_variables
from tfgates.layers.constant import Constant
from tfgates.layers.weight import Weight


@dataclasses.dataclass(frozen=True)
class Given:
    """What calls read that is neither an input nor made by one of them.

    Attributes:
        tensor: the symbolic tensor in its place.
        source: a variable, or an array of numpy.
        layer: the layer that has it.
    """

    tensor: keras.KerasTensor
    source: Any
    layer: keras.Layer

    def value(self) -> Any:
        """What it is now, as the layer's `call` sees it."""
        if isinstance(self.source, np.ndarray):
            return ops.convert_to_tensor(self.source, dtype=self.tensor.dtype)
        return ops.cast(ops.convert_to_tensor(self.source), self.tensor.dtype)


# Whether what runs is the `call` of a layer that is followed, not of one that is called as a whole.
_FOLLOWING: contextvars.ContextVar[bool] = contextvars.ContextVar("following", default=False)


def is_followed() -> bool:
    """Whether what runs now is followed: no backend traces it."""
    return _FOLLOWING.get()


@contextlib.contextmanager
def following(value: bool) -> Iterator[None]:
    """Says so, or that it is not, for a while."""
    token = _FOLLOWING.set(value)
    try:
        yield
    finally:
        _FOLLOWING.reset(token)


class OwnWeights:
    """The weights of layers as symbolic tensors.

    Args:
        given: those that there are already.
    """

    def __init__(self, given: Iterable[Given] = ()) -> None:
        self.given = list(given)

    @contextlib.contextmanager
    def of(self, layer: keras.Layer) -> Iterator[None]:
        """Lets attributes of a layer that are variables, or lists or dicts of them, be symbolic tensors for a while."""
        own = {id(v) for v in layer.variables} - {id(v) for each in layers_within(layer, False) for v in each.variables}
        held: Any = vars(layer)
        before = {}
        for name, value in held.items():
            if name not in OF_KERAS and any(id(x) in own for x in leaves(value)):
                before[name] = value
        for name, value in before.items():
            held[name] = tree.map_structure(
                lambda x: self.tensor(layer, x) if isinstance(x, keras.Variable) and id(x) in own else x, plain(value)
            )
        try:
            with following(True):
                yield
        finally:
            held.update(before)

    def tensor(self, layer: keras.Layer, variable: Any) -> keras.KerasTensor:
        """The symbolic tensor of a variable."""
        for each in self.given:
            if each.source is variable:
                return each.tensor
        tensor = keras.KerasTensor(tuple(variable.shape), dtype_within(layer, variable), name=variable.name)
        self.given.append(Given(tensor, variable, layer))
        return tensor

    def constant(self, layer: keras.Layer, x: Any) -> keras.KerasTensor:
        """The symbolic tensor of an array on which a layer is called."""
        dtype = keras.backend.standardize_dtype(x.dtype)
        tensor = keras.KerasTensor(tuple(x.shape), dtype)
        self.given.append(Given(tensor, np.array(ops.convert_to_numpy(x)), layer))
        return tensor

    def among_arguments(self, calls: list[Any], holder: keras.Layer) -> list[Any]:
        """The calls, with symbolic tensors for the variables that they are given: of weights that no attribute holds.

        Such as one in a closure or in an object of yours. Those of layers that are called stay: see
        `tfgates.graph.tying`; so do variables that no layer has.
        """
        from tfgates.graph.unrolling import NotOpenedError

        functions = [type(call.op).__name__ for call in calls if takes_a_function(call)]
        if functions and holder.variables:
            # What a loop does in its rounds is not seen here: the function would go on reading weights of the original.
            raise NotOpenedError(f"its `call` gives a function to {functions[0]}, which may read weights")
        called = {id(v) for call in calls if isinstance(call.op, keras.Layer) for v in call.op.variables}
        owners = {id(v): layer for layer in layers_within(holder) for v in layer.variables if id(v) not in called}

        def tensor(x: Any) -> Any:
            layer = owners.get(id(x)) if isinstance(x, keras.Variable) else None
            if layer is None:
                # A view of a weight would pass for what is made of it anew.
                return kept(x)
            made = self.tensor(layer, x)
            if made.dtype != keras.backend.standardize_dtype(x.dtype):
                raise NotOpenedError(f"its `call` casts a weight that no attribute of it holds: {x.path}")
            return made

        found = []
        for call in calls:
            args, kwargs = tree.map_structure(tensor, (call.args, call.kwargs))
            found.append(dataclasses.replace(call, args=args, kwargs=kwargs))
        return found

    def read(self, calls: list[Any], outputs: list[Any]) -> list[Given]:
        """Those that calls, or what is returned, read."""
        found = {id(x) for x in tree.flatten([(call.args, call.kwargs) for call in calls])} | {id(y) for y in outputs}
        return [each for each in self.given if id(each.tensor) in found]


def takes_a_function(call: Any) -> bool:
    """Whether an operator is given a function, as loops and branches are."""
    if isinstance(call.op, keras.Layer):
        return False
    held = [vars(call.op).get(name) for name in vars(call.op) if not name.startswith("_")]
    given = [*held, *tree.flatten((call.args, call.kwargs))]
    return any(callable(x) and not isinstance(x, type) for x in given)


def leaves(value: Any) -> list[Any]:
    """What a variable, or lists and dicts of variables, hold; nothing for other things."""
    if isinstance(value, keras.Variable):
        return [value]
    if isinstance(value, dict):
        return [x for each in value.values() for x in leaves(each)]
    return [x for each in value for x in leaves(each)] if isinstance(value, (list, tuple)) else []


def plain(value: Any) -> Any:
    """Lists and dicts without the tracking of Keras."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def dtype_within(layer: keras.Layer, variable: Any) -> str:
    """As what a variable is seen in the `call` of a layer."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    casts = layer.autocast and may_be_cast(variable) and layer.compute_dtype != layer.variable_dtype
    return layer.compute_dtype if casts and "float" in dtype and "float" in layer.compute_dtype else dtype


def is_learned(layer: keras.Layer, variable: Any) -> bool:
    """Whether a layer has made a variable as a trainable one, frozen or not."""
    return any(each is variable for each in own_trainable_variables(layer))


def as_layer(given: Given) -> keras.Layer:
    """A layer that returns an array, or a variable: then it holds the variable itself."""
    variable, layer = given.source, given.layer
    if isinstance(variable, np.ndarray):
        return Constant(variable, value_dtype=given.tensor.dtype)
    made = Weight(
        variable.shape,
        regularizer=variable.regularizer,
        constraint=variable.constraint,
        weight_dtype=keras.backend.standardize_dtype(variable.dtype),
        weight_autocast=may_be_cast(variable),
        learns=is_learned(layer, variable),
        dtype=layer.dtype_policy,
        autocast=layer.autocast,
        name=variable.name,
    )
    made.trainable = layer.trainable
    made.value = variable
    made.built = True
    return made


def same_sources(some: list[Given], others: list[Given]) -> bool:
    """Whether two lists are of the same variables and arrays, in the same order."""

    def same(a: Any, b: Any) -> bool:
        arrays = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        return a is b or (arrays and a.dtype == b.dtype and np.array_equal(a, b))

    return len(some) == len(others) and all(same(a.source, b.source) for a, b in zip(some, others, strict=True))
