"""Calling a layer on random inputs, and all that can be seen of it: outputs, masks, state."""

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.backend import dtype_in_use, full_precision, may_be_out_of_range
from tfgates.graph.equality import distance, scale_of, state_kept
from tfgates.graph.unrolling import NotOpenedError, in_mode
from tfgates.keras_internals import added_losses, forget_losses, give_added_losses, give_mask, layers_within, mask_of

# Tried in this order where sizes besides the batch are left open.
SIZES = (8, 32, 16, 4, 2, 1, 64, 128)

# One for each tensor.
Sizes = tuple[int, ...]

# A prime number: so many random numbers are made for a weight at most.
REPEATS = 65_537


def has_open_sizes(tensors: list[Any], beside: Collection[int] = ()) -> bool:
    """Whether tensors have open axes, that of the examples apart, which is not the first one in those of `beside`."""
    return any(None in t.shape[0 if i in beside else 1 :] for i, t in enumerate(tensors))


def shapes_for(tensors: list[Any], batch: int, sizes: Sizes, beside: Collection[int] = ()) -> list[tuple[int, ...]]:
    """The shapes of tensors for so many examples, and a size for what else is open in each."""
    return [
        tuple(s or (size if axis or i in beside else batch) for axis, s in enumerate(tensor.shape))
        for i, (tensor, size) in enumerate(zip(tensors, sizes, strict=True))
    ]


def runnable_sizes(
    tensors: list[Any], attempt: Callable[[Sizes], tuple[list[Any], ...]], beside: Collection[int] = ()
) -> list[Sizes]:
    """Sizes of the axes that are left open, the batch apart, with which a layer can be called.

    The same for all tensors, and, where it takes them, others for all and different ones.

    Args:
        tensors: the symbolic tensors among the arguments of its call.
        attempt: a function that calls the layer with sizes, and raises a `NotOpenedError` where it cannot be; it
            returns the outputs first. Sizes of which they are nan are taken where there are no others.
        beside: numbers of the tensors whose first axis is not that of the examples.
    """
    is_open = has_open_sizes(tensors, beside)
    found: list[Sizes] = []
    doubtful: list[Sizes] = []
    # The first alone may be longer or shorter: what one lacks of the other is filled up by some layers.
    longer, shorter = (7, *(3,) * (len(tensors) - 1)), (3, *(7,) * (len(tensors) - 1))
    different = tuple(itertools.islice(itertools.cycle((3, 5, 7)), len(tensors)))
    alike = [(size,) * len(tensors) for size in (SIZES if is_open else SIZES[:1])]
    others = [longer, shorter, different] if is_open and len(tensors) > 1 else []
    for sizes in [*alike, *dict.fromkeys(with_their_masks(tensors, each) for each in others)]:
        if sizes in found or (len(found) > 1 and sizes in alike):
            continue
        try:
            outputs = attempt(sizes)[0]
        except NotOpenedError as error:
            reason = error
        else:
            (doubtful if may_be_out_of_range(outputs) else found).append(sizes)
    if not found and not doubtful:
        raise reason
    return found or doubtful[:2]


def with_their_masks(tensors: list[Any], sizes: Sizes) -> Sizes:
    """The sizes where a mask that a tensor carries, and that is another one of the tensors, is as long as that."""
    carried = {id(mask_of(tensor)): size for tensor, size in zip(tensors, sizes, strict=True)}
    return tuple(carried.get(id(tensor), size) for tensor, size in zip(tensors, sizes, strict=True))


def random_values(
    layer: keras.Layer, tensors: list[Any], batch: int, sizes: Sizes, seed: int, beside: Collection[int] = ()
) -> list[Any]:
    """A backend tensor for each symbolic one, with a mask where that has one: the value of another where it is that."""
    generator = np.random.default_rng(seed)
    limits = [getattr(inner, "input_dim", None) for inner in layers_within(layer)]
    limit = min([n for n in limits if isinstance(n, int)], default=2)
    values = []
    shapes = shapes_for(tensors, batch, sizes, beside)
    for tensor, shape, size in zip(tensors, shapes, sizes, strict=True):
        if tensor.dtype == "bool":
            value = generator.random(shape) < 0.7
        elif "int" in tensor.dtype:
            value = generator.integers(0, limit, shape).astype(tensor.dtype)
        else:
            value = generator.standard_normal(shape)
        value = ops.convert_to_tensor(value, dtype=dtype_in_use(tensor.dtype))
        mask = mask_of(tensor)
        if mask is not None:
            mask_shape = tuple(s or (size if i else batch) for i, s in enumerate(mask.shape))
            give_mask(value, ops.convert_to_tensor(generator.random(mask_shape) < 0.7))
        values.append(value)
    # Keras makes the mask that a tensor carries another argument of calls that have one for it.
    known = {id(tensor): value for tensor, value in zip(tensors, values, strict=True)}
    for tensor, value in zip(tensors, values, strict=True):
        if id(mask_of(tensor)) in known:
            give_mask(value, known[id(mask_of(tensor))])
    return values


