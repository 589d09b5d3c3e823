"""Products with weights that a layer of a user's has itself: as calls of dense layers that hold them."""

import string
from typing import TYPE_CHECKING, Any

import keras

from tfgates.keras_internals import hold_kernel
from tfgates.layers.stacked_dense import StackedDense, letters_of
from tfgates.layers.weight import Weight

if TYPE_CHECKING:
    from tfgates.graph.network import Node


def as_dense_layers(
    nodes: "list[Node]", phases: list[Any], shapes: list[Any], dtypes: list[str], outputs: list[int]
) -> None:
    """Puts dense layers in the place of weights that are read by nothing but products with them.

    Several products with one weight become calls of one layer. All is changed in place.

    Args:
        nodes: the calls of a network.
        phases: one for each of them.
        shapes, dtypes: of its tensors.
        outputs: the tensors that it returns.
    """
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for tensor in dict.fromkeys(node.inputs):
            readers.setdefault(tensor, []).append(node)
    gone: set[int] = set()
    for weight in nodes:
        if not isinstance(weight.op, Weight) or not is_plain(weight.op):
            continue
        (tensor,), reading = weight.outputs, readers.get(weight.outputs[0], [])
        if tensor in outputs or not reading:
            continue
        layer = layer_of(weight.op, reading, tensor, shapes, dtypes)
        if layer is None:
            continue
        for node in reading:
            (read,) = [ref for ref in node.args if ref.tensor != tensor]
            node.op, node.args, node.kwargs, node.inputs, node.name = layer, (read,), {}, [read.tensor], weight.name
        gone.add(weight.index)
    kept = [(node, phase) for node, phase in zip(nodes, phases, strict=True) if node.index not in gone]
    nodes[:], phases[:] = [node for node, _ in kept], [phase for _, phase in kept]
    for index, node in enumerate(nodes):
        node.index = index


def is_plain(weight: Weight) -> bool:
    """Whether a weight can be the kernel of a dense layer: a trained one, seen as such a layer sees its own."""
    plain = weight.compute_dtype == weight.variable_dtype or (weight.weight_autocast and weight.autocast)
    typed = keras.backend.standardize_dtype(weight.value.dtype) == weight.variable_dtype
    return len(weight.shape) > 1 and weight.learns and plain and typed


def layer_of(
    weight: Weight, reading: "list[Node]", tensor: int, shapes: list[Any], dtypes: list[str]
) -> keras.Layer | None:
    """The layer of which all calls that read a weight are calls; None where they are not of one."""
    if len(weight.shape) == 2 and all(is_dense(node, tensor, shapes, dtypes) for node in reading):
        return dense_layer(weight)
    equations = {stacked_equation(node, tensor, shapes, dtypes) for node in reading}
    equation = equations.pop()
    return None if equations or equation is None else stacked_layer(weight, equation)


def is_dense(node: "Node", weight: int, shapes: list[Any], dtypes: list[str]) -> bool:
    """Whether a call multiplies the last axis of a tensor that has a batch with the first of a weight."""
    if len(node.inputs) != 2 or node.inputs[1] != weight or len(node.args) != 2 or node.kwargs:
        return False
    read, made = node.inputs[0], node.outputs[0]
    kind, rank = type(node.op).__name__, len(shapes[read])
    if rank < 2 or shapes[read][0] is not None or shapes[read][-1] is None or len(shapes[made]) != rank:
        return False
    if not dtypes[read] == dtypes[weight] == dtypes[made]:
        return False
    if kind == "Einsum":
        return is_last_axis(node.op.subscripts, rank)
    return kind in ("Matmul", "Dot") or (kind == "Tensordot" and node.op.axes == 1)


def is_last_axis(subscripts: str, rank: int) -> bool:
    """Whether an equation is a product of the last axis of its first factor with the first of its second, a matrix."""
    left, arrow, made = subscripts.replace(" ", "").partition("->")
    read, _, matrix = left.partition(",")
    letters, plain = read.replace("...", ""), len(set(read + made)) - 1 == len(set(read))
    named = arrow and (letters + matrix).isalpha() and (read == letters or read.startswith("..."))
    if not named or len(matrix) != 2 or not plain or len(set(letters)) != len(letters):
        return False
    ranks = len(letters) == rank if read == letters else 1 <= len(letters) < rank
    return bool(ranks and matrix[0] == letters[-1] and made == read[:-1] + matrix[1] and matrix[1] not in read)


