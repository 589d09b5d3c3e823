"""The multiply-accumulates of a call of which nothing is known: it is traced, and its products are counted."""

import weakref
from typing import Any

import keras
from keras import tree

from tfgates.anatomy.check import TRACERS
from tfgates.graph.network import Network, Node
from tfgates.graph.sizes import arguments_of, graph_of, sizes_of
from tfgates.graph.uncounted import UncountedError

# By layer or operator, and by what it is called on.
_COUNTED: "weakref.WeakKeyDictionary[Any, dict[Any, Any]]" = weakref.WeakKeyDictionary()

UNKNOWN_SIZES = (
    "MACs need every dimension but the batch to be known: give `length`, the length of the sequences, or build the "
    "model with a fixed input shape"
)


def traced_macs(network: Network, node: Node) -> float:
    """Multiply-accumulates of a call for one example, by tracing what it computes at inference.

    The call is traced for one example (or the batch that the network is made for, and divided by it) by the backend:
    into a graph of TensorFlow, a program of JAX, or one of PyTorch on tensors without values. Counted is every product
    that is summed: convolutions, products of matrices, einsum, weighted sums, inside of functions and, times the number
    of its rounds, of loops; those of weights alone, as with LoRA, too. What a layer computes is taken to depend on its
    weights' shapes and the call's arguments, as it does where Keras traces it for training.

    Args:
        network: a `Network`.
        node: one of its calls.

    Raises:
        UncountedError: if sizes, the number of a loop's rounds or a branch are known only when the
            network runs, and for operations that are not known.
    """
    tensors, examples = sizes_of(network)
    given = [tensors[t] for t in node.inputs]
    if any(x is None for x in given):
        raise UncountedError("the sizes of what it reads cannot be told")
    if any(None in tuple(x.shape) for x in given):
        raise UncountedError(UNKNOWN_SIZES)
    known = _COUNTED.setdefault(node.op, {})
    key = _key(node, tensors)
    if key not in known:
        try:
            known[key] = _count(node, tensors)
        except UncountedError as error:
            known[key] = str(error)
    if isinstance(known[key], str):
        raise UncountedError(known[key])
    return known[key] / examples


def _key(node: Node, tensors: list[Any]) -> tuple[Any, ...]:
    """What the count of a layer or operator depends on."""

    def described(x: Any) -> Any:
        return (tuple(x.shape), str(x.dtype)) if isinstance(x, keras.KerasTensor) else repr(x)

    layer = node.layer
    state = () if layer is None else (layer.count_params(), getattr(layer, "quantization_mode", None))
    return str(tree.map_structure(described, arguments_of(node, tensors))), state


def _count(node: Node, tensors: list[Any]) -> int:
    given = arguments_of(node, tensors)
    backend = keras.backend.backend()
    if backend not in COUNTERS:
        raise UncountedError(f"layers without a rule of their own are counted with {sorted(COUNTERS)} alone")
    try:
        return COUNTERS[backend](node, *given)
    except UncountedError:
        raise
    except Exception as error:
        # A layer of the user's can raise anything here.
        message = str(error).strip().splitlines()
        raise UncountedError(
            f"its call cannot be traced ({type(error).__name__}: {message[0] if message else ''})"
        ) from error


def _of_tensorflow(node: Node, args: Any, kwargs: Any) -> int:
    from tfgates.graph.products import products_of

    return products_of(graph_of(node, args, kwargs))


def _of_jax(node: Node, args: Any, kwargs: Any) -> int:
    from tfgates.graph.products_jax import macs_of

    return macs_of(node, args, kwargs)


def _of_torch(node: Node, args: Any, kwargs: Any) -> int:
    from tfgates.graph.products_torch import macs_of

    return macs_of(node, args, kwargs)


# Each imports its backend where it is needed.
COUNTERS = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}


def macs_of_layer(model: keras.Model, layer: keras.Layer) -> float | None:
    """Multiply-accumulates of the first call of a layer for one example; None where they cannot be traced."""
    network = Network(model)
    # Of a layer that is opened the calls that it makes are counted.
    node = next((node for node in network.nodes if node.op is layer), None)
    try:
        return None if node is None else traced_macs(network, node)
    except UncountedError:
        return None


TRACERS.append(macs_of_layer)
