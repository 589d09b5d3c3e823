"""Gradients and arrays for tests on every backend."""

import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

TESTS = str(pathlib.Path(__file__).resolve().parent)


def detach_in_tests() -> None:
    """Lets tests take tensors of PyTorch for arrays, as with the other backends; the library must not ask for that.

    `np.asarray`, `float` and `np.sum` take one that needs gradients, and operators of Python an array beside a tensor.
    """
    import torch

    converted = torch.Tensor.__array__

    def from_a_test(self: Any, *args: Any, **kwargs: Any) -> Any:
        if asked_by_a_test():
            # NumPy has no bfloat16, which Keras makes float32 of.
            return np.asarray(keras.ops.convert_to_numpy(self.detach()), *args, **kwargs)
        return converted(self, *args, **kwargs)

    wrapped = torch.Tensor.__array_wrap__

    def of_numpy(self: Any, result: Any, context: Any = None, return_scalar: bool = False) -> Any:
        # What `np.abs` and the like give of a tensor is an array, as with the other backends.
        return result if asked_by_a_test() else wrapped(self, result)

    number = torch.Tensor.__float__

    def number_in_a_test(self: Any) -> float:
        return float(number(self.detach() if asked_by_a_test() else self))

    torch.Tensor.__array__ = from_a_test
    torch.Tensor.__array_wrap__ = of_numpy
    torch.Tensor.__float__ = number_in_a_test
    for name in OPERATORS:
        setattr(torch.Tensor, name, beside_an_array(getattr(torch.Tensor, name)))
    for name in REDUCTIONS:
        setattr(torch.Tensor, name, reduced_by_numpy(name, getattr(torch.Tensor, name)))


OPERATORS = [f"__{side}{name}__" for name in ("add", "sub", "mul", "truediv", "pow", "matmul") for side in ("", "r")]
OPERATORS += ["__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"]
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "any", "all", "std", "var"]


def asked_by_a_test() -> bool:
    """Whether what calls the caller of this, NumPy left out, is a test."""
    frame = sys._getframe(2)
    while frame is not None and "/numpy/" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(TESTS)


def beside_an_array(operator: Any) -> Any:
    """An operator of PyTorch that takes an array, from a test, as a tensor of the dtype of the other."""
    import torch

    @functools.wraps(operator)
    def applied(self: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray | np.generic) and asked_by_a_test():
            other = torch.as_tensor(other)
            other = other.to(self.dtype) if self.dtype.is_floating_point else other
        return operator(self, other)

    return applied


def reduced_by_numpy(name: str, reduction: Any) -> Any:
    """A reduction of a tensor of PyTorch that takes what `np.sum` and the like, from a test, hand to it."""

    @functools.wraps(reduction)
    def applied(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "out" in kwargs and asked_by_a_test():
            return getattr(array(self.detach()), name)(*args, **kwargs)
        return reduction(self, *args, **kwargs)

    return applied


def array(tensor: Any) -> np.ndarray:
    """A tensor, a variable or a number as an array of its own."""
    return np.array(keras.ops.convert_to_numpy(tensor))


def tensorflow(why: str) -> Any:
    """TensorFlow where it is the backend; elsewhere the test is skipped, for it is of TensorFlow: `why`."""
    if keras.backend.backend() != "tensorflow":
        import pytest

        pytest.skip(f"of TensorFlow alone: {why}")
    import tensorflow

    return tensorflow


def gradients(function: Callable[..., Any], variables: Sequence[Any], *arguments: Any, state: Any = ()) -> list[Any]:
    """The gradients of a scalar as arrays; None, or zeros, where it does not depend on a variable.

    Args:
        function: what returns the scalar.
        variables: Keras variables, or tensors, which are then the first arguments of `function`.
        *arguments: further arguments of `function`.
        state: Keras variables that `function` changes, which are to stay changed: seeds, averages. Elsewhere than on
            JAX they do anyway.
    """
    return differentiated(function, variables, state=state)(*arguments)


def differentiated(
    function: Callable[..., Any], variables: Sequence[Any], compiled: bool = False, state: Any = ()
) -> Callable[..., list[Any]]:
    """A function of the arguments of `function` that returns its gradients as arrays, see `gradients`.

    Args:
        compiled: whether to compile it, where the backend can.
    """
    makers = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}
    found = makers[keras.backend.backend()](function, list(variables), compiled, list(state))
    return lambda *arguments: [None if each is None else array(each) for each in found(*arguments)]


class Scope(keras.StatelessScope):
    """One that knows all variables: Keras's evaluates weight regularisers of those alone that it was told of."""

    def get_current_value(self, variable: Any) -> Any:
        value = super().get_current_value(variable)
        return variable._value if value is None else value


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of tensors, compiled where the backend can; on JAX what it assigns to variables is lost."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() != "jax":
        return function
    import jax

    def stateless(*arguments: Any) -> Any:
        with Scope(collect_losses=True):
            return function(*arguments)

    return jax.jit(stateless)


def _of_variables(variables: Sequence[Any]) -> bool:
    return all(isinstance(each, keras.Variable) for each in variables)


def _of_tensorflow(function: Any, variables: list[Any], compiled: bool, state: list[Any]) -> Any:
    import tensorflow as tf

    def step(*arguments: Any) -> Any:
        own = _of_variables(variables)
        values = [each.value for each in variables] if own else [tf.convert_to_tensor(each) for each in variables]
        with tf.GradientTape() as tape:
            tape.watch([] if own else values)
            value = function(*(() if own else values), *arguments)
        return tape.gradient(value, values)

    return tf.function(step) if compiled else step


def _of_torch(function: Any, variables: list[Any], compiled: bool, state: list[Any]) -> Any:
    import torch

    def step(*arguments: Any) -> Any:
        own = _of_variables(variables)
        tensors = [v.value if own else keras.ops.convert_to_tensor(v).detach().clone() for v in variables]
        if not own:
            for tensor in tensors:
                tensor.requires_grad_(True)
        value = function(*(() if own else tensors), *arguments)
        return torch.autograd.grad(value, tensors, allow_unused=True)

    return step


def _of_jax(function: Any, variables: list[Any], compiled: bool, state: list[Any]) -> Any:
    import jax

    own = _of_variables(variables)

    def value_at(values: list[Any], before: list[Any], arguments: Any) -> Any:
        if not own:
            return function(*values, *arguments), []
        mapping = [*zip(state, before, strict=True), *zip(variables, values, strict=True)]
        with Scope(state_mapping=mapping, collect_losses=True) as scope:
            value = function(*arguments)
        return value, [scope.get_current_value(each) for each in state]

    differentiate = jax.grad(value_at, has_aux=True)
    differentiate = jax.jit(differentiate) if compiled else differentiate

    def step(*arguments: Any) -> Any:
        values = [keras.ops.convert_to_tensor(each) for each in variables]
        found, after = differentiate(values, [each.value for each in state], arguments)
        for variable, value in zip(state, after, strict=True):
            variable.assign(value)
        return found

    return step