def call_layer(
    layer: keras.Layer, tensors: list[Any], values: list[Any], args: Any, kwargs: Any, training: bool
) -> list[Any]:
    """The outputs of the layer as a flat list, with `values` in place of `tensors`."""
    known = {id(t): v for t, v in zip(tensors, values, strict=True)}
    args, kwargs = tree.map_structure(lambda x: known[id(x)] if isinstance(x, keras.KerasTensor) else x, (args, kwargs))
    return [y for y in tree.flatten(layer(*args, **in_mode(layer, kwargs, training))) if y is not None]


class Within(keras.Layer):
    """Runs a function as a model runs its parts: layers in it are told by it whether they train."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function

    def call(self, x: Any, training: bool = False) -> Any:
        self._function()
        return x


def observed(
    layer: keras.Layer, function: Any, training: bool, adding: Iterable[keras.Layer] = ()
) -> tuple[list[Any], list[Any], list[Any]]:
    """Outputs, their masks, and the changed variables after a call, as arrays; the layer is left as it was.

    Args:
        layer: the layer.
        function: calls it, or the calls that it is said to make; returns a list of tensors.
        training: bool, whether it does so in training.
        adding: what adds losses beside the layer.
    """
    with state_kept(layer), losses_kept(layer), full_precision():
        for each in (layer, *adding):
            forget_losses(each)
        outputs: list[Any] = []
        Within(lambda: outputs.extend(function()))(ops.zeros(()), training=training)
        state = [as_array(v) for v in layer.non_trainable_variables]
        # Sums, since each call makes the terms anew.
        losses = [loss for each in (layer, *adding) for loss in each.losses]
        state.append(np.asarray([float(ops.convert_to_numpy(ops.sum(loss))) for loss in losses]).sum())
        for each in (layer, *adding):
            forget_losses(each)
    masks = [mask_of(y) for y in outputs]
    return [as_array(y) for y in outputs], [None if m is None else as_array(m) for m in masks], state


@contextlib.contextmanager
def losses_kept(layer: keras.Layer) -> Iterator[None]:
    """Puts back what a layer, and those in it, have added to the loss in their last call."""
    before = [(each, list(added_losses(each))) for each in layers_within(layer)]
    try:
        yield
    finally:
        for each, losses in before:
            give_added_losses(each, losses)


def as_array(x: Any) -> np.ndarray:
    """A tensor or variable as an array; half precision and booleans as float32."""
    value = ops.convert_to_tensor(x)
    exact = "int" in keras.backend.standardize_dtype(value.dtype)
    return np.asarray(ops.convert_to_numpy(value if exact else ops.cast(value, "float32")))


def same(expected: list[Any], found: list[Any], layer: keras.Layer) -> bool:
    """Whether two lists of arrays are equal up to rounding."""
    halves = [i for i in layers_within(layer) if getattr(i, "compute_dtype", None) in ("float16", "bfloat16")]
    tolerance = 1e-2 if halves else 1e-5
    if len(expected) != len(found):
        return False
    for a, b in zip(expected, found, strict=True):
        if a is None or b is None:
            if a is not b:
                return False
        elif not distance(a, b) <= tolerance * max(scale_of(a), 1e-6):
            return False
    return True


@contextlib.contextmanager
def other_weights(layer: keras.Layer) -> Iterator[None]:
    """Gives a layer other weights for a while; those that are positive stay so."""
    generator = np.random.default_rng(0)
    before = [(v, as_array(v)) for v in layer.weights if "float" in str(v.dtype)]
    try:
        for variable, value in before:
            # Large weights get the same numbers again and again, not in step with any axis.
            factor, more = (np.resize(generator.random(min(value.size, REPEATS), "float32"), value.shape) for _ in "ab")
            variable.assign(value * (1.0 + 0.3 * factor) + 0.05 * more)
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