def dense_layer(weight: Weight) -> keras.layers.Dense:
    """A dense layer without a bias that holds the variable of a weight."""
    made = keras.layers.Dense(
        weight.shape[1],
        use_bias=False,
        kernel_regularizer=weight.regularizer,
        kernel_constraint=weight.constraint,
        dtype=weight.dtype_policy,
        name=weight.name,
    )
    made.trainable = weight.trainable
    hold_kernel(made, weight.value)
    return made


def stacked_equation(node: "Node", weight: int, shapes: list[Any], dtypes: list[str]) -> str | None:
    """The equation of a call as one of a `StackedDense` with a weight as its kernel; None where it is none."""
    if len(node.args) != 2 or len(node.inputs) != 2 or node.kwargs or node.inputs.count(weight) != 1:
        return None
    kernel, (made,) = node.inputs.index(weight), node.outputs
    read, kind = node.inputs[1 - kernel], type(node.op).__name__
    if None not in shapes[read] or shapes[read][-1] is None or not dtypes[read] == dtypes[weight] == dtypes[made]:
        return None
    if kind == "Einsum":
        equation = spelled_out(node.op.subscripts, [len(shapes[tensor]) for tensor in node.inputs])
        left, _, letters = equation.partition("->")
        first, _, second = left.partition(",")
        equation = f"{second},{first}->{letters}" if kernel == 0 else equation
    elif kind == "Matmul" and kernel == 1:
        equation = of_matrices(len(shapes[read]), len(shapes[weight]), shapes[read])
    else:
        return None
    named = letters_of(equation)
    return equation if named is not None and fit(named, shapes[read], shapes[weight]) else None


def fit(letters: tuple[str, str, str], read: tuple[Any, ...], kernel: tuple[Any, ...]) -> bool:
    """Whether nothing is broadcast, and no places are summed over, but an axis of 1."""
    sizes = dict(zip(letters[1], kernel, strict=True))
    for letter, size in zip(letters[0], read, strict=True):
        if sizes.get(letter, size) != size or (letter not in letters[1] + letters[2] and size != 1):
            return False
    return len(letters[0]) == len(read)


def spelled_out(subscripts: str, ranks: list[int]) -> str:
    """Subscripts of two tensors with letters for their dots; what has none, or others, is left as it is."""
    left, _, made = subscripts.replace(" ", "").partition("->")
    factors = left.split(",")
    lengths = {rank - len(f.replace("...", "")) for f, rank in zip(factors, ranks, strict=True) if "..." in f}
    if "..." not in made or len(lengths) != 1:
        return subscripts.replace(" ", "")
    unused = [letter for letter in string.ascii_letters if letter not in subscripts]
    return subscripts.replace(" ", "").replace("...", "".join(unused[: lengths.pop()]))


def of_matrices(read: int, kernel: int, sizes: tuple[Any, ...]) -> str:
    """`a @ b` as an equation, for the ranks of the two and the sizes of the first."""
    letters = string.ascii_lowercase[: max(read, kernel) - 2]
    ours, theirs = (letters[len(letters) - rank + 2 :] for rank in (read, kernel))
    # One matrix for all kernels.
    once = [each for each, size in zip(ours, sizes, strict=False) if size == 1 and each in theirs]
    ours = "".join(each.upper() if each in once else each for each in ours)
    return f"{ours}YZ,{theirs}ZX->{letters}YX"


def stacked_layer(weight: Weight, equation: str) -> keras.Layer:
    """A `StackedDense` that holds the variable of a weight."""
    made = StackedDense(
        equation,
        weight.shape,
        kernel_regularizer=weight.regularizer,
        kernel_constraint=weight.constraint,
        dtype=weight.dtype_policy,
        name=weight.name,
    )
    made.trainable = weight.trainable
    made.kernel, made.built = weight.value, True
    return made
