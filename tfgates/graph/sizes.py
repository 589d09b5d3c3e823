"""The sizes of a network's tensors when it is called on one example."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from tfgates.anatomy.weightless import holds_function
from tfgates.graph.call import function_of, untouched
from tfgates.graph.lengths import counted_shape
from tfgates.graph.network import Network, Node, Ref
from tfgates.keras_internals import dense

# Whether any call may change the axis of the batch.
_FOLDS: "weakref.WeakKeyDictionary[Network, bool]" = weakref.WeakKeyDictionary()
_FOUND: "weakref.WeakKeyDictionary[Network, tuple[Any, ...]]" = weakref.WeakKeyDictionary()


def sizes_of(network: Network) -> tuple[list[Any], int]:
    """A `KerasTensor` for each tensor of a network, and the number of examples that they are for.

    A network tells its sizes for any number of examples. Where an operator folds places into the axis of
    the batch, or splits it, how many entries one example has there shows only with a given number: one,
    or as many as the inputs of a network of a fixed batch have.

    Args:
        network: a `Network`.

    Returns:
        Pair of a list with a `KerasTensor`, or None where it cannot be told, for each number of a
        tensor, and the number of examples. Sizes that the network leaves open stay None.
    """
    if network not in _FOUND:
        _FOUND[network] = _sizes(network)
    return _FOUND[network]


def _sizes(network: Network) -> tuple[list[Any], int]:
    fixed = [network.shapes[number][0] for number in network.inputs if network.shapes[number]]
    examples = next((size for size in fixed if size), 1)
    tensors: list[Any] = [None] * len(network.shapes)
    for number, original in zip(network.inputs, network.functional.inputs, strict=True):
        shape = counted_shape(network.model, original)
        shape = (shape[0] or examples, *shape[1:]) if shape else shape
        tensors[number] = keras.KerasTensor(shape, original.dtype, sparse=original.sparse)
    for node in network.nodes:
        if any(tensors[t] is None for t in node.inputs):
            continue
        args, kwargs = arguments_of(node, tensors)
        try:
            outputs = specs_of(node, args, kwargs)
        except Exception:
            # Layers complain in many ways of sizes that they cannot take.
            continue
        for number, tensor in zip(node.outputs, outputs, strict=True):
            tensors[number] = tensor
    return tensors, examples


def specs_of(node: Node, args: Any, kwargs: Any) -> list[Any]:
    """A `KerasTensor` for each output of a call on arguments with a `KerasTensor` in place of each tensor."""
    try:
        found = tree.flatten(node.op.compute_output_spec(*args, **kwargs))
    except Exception:
        # That calls the layer without what `__call__` does around it: the change of types that mixed precision makes,
        # `training` for those alone that take it.
        return specs_of_call(node, args, kwargs)
    given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
    # Some layers know less of their outputs than what they read tells.
    vague = any(None in tuple(x.shape) for x in found) and not any(None in tuple(x.shape) for x in given)
    if vague:
        return specs_of_call(node, args, kwargs)
    return found if any(x.sparse for x in given) else [dense(x) for x in found]


def specs_of_call(node: Node, args: Any, kwargs: Any) -> list[Any]:
    """A `KerasTensor` for each output, by the backend's own tracing of the call."""
    if keras.backend.backend() == "tensorflow":
        outputs = graph_of(node, args, kwargs).structured_outputs
        return [keras.KerasTensor(tuple(x.shape), x.dtype.name) for x in tree.flatten(outputs)]
    call, tensors = function_of(node, args, kwargs)
    with untouched(node):
        return tree.flatten(_Call(call).compute_output_spec(*tensors))


class _Call(keras.Operation):
    """A function of tensors, of which Keras tells what comes out."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def call(self, *tensors: Any) -> Any:
        return self._function(*tensors)


def graph_of(node: Node, args: Any, kwargs: Any) -> Any:
    """The graph of TensorFlow that a call computes at inference.

    Args:
        node: the call.
        args, kwargs: its arguments, a `KerasTensor` in place of each tensor.
    """
    import tensorflow as tf

    call, tensors = function_of(node, args, kwargs)
    specs = [(tf.SparseTensorSpec if x.sparse else tf.TensorSpec)(x.shape, x.dtype) for x in tensors]
    with untouched(node):
        return tf.function(call, autograph=False).get_concrete_function(*specs).graph


def arguments_of(node: Node, tensors: Any) -> tuple[Any, Any]:
    """The arguments of a call with entries of `tensors` in place of references."""

    def value(x: Any) -> Any:
        return tensors[x.tensor] if isinstance(x, Ref) else x

    return tree.map_structure(value, (node.args, node.kwargs))


def entries_per_example(network: Network, tensor: int) -> float:
    """How many entries along the axis of the batch one example has; nan where that is not known."""
    if network not in _FOLDS:
        _FOLDS[network] = any(may_fold(node) for node in network.nodes)
    if not _FOLDS[network]:
        return 1.0
    tensors, examples = sizes_of(network)
    if tensors[tensor] is None or tensors[tensor].shape[0] is None:
        return math.nan
    return tensors[tensor].shape[0] / examples


def places(network: Network, tensor: int, channels: int) -> float:
    """In how many places one example has channels, which are the axis `channels`; nan where that is not known."""
    sizes = beside(network.shapes[tensor], channels)
    if None in sizes:
        found = sizes_of(network)[0][tensor]
        sizes = [None] if found is None else beside(tuple(found.shape), channels)
    return math.nan if None in sizes else math.prod(sizes) * entries_per_example(network, tensor)


def counted(network: Network, tensor: int) -> tuple[Any, ...]:
    """The shape of a tensor, with sizes that inputs leave open as they are counted: see `tfgates.graph.lengths`."""
    found = sizes_of(network)[0][tensor] if None in network.shapes[tensor][1:] else None
    return network.shapes[tensor] if found is None else tuple(found.shape)


def beside(shape: tuple[Any, ...], channels: int) -> list[Any]:
    """The sizes of the axes other than those of the batch and the channels."""
    return [size for axis, size in enumerate(shape) if axis not in (0, channels % len(shape))]


def may_fold(node: Node) -> bool:
    """Whether a call may change the axis of the batch: Keras's own layers do not."""
    own = node.layer is not None and type(node.op).__module__.partition(".")[0] in ("keras", "tfgates")
    return not own or holds_function(node.op)
