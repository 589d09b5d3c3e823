"""What a user's model holds beside its graph, carried over to another model of the same network."""

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from tfgates.graph.frozen import copy_flags
from tfgates.graph.state import complete, copy_state, set_value
from tfgates.keras_internals import attributes_of_object, layers_within

# What Keras sets on a model that was compiled, trained, evaluated, saved or built for a graph.
_LATER = {
    "history",
    "loss",
    "optimizer",
    "stop_training",
    "stop_evaluating",
    "stop_predicting",
    "_build_shapes_dict",
    "_compile_config",
    "_compiled_trainable_state",
    "_distributed_dataset",
    "_eval_epoch_iterator",
    "_jax_state",
    "_jax_state_synced",
    "_losses_override",
    "_parent_path",
    "_path",
    "_saved_model_arg_spec",
    "_saved_model_inputs_spec",
    "_tf_trackable",
    "_tracker",
}


class NotCarriedError(ValueError):
    """Something that cannot be carried over; the message says why."""


def attributes_of(model: keras.Model) -> dict[str, Any]:
    """What the user's class, or the user, has set on a model."""
    return {name: value for name, value in attributes_of_object(model).items() if name not in _of_keras()}


def _of_keras() -> set[str]:
    tensor = keras.Input((1,))
    plain = [keras.Model(tensor, tensor), keras.Model()]
    return _LATER.union(*map(vars, plain))


class Carrier:
    """Carries attributes over from one model to another.

    Args:
        old, new: the models.
        successor: a function from a layer of the network to the one that takes its place, or None.
        inside: ids of the layers that take part in the network, nested ones included.
    """

    def __init__(
        self, old: keras.Model, new: keras.Model, successor: Callable[[Any], Any], inside: Iterable[int]
    ) -> None:
        self._old, self._new = old, new
        self._successor = successor
        self._inside = set(inside)
        # What is held twice stays one.
        self._done: dict[int, Any] = {id(old): new}

    def carried(self, value: Any) -> Any:
        """What `value` is for the new model.

        Raises:
            NotCarriedError: if it cannot be told, or not be made.
        """
        if id(value) not in self._done:
            self._done[id(value)] = self._make(value)
        return self._done[id(value)]

    def _make(self, value: Any) -> Any:
        if isinstance(value, keras.Layer):
            return self._layer(value)
        if isinstance(value, dict):
            return {key: self.carried(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.carried(each) for each in value]
        if type(value) is tuple:
            return tuple(self.carried(each) for each in value)
        if isinstance(value, keras.KerasTensor):
            raise NotCarriedError("it is a symbolic tensor of the original's graph")
        if isinstance(value, functools.partial):
            args, kwargs = self.carried(list(value.args)), self.carried(dict(value.keywords))
            return functools.partial(self.carried(value.func), *args, **kwargs)
        if isinstance(value, types.MethodType) and value.__self__ is self._old:
            return types.MethodType(value.__func__, self._new)
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
            if any(each is self._old for each in cells):
                raise NotCarriedError("it is a function that refers to the original model; make it a method")
            return value
        if isinstance(value, (keras.metrics.Metric, keras.optimizers.Optimizer)):
            return self._fresh(value)
        if isinstance(value, keras.Variable):
            return copy_of_variable(value)
        if isinstance(value, keras.random.SeedGenerator):
            old: Any = value
            copied = keras.random.SeedGenerator(old.seed)
            set_value(copied.state, old.state)
            return copied
        return value

    def _fresh(self, value: Any) -> Any:
        try:
            return type(value).from_config(value.get_config())
        except Exception as error:
            # A class of the user's can raise anything here.
            raise NotCarriedError(f"its config does not make one like it ({error})") from error

    def _layer(self, layer: Any) -> Any:
        successor = self._successor(layer)
        if successor is not None:
            return successor
        if any(id(each) in self._inside for each in layers_within(layer)):
            raise NotCarriedError("it is a part of the network that is laid out flat there")
        if not layer.trainable_variables:
            # A teacher, an augmentation: as large as it likes.
            return layer
        try:
            copied = type(layer).from_config(layer.get_config())
            if layer.built:
                copied.build_from_config(layer.get_build_config())
            complete(copied)
            copy_state(copied, layer)
            copy_flags(copied, layer)
        except Exception as error:
            raise NotCarriedError(f"it has weights and cannot be copied by its config ({error})") from error
        return copied


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def copy_of_variable(variable: keras.Variable) -> keras.Variable:
    return keras.Variable(
        np.array(keras.ops.convert_to_numpy(variable)),
        trainable=variable.trainable,
        dtype=variable.dtype,
        name=variable.name,
    )
