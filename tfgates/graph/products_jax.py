"""Counting the products of a program of JAX."""

import math
import re
from typing import Any

import jax

from tfgates.graph.call import function_of, untouched
from tfgates.graph.network import Node
from tfgates.graph.uncounted import UncountedError

# Operations of JAX that multiply in ways that are not counted here, or run what cannot be seen.
UNKNOWN = re.compile(
    "conv(?!ert)|dot|fft|cholesky|svd|^qr|^lu|solve|^eig|^schur|hessenberg|householder|tridiagonal|lstm|rnn|callback|"
    "pallas|custom_call|ffi|ragged|hermitian"
)

# What changes neither which numbers there are nor how they are multiplied.
SAME = ("convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy")


def macs_of(node: Node, args: Any, kwargs: Any) -> int:
    """The multiply-accumulates of a call at inference.

    Args:
        node: the call.
        args, kwargs: its arguments, a `KerasTensor` in place of each tensor.

    Raises:
        UncountedError: if they cannot be counted.
    """
    call, tensors = function_of(node, args, kwargs)
    if any(x.sparse for x in tensors):
        raise UncountedError("the products of sparse tensors are not counted with JAX")
    given = [jax.ShapeDtypeStruct(tuple(x.shape), x.dtype) for x in tensors]
    with untouched(node):
        return products_of(jax.make_jaxpr(call)(*given).jaxpr)


def products_of(program: Any) -> int:
    """The multiply-accumulates of one run of a `jaxpr`."""
    made = {variable: step for step in program.eqns for variable in step.outvars}
    total = 0
    for step in used(program):
        name = step.primitive.name
        if name in PRODUCTS:
            total += PRODUCTS[name](step)
        elif name == "reduce_sum":
            total += weighted_sum(step, made)
        elif name in CONTROL:
            total += CONTROL[name](step)
        elif inner := programs_in(step):
            total += sum(products_of(each) for each in inner[:1])
        elif UNKNOWN.search(name):
            raise UncountedError(f"what its operation {name} multiplies is not known")
    return total


def used(program: Any) -> list[Any]:
    """The steps of a program that its outputs and effects depend on."""
    needed = {variable for variable in program.outvars if not hasattr(variable, "val")}
    found = []
    for step in reversed(program.eqns):
        if step.effects or any(variable in needed for variable in step.outvars):
            found.append(step)
            needed.update(variable for variable in step.invars if not hasattr(variable, "val"))
    return found


def programs_in(step: Any) -> list[Any]:
    """The programs that a step holds, such as the body of a function."""
    found = []
    for value in step.params.values():
        for each in value if isinstance(value, (tuple, list)) else [value]:
            each = getattr(each, "jaxpr", each)
            if hasattr(each, "eqns"):
                found.append(each)
    return found


def matrices(step: Any) -> int:
    (summed, _), _ = step.params["dimension_numbers"]
    shape = step.invars[0].aval.shape
    return math.prod(step.outvars[0].aval.shape) * math.prod(shape[axis] for axis in summed)


def convolution(step: Any) -> int:
    """Kernels: what is beside the outputs is multiplied for each output, or, where inputs are spread, the reverse."""
    parameters = step.params
    if parameters["batch_group_count"] != 1:
        raise UncountedError("a convolution in groups of examples is not counted")
    numbers = parameters["dimension_numbers"]
    data, kernel = (variable.aval.shape for variable in step.invars[:2])
    outputs, inputs, *window = (kernel[axis] for axis in numbers.rhs_spec)
    if any(spread != 1 for spread in parameters["lhs_dilation"]):
        return math.prod(data) * math.prod(window) * outputs // parameters["feature_group_count"]
    return math.prod(step.outvars[0].aval.shape) * math.prod(window) * inputs


def weighted_sum(step: Any, made: dict[Any, Any]) -> int:
    """`sum(a * b)`: a product that is summed at once; neither a square nor a change of scale."""
    product = source(step.invars[0], made, ("convert_element_type",))
    if product is None or product.primitive.name != "mul":
        return 0
    factors = product.invars
    if factors[0] is factors[1] or any(elements(factor, made) == 1 for factor in factors):
        return 0
    return math.prod(product.outvars[0].aval.shape)


def source(variable: Any, made: dict[Any, Any], passed: Any = SAME) -> Any:
    """The step that made a variable, or None, through those that are `passed`."""
    step = None if hasattr(variable, "val") else made.get(variable)
    while step is not None and step.primitive.name in passed:
        variable = step.invars[0]
        step = None if hasattr(variable, "val") else made.get(variable)
    return step


def elements(variable: Any, made: dict[Any, Any]) -> int:
    """How many different numbers a variable holds, before it was broadcast."""
    step = None if hasattr(variable, "val") else made.get(variable)
    while step is not None and step.primitive.name in SAME:
        variable = step.invars[0]
        step = None if hasattr(variable, "val") else made.get(variable)
    return math.prod(variable.aval.shape)


def scan(step: Any) -> int:
    return step.params["length"] * products_of(step.params["jaxpr"].jaxpr)


def loop(step: Any) -> int:
    each = products_of(step.params["body_jaxpr"].jaxpr) + products_of(step.params["cond_jaxpr"].jaxpr)
    if each:
        raise UncountedError("how often its loop runs shows only when it runs")
    return 0


def branches(step: Any) -> int:
    counts = {products_of(branch.jaxpr) for branch in step.params["branches"]}
    if len(counts) > 1:
        raise UncountedError("which of its branches runs, and what it multiplies, shows only when it runs")
    return counts.pop()


PRODUCTS = {"dot_general": matrices, "conv_general_dilated": convolution}
CONTROL = {"scan": scan, "while": loop, "cond": branches}
