"""Proving that a gated network with all gates open computes what the original does."""

import contextlib
from collections.abc import Iterable
from typing import Any

from keras import ops

from tfgates.graph.equality import (
    CALLS,
    agree_but_for_rounding,
    amplified,
    called,
    default_tolerance,
    first_difference,
    is_random,
    outputs_of,
)
from tfgates.graph.examples import NoExamplesError, NoSizesError, batches, in_parts
from tfgates.graph.network import Network
from tfgates.graph.phase import trains
from tfgates.graph.randomness import random_reason
from tfgates.graph.tying import weights_read
from tfgates.notices import warn


class GatingError(RuntimeError):
    """The gated network does not compute what the original does. This is a bug; such a network is never returned."""


def check_gated(network: Network, gated: Any, gates: Iterable[Any] = (), inputs: Any = None) -> None:
    """Compares a gated network with the original at inference, called in each of its ways, on batches of two sizes.

    Nothing is compared where no inputs are given and none can be made up.

    Args:
        network: the `Network` of the original.
        gated: the gated model.
        gates: the gates that are held at 1 meanwhile; others have their inference values.
        inputs: optional inputs of the model to compare on, beside random numbers.

    Raises:
        GatingError: if an output differs by more than rounding.
        ValueError: if the original's outputs are random, which could not be compared with what `prune` makes either.
    """
    model = network.model
    for x, call in examples(network, inputs):
        try:
            expected = outputs_of(model, x, call)
        except Exception:
            # Not every model takes every number; layers complain of it in many ways.
            continue
        with contextlib.ExitStack() as stack:
            for gate in gates:
                stack.enter_context(gate.held(ops.ones(gate.unit_shape)))
            difference = first_difference(expected, gated, x, default_tolerance(model), call)
            if difference is None:
                continue
            if is_random(model, x, call):
                raise ValueError(random_reason(network, x, call))
            # Not of a random one, whose outputs differ by as much with rounded weights.
            if agree_but_for_rounding(model, gated, x, call):
                continue
        if amplified(model, x, expected, difference, call):
            continue
        names = written_and_read(network)
        if names:
            raise GatingError(
                f"Output {difference.output!r} of the gated network, with its gates open, {difference}{called(call)}: "
                "a call with `training=True` changes averages that another call of the same layer reads, so that the "
                "result depends on which of them runs first. Call each layer in one mode, or have two of it. "
                f"Received: model {model.name!r}, layers {names} called with `training=True` and without"
            )
        raise GatingError(
            f"Output {difference.output!r} of the gated network, with its gates open, {difference}{called(call)}. "
            "Either a layer of the model is not copied by its config and weights, so give its class a complete "
            f"`get_config`, or this is a bug in tfgates: nothing was changed. Received: model {model.name!r}"
        )


def written_and_read(network: Network) -> list[str]:
    """The names of layers of which one call changes averages and another one reads them."""
    modes: dict[int, set[bool]] = {}
    for node in network.nodes:
        if node.layer is not None and node.op.non_trainable_variables:
            modes.setdefault(id(node.op), set()).add(trains(node))
    return list(dict.fromkeys(node.name for node in network.nodes if len(modes.get(id(node.op), ())) > 1))


def warn_of_lost_ties(network: Network) -> None:
    """Warns of weights of layers that operators compute with: Keras writes these into files as constants."""
    lost = [
        f"{variable.path!r}, which {node.name!r} computes with"
        for node in network.nodes
        if node.layer is None
        for variable in weights_read(node)
        if is_owned(variable, network)
    ]
    if lost:
        warn(
            "A `.keras` file of the gated or the pruned network will not hold that a layer and an operator share a "
            "weight: Keras writes what the operator is given as a constant, which neither follows the layer nor is "
            "trained. What `export` and `save_weights` write is whole. "
            f"Received: {'; '.join(dict.fromkeys(lost))}"
        )


def is_owned(variable: Any, network: Network) -> bool:
    """Whether a variable is the weight of a layer that the network calls."""
    layers = {id(node.op): node.op for node in network.nodes if node.layer is not None}
    return any(variable is weight for layer in layers.values() for weight in layer.weights)


def examples(network: Network, inputs: Any) -> Any:
    """What to compare on, and how it is called."""
    try:
        yield from zip(batches(network, like=inputs), CALLS, strict=True)
    except NoSizesError as error:
        if inputs is None:
            # Before the training, which would be lost on somebody who has no example to give.
            warn(
                "The gated network could not be compared with `model`, and `prune` will want `inputs` to compare on, "
                f"arrays as the model is called on: give them to `gate_model` too. {error}"
            )
    except NoExamplesError:
        pass
    if inputs is not None:
        yield from ((x, call) for x in in_parts(inputs, network) for call in CALLS)
