"""Copies of layers whose configs make no layer like them: attribute by attribute."""

import types
from typing import Any

import keras
import numpy as np

from tfgates.backend import array
from tfgates.graph.frozen import copy_flags
from tfgates.keras_internals import layers_within, may_be_cast, own_attributes, own_trainable_variables

# What any layer has, and how it is called: the rest is made anew.
AS_THEY_ARE = ("_convert_input_args", "_allow_non_tensor_positional_args", "_supports_masking", "supports_jit")
OF_ALL = set(vars(keras.Layer()))
# What is nothing but a value: the copy has the same.
PLAIN = (type(None), bool, int, float, complex, str, bytes, type, slice, np.generic, types.ModuleType)
RULES = (keras.initializers.Initializer, keras.regularizers.Regularizer, keras.constraints.Constraint)


class NotCopiedError(TypeError):
    """Something that a layer holds cannot be copied."""


def copy_by_attributes(layer: keras.Layer) -> keras.Layer:
    """A layer of the same class with copies of all that it computes with, and no memory of its calls.

    For layers whose class writes down less than it takes: `get_config` is not asked.

    Args:
        layer: the layer, built.

    Raises:
        NotCopiedError: if it holds something of which is not known whether two layers can share it, or if its weights
            would come in another order.
    """
    for inner in layers_within(layer):
        if isinstance(inner, keras.Model) or inner.activity_regularizer is not None:
            raise NotCopiedError(f"layer {inner.name!r} is a model, or has an activity regularizer")
    made = Copies().layer(layer)
    pairs = list(zip(made.weights, layer.weights, strict=False))
    same = all(a.shape == b.shape and np.array_equal(array(a), array(b), equal_nan=True) for a, b in pairs)
    if len(made.weights) != len(layer.weights) or not same:
        raise NotCopiedError(f"the weights of {layer.name!r} are not those of its attributes, in their order")
    copy_flags(made, layer)
    return made


class Copies:
    """Copies of what layers hold, each once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        # Variables that were made as trainable ones, frozen or not.
        self._learned: set[int] = set()

    def layer(self, layer: keras.Layer) -> Any:
        kind = type(layer)
        new: Any = kind.__new__(kind)
        keras.Layer.__init__(
            new, name=layer.name, dtype=layer.dtype_policy, trainable=layer.trainable, autocast=layer.autocast
        )
        self._made[id(layer)] = new
        self._learned |= {id(v) for v in own_trainable_variables(layer)}
        held = own_attributes(layer)
        for name in AS_THEY_ARE:
            object.__setattr__(new, name, vars(layer)[name])
        for name, value in held.items():
            if name not in OF_ALL:
                setattr(new, name, self.value(value))
        new.built = layer.built
        return new

    def value(self, x: Any) -> Any:
        """A copy of what an attribute holds; the thing itself where that holds nothing."""
        # A variable passes for a tensor.
        tensor = keras.ops.is_tensor(x) and not isinstance(x, keras.Variable) and not can_change(x)
        if isinstance(x, (*PLAIN, *RULES, keras.DTypePolicy)) or tensor or not holds_anything(x):
            return x
        if id(x) not in self._made:
            self._made[id(x)] = self._copied(x)
        return self._made[id(x)]

    def _copied(self, x: Any) -> Any:
        if isinstance(x, keras.Layer):
            return self.layer(x)
        if isinstance(x, keras.Variable):
            return self._variable(x)
        if isinstance(x, keras.random.SeedGenerator):
            new = keras.random.SeedGenerator(x.get_config()["seed"] or 0, name=x.name)
            new.state.assign(x.state)
            return new
        if isinstance(x, np.ndarray) and not x.dtype.hasobject:
            return x.copy()
        if type(x).__name__ == "Tensor" and keras.ops.is_tensor(x):
            return keras.ops.copy(x)
        if isinstance(x, dict):
            return {key: self.value(each) for key, each in x.items()}
        if isinstance(x, list):
            return [self.value(each) for each in x]
        if isinstance(x, tuple):
            return tuple(self.value(each) for each in x)
        if isinstance(x, types.MethodType) and id(x.__self__) in self._made:
            return types.MethodType(x.__func__, self._made[id(x.__self__)])
        raise NotCopiedError(f"what a {type(x).__name__} holds is not known")

    def _variable(self, x: keras.Variable) -> keras.Variable:
        new = keras.Variable(
            array(x),
            dtype=x.dtype,
            trainable=x.trainable or id(x) in self._learned,
            autocast=may_be_cast(x),
            aggregation=x.aggregation,
            name=x.name,
        )
        new.regularizer, new.constraint = x.regularizer, x.constraint
        return new


def holds_anything(x: Any) -> bool:
    """Whether something has parts of its own: functions without a closure have none."""
    if isinstance(x, types.BuiltinFunctionType):
        # Methods of lists, say, hold the list.
        return not isinstance(x.__self__, (type(None), types.ModuleType))
    if isinstance(x, types.FunctionType):
        return bool(x.__closure__ or x.__defaults__ or x.__kwdefaults__) and x.__module__.partition(".")[0] != "keras"
    return True


def can_change(x: Any) -> bool:
    """Whether a tensor is a variable of TensorFlow, or one of torch."""
    return "Variable" in type(x).__name__ or keras.config.backend() == "torch"
