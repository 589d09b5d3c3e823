"""Making up inputs to try a network on."""

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

from tfgates.backend import may_be_out_of_range
from tfgates.graph.calls import inputs_in_order
from tfgates.graph.equality import outputs_of
from tfgates.graph.network import Network
from tfgates.graph.sizes import arguments_of, specs_of
from tfgates.keras_internals import inputs_structure

# Tried in this order where the network leaves a size open.
SIZES = (32, 16, 8, 4, 2, 1, 64, 128, 256, 512, 1024, 2048, 4096)

# Of several inputs with open sizes so many combinations of different sizes are tried.
MOST_COMBINATIONS = 100

# Numbers for inputs with more entries than this take long to draw: such trials come last.
MANY_ENTRIES = 2**20

# Given examples are compared so many at a time: what all layers make of a whole training set does not fit into memory.
AT_A_TIME = 32

# Nothing could be said of two networks that both give nan.
OUT_OF_RANGE = "the model gives nan, as JAX does for indices out of range"

# Keras writes messages in bold.
COLOURS = re.compile("\x1b\\[[0-9;]*m")

Shapes = list[tuple[int, ...]]


class NoExamplesError(ValueError):
    """No inputs can be made up for the network."""


class NoSizesError(NoExamplesError):
    """No sizes are found that all layers of the network take."""


def random_inputs(network: Network, seed: int = 0, like: Any = None) -> list[np.ndarray]:
    """Two examples for each input of a network: numbers or, for integer inputs, valid indices.

    Args:
        network: a `Network`.
        seed: int.
        like: optional inputs of the model; where it leaves a size open, theirs is taken.

    Returns:
        List of arrays, one per input.

    Raises:
        NoExamplesError: for inputs of strings, and where no size is found that the layers can take.
    """
    check_numbers(network)
    return numbers_of(network, input_shapes(network, like), seed)


def batches(network: Network, like: Any = None) -> list[Any]:
    """Random inputs of two and of three examples, in the structure that the model is called on; see `random_inputs`."""
    check_numbers(network)
    shapes = input_shapes(network, like)
    more = [
        shape if network.shapes[number][0] else (shape[0] + 1, *shape[1:])
        for number, shape in zip(network.inputs, shapes, strict=True)
    ]
    found = [numbers_of(network, shapes, seed=0), numbers_of(network, more, seed=1)]
    return [tree.pack_sequence_as(inputs_structure(network.functional), x) for x in found]


def in_parts(inputs: Any, network: Network | None = None) -> Iterator[Any]:
    """Given inputs, `AT_A_TIME` examples at a time, in their structure; whole where their examples cannot be told.

    So are specs, sparse tensors, and the inputs of a network that takes batches of one size alone.
    """
    flat = tree.flatten(inputs)
    sizes = {tuple(getattr(x, "shape", ()))[:1] for x in flat}
    count = sizes.pop()[0] if len(sizes) == 1 and () not in sizes else None
    divisible = all(hasattr(x, "__getitem__") and not isinstance(x, keras.KerasTensor) for x in flat)
    fixed = network is not None and any(network.shapes[number][0] for number in network.inputs)
    if count is None or count <= AT_A_TIME or not divisible or fixed:
        yield inputs
        return
    for start in range(0, count, AT_A_TIME):
        yield tree.map_structure(lambda x, start=start: x[start : start + AT_A_TIME], inputs)


def check_numbers(network: Network) -> None:
    """Raises a `NoExamplesError` if a network reads strings."""
    for number in network.inputs:
        if network.dtypes[number] == "string":
            raise NoExamplesError(
                "No random strings can be made up to compare the networks on: give `inputs`. "
                f"Received: model {network.model.name!r}, which reads strings"
            )


def numbers_of(network: Network, shapes: Shapes, seed: int = 0) -> list[np.ndarray]:
    """Random numbers for inputs of these shapes."""
    rng = np.random.default_rng(seed)
    inputs: list[np.ndarray] = []
    for number, shape in zip(network.inputs, shapes, strict=True):
        dtype = network.dtypes[number]
        if dtype == "bool":
            inputs.append(rng.random(shape) < 0.5)
        elif "int" in dtype:
            limits = [node.op.input_dim for node in network.consumers[number] if hasattr(node.op, "input_dim")]
            inputs.append(rng.integers(0, min(limits, default=2), shape).astype(dtype))
        else:
            inputs.append(rng.standard_normal(shape).astype("float32"))
    return inputs


