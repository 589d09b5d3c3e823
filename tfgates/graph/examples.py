"""Making up inputs to try a network on."""

import keras
import numpy as np
from keras import tree

from tfgates.graph.network import Ref, inputs_in_order

# Tried in this order where the network leaves a size open.
SIZES = (32, 16, 8, 4, 2, 1, 64, 128, 256, 512)


class NoExamplesError(ValueError):
    """No inputs can be made up for the network."""


def random_inputs(network, seed=0, like=None):
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
    rng = np.random.default_rng(seed)
    inputs = []
    for number, shape in zip(network.inputs, input_shapes(network, like), strict=True):
        dtype = network.dtypes[number]
        if dtype == "string":
            raise NoExamplesError(
                "No random strings can be made up to compare the networks on: give `inputs`. "
                f"Received: model {network.model.name!r}, which reads strings"
            )
        if dtype == "bool":
            inputs.append(rng.random(shape) < 0.5)
        elif "int" in dtype:
            limits = [node.op.input_dim for node in network.consumers[number] if hasattr(node.op, "input_dim")]
            inputs.append(rng.integers(0, min(limits, default=2), shape).astype(dtype))
        else:
            inputs.append(rng.standard_normal(shape).astype("float32"))
    return inputs


def input_shapes(network, like=None):
    """A shape for each input, batch included, with which no tensor of the network is empty."""
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
    for size in SIZES:
        trial = [tuple(size if s is None else s for s in shape) for shape in shapes]
        if fits(network, trial):
            return trial
    raise NoExamplesError(
        f"No size among {sorted(SIZES)} suits all layers where the model leaves sizes open: give `inputs` to "
        f"compare the networks on. Received: inputs of shape {[network.shapes[n] for n in network.inputs]}"
    )


def fits(network, shapes):
    """Whether every tensor of the network has at least one entry with inputs of these shapes."""
    tensors = {
        number: keras.KerasTensor(shape, network.dtypes[number])
        for number, shape in zip(network.inputs, shapes, strict=True)
    }

    def value(x):
        return tensors[x.tensor] if isinstance(x, Ref) else x

    for node in network.nodes:
        args, kwargs = tree.map_structure(value, (node.args, node.kwargs))
        try:
            outputs = tree.flatten(node.op.compute_output_spec(*args, **kwargs))
        except Exception:
            # Layers complain in many ways of a size that they cannot take.
            return False
        if any(size is not None and size < 1 for x in outputs for size in x.shape):
            return False
        tensors.update(zip(node.outputs, outputs, strict=True))
    return True
