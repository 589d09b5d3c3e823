"""Counting the products of a call of PyTorch, on tensors without values."""

import math
import re
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.fx.experimental.proxy_tensor import make_fx

from tfgates.graph.call import function_of, untouched
from tfgates.graph.network import Node
from tfgates.graph.uncounted import UncountedError

# Operations of PyTorch that multiply in ways that are not counted here.
UNKNOWN = re.compile(
    "conv(?!ert)|(^|_)mm|matmul|bilinear|einsum|(^|_)dot|rnn|lstm|gru|fft|stft|cholesky|svd|(^|_)qr|linalg|lu_|solve|eig|"
    "inverse|attention|cdist|sparse|quantized|householder|ormqr|geqrf"
)


def macs_of(node: Node, args: Any, kwargs: Any) -> int:
    """The multiply-accumulates of a call at inference.

    Args:
        node: the call.
        args, kwargs: its arguments, a `KerasTensor` in place of each tensor.

    Raises:
        UncountedError: if they cannot be counted.
    """
    call, tensors = function_of(node, args, kwargs)
    try:
        # One of its own: what depends on values raises in it, where that of `make_fx` goes on with symbols.
        with untouched(node), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            given = [torch.empty(tuple(x.shape), dtype=getattr(torch, x.dtype)) for x in tensors]
            traced = make_fx(call)(*given)
            # Without changes in place, so that what nobody reads can be left out; a second trace, since the first
            # may meet gradients of users' own, which `functionalize` refuses.
            return products_of(make_fx(torch.func.functionalize(traced))(*given))
    except DynamicOutputShapeException as error:
        raise UncountedError(f"the sizes of its operation {error.func} show only when it runs") from error
    except DataDependentOutputException as error:
        raise UncountedError("which of its branches runs, and what it multiplies, shows only when it runs") from error


def products_of(module: Any) -> int:
    """The multiply-accumulates of one run of a `torch.fx.GraphModule` of operations of `aten`."""
    module.graph.eliminate_dead_code()
    total = 0
    for step in module.graph.nodes:
        name = name_of(step)
        if name in PRODUCTS:
            values = [value_of(module, each) for each in step.args]
            total += PRODUCTS[name](*values, result=value_of(module, step), **step.kwargs)
        elif name in ("sum", "mean"):
            total += weighted_sum(module, step.args[0])
        elif UNKNOWN.search(name):
            raise UncountedError(f"what its operation {name} multiplies is not known")
    return total


def name_of(step: Any) -> str:
    """The name of what a step runs, such as `mm` of `aten.mm.default`; "" of what is no operation."""
    return step.target.name().partition("::")[2].partition(".")[0] if hasattr(step.target, "overloadpacket") else ""


def value_of(module: Any, argument: Any) -> Any:
    """What an argument of a step is: of a tensor one like it."""
    if not isinstance(argument, torch.fx.Node):
        return argument
    return argument.meta["val"] if "val" in argument.meta else getattr(module, argument.target)


def weighted_sum(module: Any, product: Any) -> int:
    """`sum(a * b)`: a product that is summed at once; neither a square nor a change of scale."""
    if name_of(product) != "mul" or product.args[0] is product.args[1]:
        return 0
    factors = [value_of(module, each) for each in product.args]
    if any(not isinstance(each, torch.Tensor) or each.numel() == 1 for each in factors):
        return 0
    return value_of(module, product).numel()


def matrices(a: Any, b: Any, *rest: Any, result: Any, **kwargs: Any) -> int:
    return math.prod(result.shape) * a.shape[-1]


def matrices_and_bias(bias: Any, a: Any, b: Any, *rest: Any, result: Any, **kwargs: Any) -> int:
    return math.prod(result.shape) * a.shape[-1]


def convolution(data: Any, kernel: Any, *rest: Any, result: Any, **kwargs: Any) -> int:
    """Kernels: `(outputs, inputs / groups, *window)`, transposed `(inputs, outputs / groups, *window)`."""
    transposed = rest[4] if len(rest) > 4 else kwargs.get("transposed", False)
    return math.prod((data if transposed else result).shape) * math.prod(kernel.shape[1:])


def attention(query: Any, key: Any, value: Any, *rest: Any, result: Any, **kwargs: Any) -> int:
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return scores * (query.shape[-1] + value.shape[-1])


PRODUCTS: dict[str, Any] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "matmul"), matrices),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), matrices_and_bias),
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), convolution),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        attention,
    ),
}