def input_shapes(network: Network, like: Any = None) -> Shapes:
    """A shape for each input, batch included, with which no tensor of the network is empty and it can be called."""
    shapes = [network.shapes[number] for number in network.inputs]
    given = None if like is None else inputs_in_order(network.functional, like)
    for i, x in enumerate(given or []):
        size = tuple(np.shape(x))
        if len(size) == len(shapes[i]):
            known = (known or got for known, got in zip(shapes[i][1:], size[1:], strict=True))
            shapes[i] = (shapes[i][0], *known)
    shapes = [(shape[0] or 2, *shape[1:]) for shape in shapes]
    if all(None not in shape for shape in shapes):
        return shapes
    reason, doubtful = "", []
    for trial in trials(shapes):
        reason = obstacle(network, trial)
        if not reason:
            return trial
        if reason == OUT_OF_RANGE:
            doubtful.append(trial)
    if doubtful:
        # It makes no numbers of any size.
        return doubtful[0]
    open_inputs = {
        tensor.name: tuple(tensor.shape)
        for tensor, shape in zip(network.functional.inputs, shapes, strict=True)
        if None in shape
    }
    raise NoSizesError(
        f"No size among {sorted(SIZES)} suits all layers where the model leaves sizes open, so that input "
        f"{', '.join(map(repr, open_inputs))} cannot be made up: give `inputs` to compare the networks on. "
        f"Received: {open_inputs}; with the last size that was tried, {reason}"
    )


def trials(shapes: list[tuple[Any, ...]]) -> Iterator[Shapes]:
    """The shapes with sizes in place of None: the same for all inputs, then one for each input; large ones last."""
    unknown = [i for i, shape in enumerate(shapes) if None in shape]
    same = [(size,) * len(unknown) for size in SIZES]
    different = (sizes for sizes in itertools.product(SIZES, repeat=len(unknown)) if len(set(sizes)) > 1)
    found = []
    for sizes in [*same, *itertools.islice(different, MOST_COMBINATIONS)]:
        chosen = dict(zip(unknown, sizes, strict=True))
        found.append([tuple(chosen[i] if s is None else s for s in shape) for i, shape in enumerate(shapes)])
    return iter(sorted(found, key=lambda trial: sum(map(math.prod, trial)) > MANY_ENTRIES))


def obstacle(network: Network, shapes: Shapes) -> str:
    """Why inputs of these shapes are not for the network, in words; an empty string if they are."""
    reason = empty_tensor(network, shapes)
    if reason:
        return reason
    x = tree.pack_sequence_as(inputs_structure(network.functional), numbers_of(network, shapes))
    try:
        outputs = outputs_of(network.model, x)
    except Exception as error:
        # What a layer's shapes do not tell, such as how many positions an embedding has.
        return f"the model raises {shortened(error)}"
    return OUT_OF_RANGE if may_be_out_of_range(outputs) else ""


def empty_tensor(network: Network, shapes: Shapes) -> str:
    """The first call that makes a tensor without entries of inputs of these shapes, or cannot take them, in words."""
    tensors = {
        number: keras.KerasTensor(shape, network.dtypes[number])
        for number, shape in zip(network.inputs, shapes, strict=True)
    }

    for node in network.nodes:
        try:
            outputs = specs_of(node, *arguments_of(node, tensors))
        except Exception as error:
            # Layers complain in many ways of a size that they cannot take.
            return f"{node.name} raises {shortened(error)}"
        if any(size is not None and size < 1 for x in outputs for size in x.shape):
            return f"nothing is left of the places at {node.name}"
        tensors.update(zip(node.outputs, outputs, strict=True))
    return ""


def shortened(error: Exception, most: int = 200) -> str:
    """An error in a line."""
    text = " ".join(COLOURS.sub("", str(error)).split())
    return f"{type(error).__name__}: {text if len(text) <= most else text[:most] + '...'}"
