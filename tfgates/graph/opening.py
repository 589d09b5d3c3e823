"""Opening layers that call other layers: the network is then walked as if it had been written flat."""

import contextlib
import functools
import re
from collections.abc import Callable, Collection
from typing import Any

import keras
from keras import tree

from tfgates.anatomy import declared_base
from tfgates.anatomy.weightless import is_input
from tfgates.graph.any_size import for_any_size
from tfgates.graph.classes import is_own
from tfgates.graph.handed_on import masks_handed_on, with_masks
from tfgates.graph.losses import in_training, with_losses
from tfgates.graph.opened import IN_TRAINING_ALONE, OTHER_MASKS, Comparison, Found
from tfgates.graph.unrolling import NotOpenedError, Unrolled, called_plainly, unroll
from tfgates.keras_internals import call_of, history_of, holds_layers, tells_training


class ToldOtherwiseError(NotOpenedError):
    """Keras was told other ranks, types or sizes of what a layer makes than its `call` gives."""


def at_once(layer: Any, x: Any, training: Any = None, mask: Any = None) -> Any:
    """All steps at once, as a dense layer takes them, or else as further examples."""
    # The inner layer can raise anything of a tensor that has one axis more than it was built for.
    with contextlib.suppress(Exception):
        made = layer.layer(x)
        if tuple(made.shape[:-1]) == tuple(x.shape[:-1]):
            return made
    made = layer.layer(keras.ops.reshape(x, (-1, *x.shape[2:])))
    return keras.ops.reshape(made, (-1, x.shape[1], *made.shape[1:]))


def one_by_one(layer: Any, x: Any, training: Any = None, mask: Any = None) -> Any:
    """A call for each step, as Keras makes them: statistics and random numbers of a batch are then those of a step."""
    steps = x.shape[1]
    if steps is None or steps > MOST_STEPS:
        raise NotOpenedError("it calls what it holds for more steps than are followed")
    return keras.ops.stack([layer.layer(x[:, i]) for i in range(steps)], axis=1)


# So many calls of what is in a `TimeDistributed` are laid out one after the other.
MOST_STEPS = 16

# Layers of Keras whose `call` cannot be followed, and what should be the same; the proof says whether it is.
OTHERWISE: dict[Any, Any] = {keras.layers.TimeDistributed: (at_once, one_by_one)}


def may_be_opened(op: Any) -> bool:
    """Whether a layer holds others, or has weights that its `call` uses itself, and nothing is known of it whole."""
    from tfgates.graph.rule import rule_for

    if not isinstance(op, keras.Layer) or rule_for(op).known:
        return False
    # Of what is like a layer of Keras the operators say less than its name.
    return holds_layers(op) or (is_own(type(op), "call") and bool(op.weights) and declared_base(type(op)) is None)


def may_combine(op: Any, args: Any, kwargs: Any, outputs: list[Any]) -> bool:
    """Whether a call of a layer of a user's without weights makes something of another shape of several tensors.

    Attention that is a layer of its own is such: the operators that it calls are known, the layer is not.
    """
    from tfgates.graph.rule import rule_for

    if not isinstance(op, keras.Layer) or op.weights or holds_layers(op) or rule_for(op).known:
        return False
    tensors = {id(t): tuple(t.shape) for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)}
    others = any(tuple(y.shape) not in tensors.values() for y in tree.flatten(outputs))
    return len(tensors) > 1 and others and is_own(type(op), "call")


