"""Functions that treat each position along an axis by itself: rotations of heads, and offsets for each of them."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops, tree

from tfgates.backend import full_precision
from tfgates.graph.channels import Channels
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.probe import alike, sample
from tfgates.graph.rules.read_in_part import as_far_as_needed
from tfgates.graph.walk import Walk

# About which numbers those of tensors without channels are tried.
OFFSETS = (0.0, 100.0, -100.0, 1e3, -1e3, 1e5, -1e5)

# For sizes that the model leaves open, the batch first.
SIZES = (2, 3, 4, 5, 6, 7, 8, 9)


@dataclasses.dataclass
class Along:
    """What is known of a call that treats each position along an axis by itself.

    Attributes:
        joint: for each tensor that it reads whether it is read position by position.
        zeros: boolean array (tensors read, tensors made): whether what is made is 0 where what is read is.
        all_alike: whether it does the same to all of them, so that it can be called on fewer.
    """

    joint: tuple[bool, ...]
    zeros: np.ndarray
    all_alike: bool


def follow_along(walk: Walk, node: Node, functions: Sequence[Callable[..., Any]]) -> bool:
    """Tells the channels of what a call makes where it treats each by itself; False where it does not, or may not.

    Args:
        walk: the walk.
        node: the call.
        functions: the call as a function of its tensors, in each mode in which it is another one.
    """
    known = walk.inputs(node)
    axes = {x.axis for x in known if x is not None}
    if len(axes) != 1:
        return False
    (axis,) = axes
    size = walk.shape(node.inputs[[x is not None for x in known].index(True)])[axis]
    proofs = walk.network.proofs.setdefault("along", {})
    key = (node.index, axis, tuple(x is not None for x in known))
    if key not in proofs:
        proofs[key] = proof(walk, node, functions, axis, size)
    found = proofs[key]
    if found is None:
        return False
    walk.notes(node).along = found
    for tensor, x, joint in zip(node.inputs, known, found.joint, strict=True):
        if x is None and joint and found.all_alike:
            walk.notes(node).read_in_part[tensor] = axis
    groups = [x.group for x in known if x is not None]
    for other in groups[1:]:
        walk.groups.tie(groups[0], other)
    for number, tensor in enumerate(node.outputs):
        live: np.ndarray = np.full(size, TRUE, np.int64)
        for x, zero in zip(known, found.zeros[:, number], strict=True):
            if x is not None and zero:
                live = walk.formulas.both(live, np.where(x.value == 0.0, x.live, TRUE))
        y = walk.fresh(axis, size, live, np.where(live == TRUE, np.nan, 0.0))
        y.group = groups[0]
        walk.channels[tensor] = y
    return True


def need_along(walk: Walk, node: Node) -> None:
    """Of what is read each position is needed where that of anything that is made is."""
    need: Any = np.full(1, FALSE, np.int64)
    for tensor in node.outputs:
        need = walk.formulas.either(need, walk.channels[tensor].need)
    for x in walk.inputs(node):
        if x is not None:
            walk.need(x, need)


def proof(walk: Walk, node: Node, functions: Sequence[Callable[..., Any]], axis: int, size: int) -> Along | None:
    """What trying a call on numbers says of it, or None where it does not treat each position by itself."""
    known: list[Channels | None] = walk.inputs(node)
    shapes = [walk.shape(tensor) for tensor in node.inputs]
    made = [walk.shape(tensor) for tensor in node.outputs]
    ranks = {len(shape) for shape, x in zip(shapes, known, strict=True) if x is not None}
    strings = any(walk.network.dtypes[tensor] == "string" for tensor in node.inputs)
    if strings or len(ranks) != 1 or any({len(shape)} != ranks or shape[axis] != size for shape in made):
        return None
    may = [x is not None or (len(shape) > axis and shape[axis] == size) for x, shape in zip(known, shapes, strict=True)]
    # What is not known to have the axis may have one as long by chance.
    choices = [[True] if x is not None else [True, False] if m else [False] for x, m in zip(known, may, strict=True)]
    for joint, same in itertools.product(itertools.product(*choices), (True, False)):
        check = all_by_themselves if same else by_themselves
        trials = [(function, x, strict) for function in functions for x, strict in tried(walk, node)]
        if all(check(function, x, joint, axis, strict) for function, x, strict in trials):
            found = [zeros(function, x, known, len(made), strict) for function, x, strict in trials]
            return Along(joint, np.all(found, axis=0), same)
    return None


def tried(walk: Walk, node: Node) -> Iterator[tuple[list[np.ndarray], bool]]:
    """Numbers for what a call reads, small ones, and with larger ones in what has no channels.

    Beside each whether it has to take them: whole numbers may be places in other tensors.
    """
    known = walk.inputs(node)
    for number, offset in enumerate(OFFSETS if None in known else OFFSETS[:1]):
        generator, values, strict = np.random.default_rng(number), [], True
        for tensor, x in zip(node.inputs, known, strict=True):
            dtype = walk.network.dtypes[tensor]
            largest = 10.0 if x is not None else max(10.0, abs(offset))
            value = sample(generator, sized(walk, node, tensor), dtype, largest=largest)
            if x is None and "int" in dtype:
                limits = np.iinfo(value.dtype)
                value = value + value.dtype.type(np.clip(offset, limits.min // 2, limits.max // 2))
                strict = strict and offset == 0.0
            elif x is None and dtype != "bool":
                value = value + value.dtype.type(offset)
            values.append(value)
        yield values, strict


def all_by_themselves(
    function: Callable[..., Any], x: list[np.ndarray], joint: tuple[bool, ...], axis: int, strict: bool
) -> bool:
    """Whether in another order, with positions left out and others in their place, each gives what it gave.

    Args:
        function: takes the tensors.
        x: the tensors.
        joint: which of them are read position by position.
        axis: the axis of the positions.
        strict: whether it must take these numbers.
    """
    size = x[joint.index(True)].shape[axis]
    try:
        made = evaluate(function, x)
    except Exception:
        # A function of the user's can raise anything.
        return not strict
    generator = np.random.default_rng(0)
    choices = [np.arange(size), generator.permutation(size), np.arange(size)[::2], np.array([size - 1])]
    try:
        for choice in [*choices, np.array([0] * (size + 1))]:
            taken = [np.take(v, choice, axis=axis) if j else v for v, j in zip(x, joint, strict=True)]
            for y, z in zip(made, evaluate(function, taken), strict=True):
                if not alike(np.take(y, choice, axis=axis), z):
                    return False
    except Exception:
        # As above, of fewer or more positions than it was made for.
        return False
    return True


def by_themselves(
    function: Callable[..., Any], x: list[np.ndarray], joint: tuple[bool, ...], axis: int, strict: bool
) -> bool:
    """Whether each position gives what it gave with other numbers at the others; as `all_by_themselves`."""
    size = x[joint.index(True)].shape[axis]
    others = [np.roll(v, 1, axis) if j else v for v, j in zip(x, joint, strict=True)]
    try:
        made = evaluate(function, x)
        # Of any two positions each is once among those that stay while the other is changed.
        digits = [(np.arange(size) >> digit & 1).astype(bool) for digit in range(size.bit_length())]
        for choice in [np.arange(size) == size // 2, *digits, *(~digit for digit in digits)]:
            mixed = [
                np.where(choice.reshape(-1, *(1,) * (v.ndim - 1 - axis)), v, other) if j else v
                for v, other, j in zip(x, others, joint, strict=True)
            ]
            for y, z in zip(made, evaluate(function, mixed), strict=True):
                if not alike(np.compress(choice, y, axis), np.compress(choice, z, axis)):
                    return False
    except Exception:
        # As above.
        return not strict
    return True


def smaller_along(surgery: Any, node: Node, args: Any, kwargs: Any, call: Callable[[Any, Any], Any]) -> Any:
    """What a call makes of the positions that are left.

    Where it does not do the same to all of them it is called on as many as before, with 0 at those that went.

    Args:
        surgery: the surgery.
        node: the call.
        args, kwargs: the arguments of the smaller call.
        call: makes the call on other arguments.
    """
    walk = surgery.walk
    y = walk.output(node)
    keep = surgery.keep(y.group)
    if not keep.any():
        surgery.nothing_left(node)
    if walk.notes(node).along.all_alike or keep.all():
        return call(*as_far_as_needed(surgery, node, args, kwargs))

    def widened(ref: Any, tensor: Any) -> Any:
        x = walk.channels[ref.tensor] if isinstance(ref, Ref) else None
        if x is None:
            return tensor
        widths = [[0, int(axis == x.axis)] for axis in range(len(tensor.shape))]
        place = np.where(keep, np.cumsum(keep) - 1, keep.sum())
        return ops.take(ops.pad(tensor, widths), place.astype("int32"), axis=x.axis)

    made = call(*tree.map_structure(widened, (node.args, node.kwargs), (args, kwargs)))
    return tree.map_structure(lambda each: surgery.pick(each, keep, y.axis), made)


def sized(walk: Walk, node: Node, tensor: int) -> tuple[int, ...]:
    """The shape of a tensor that a call reads, with a size for each that is left open, one of another if it can be."""
    others = [walk.shape(each) for each in node.inputs]
    found = []
    for axis, size in enumerate(walk.shape(tensor)):
        known = (shape[axis] for shape in others if axis < len(shape) and shape[axis] not in (None, 1))
        found.append(size or next(known, SIZES[axis]))
    return tuple(found)


def zeros(
    function: Callable[..., Any], x: list[np.ndarray], known: list[Channels | None], outputs: int, strict: bool
) -> np.ndarray:
    """For each tensor that is read and made whether the second is 0 where the first is."""
    found: np.ndarray = np.zeros((len(x), outputs), bool)
    for i, channels in enumerate(known):
        if channels is None:
            continue
        try:
            made = evaluate(function, [np.zeros_like(v) if j == i else v for j, v in enumerate(x)])
        except Exception:
            # As above.
            found[i] = not strict
        else:
            found[i] = [not y.any() for y in made]
    return found


def evaluate(function: Callable[..., Any], x: list[np.ndarray]) -> list[np.ndarray]:
    """What a function makes of arrays, flat."""
    with full_precision():
        made = tree.flatten(function(*(ops.convert_to_tensor(v) for v in x)))
    return [np.asarray(ops.convert_to_numpy(ops.cast(y, "float32") if "float" in str(y.dtype) else y)) for y in made]