def open_layer(
    layer: keras.Layer,
    args: Any,
    kwargs: Any,
    outputs: list[Any],
    masks: bool = True,
    known: dict[Any, Found] | None = None,
    within: Collection[int] = (),
    beside: Collection[int] = (),
) -> tuple[Unrolled, list[Any]]:
    """The calls that a layer makes when it is called, proven to compute what it does.

    `layer.call` is called on symbolic tensors. Where it needs sizes that are left open (`ops.shape(x)[0]`
    is None for them) it is followed for two sets of sizes: see `tfgates.graph.any_size`. What comes out is
    compared with the layer on random inputs: see `tfgates.graph.opened.Comparison`. Where it hands on the mask of
    what it reads and they do not, a `tfgates.layers.WithMask` behind them does.

    Args:
        layer: the layer, built.
        args, kwargs: the arguments of the call, symbolic tensors in them.
        outputs: what the call returned, flat.
        masks: bool, whether anything reads the masks that the outputs carry.
        known: what was found in comparisons before, see `Comparison.check`; it grows.
        within: ids of layers that it holds whose calls are followed too, as if they stood in its `call`.
        beside: ids of symbolic tensors whose first axis is not that of the examples.

    Returns:
        Pair of the calls and of the tensors among the arguments, in the order of their inputs.

    Raises:
        NotOpenedError: if it cannot be opened; the message says why.
    """
    tensors = list({id(t): t for t in tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)}.values())

    def call(given: Any, kwargs: Any = kwargs, function: Any = None) -> Any:
        new = {id(t): g for t, g in zip(tensors, given, strict=True)}
        inner_args, inner_kwargs = tree.map_structure(
            lambda x: new[id(x)] if isinstance(x, keras.KerasTensor) else x, (args, kwargs)
        )
        return called_plainly(layer, inner_args, inner_kwargs, function)

    shapes, dtypes = [tuple(t.shape) for t in tensors], [t.dtype for t in tensors]
    if any(is_sparse(t) or t.dtype == "string" for t in tensors):
        raise NotOpenedError("it reads sparse tensors or strings")

    known = {} if known is None else known
    follow = functools.partial(unroll, within=within)
    others = [i for i, t in enumerate(tensors) if id(t) in beside]

    def proven(comparison: Comparison, unrolled: Unrolled) -> Unrolled:
        found, wanted = ([(len(y.shape), told(layer, y)) for y in each] for each in (unrolled.outputs, outputs))
        if found != wanted:
            raise ToldOtherwiseError(f"followed, its `call` gives tensors of ranks and types {found}, not {wanted}")
        lost = [(a, b) for a, b in zip(unrolled.outputs, outputs, strict=True) if loses_sizes(a, b)]
        if lost:
            # What reads it may need them: a Flatten and a Dense behind it, say.
            sizes, wished = (tuple(tensor.shape) for tensor in lost[0])
            raise ToldOtherwiseError(f"followed, its `call` gives a tensor of shape {sizes}, not {wished}")
        comparison.check(unrolled, known)
        return unrolled

    def opened(function: Callable[..., Any], trained: bool = False) -> Unrolled:
        proof = functools.partial(proven, Comparison(layer, tensors, args, kwargs, masks, trained, others))
        function = with_losses(layer, function, trained)
        try:
            return proof(follow(function, shapes, dtypes, layer))
        except NotOpenedError as reason:
            return for_any_size(function, shapes, dtypes, layer, reason, proof, follow, others)

    def opened_somehow(call: Callable[..., Any]) -> Unrolled:
        try:
            return opened(call)
        except NotOpenedError as reason:
            handed_on = masks_handed_on(tensors, outputs) if str(reason) in OTHER_MASKS else {}
            for copied in (False, True) if handed_on else ():
                with contextlib.suppress(NotOpenedError):
                    return opened(with_masks(call, handed_on, copied))
            if str(reason) != IN_TRAINING_ALONE or not tells_training(layer):
                raise
            # It may be for what it adds to the loss there.
            return opened(functools.partial(call, kwargs=in_training(layer, kwargs)), trained=True)

    first, *further = [functools.partial(call, function=f) for f in OTHERWISE.get(type(layer), (None,))]
    try:
        return opened_somehow(first), tensors
    except NotOpenedError:
        for each in further:
            with contextlib.suppress(NotOpenedError):
                return opened_somehow(each), tensors
        raise


def told(layer: keras.Layer, tensor: Any) -> str:
    """The dtype of a tensor that Keras says a layer makes, "float" where it can be wrong.

    With PyTorch it looks at weights that are not cast there, so that what is said in mixed precision is float32.
    """
    mixed = keras.backend.backend() == "torch" and layer.compute_dtype != layer.variable_dtype
    return "float" if mixed and "float" in str(tensor.dtype) else str(tensor.dtype)


def is_sparse(tensor: Any) -> bool:
    """Whether a tensor can be sparse: Keras takes products with an array of one number for sparse ones."""
    found, seen = [tensor], set()
    while found:
        current = found.pop()
        if not getattr(current, "sparse", False) or id(current) in seen:
            continue
        seen.add(id(current))
        history = history_of(current)
        if history is None or is_input(history.operation):
            return True
        found.extend(call_of(history).input_tensors)
    return False


def loses_sizes(found: Any, wanted: Any) -> bool:
    """Whether sizes are open in a tensor that are known in another of its rank."""
    return any(a is None and b is not None for a, b in zip(found.shape, wanted.shape, strict=True))


def call_names(calls: list[Any]) -> list[str]:
    """A name for each call: the layer's, or what kind of operator it is, and its number among the same."""
    kinds = [None if isinstance(c.op, keras.Layer) else snake_case(type(c.op).__name__) for c in calls]
    names = []
    for i, (call, kind) in enumerate(zip(calls, kinds, strict=True)):
        count = kinds[:i].count(kind)
        names.append(f"{call.prefix}{call.op.name}" if kind is None else kind if count == 0 else f"{kind}_{count}")
    return names


def snake_case(name: str) -> str:
    """`GetItem` as `get_item`, as Keras does it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
