"""Proving that a gated network with all gates open computes what the original does."""

import contextlib

from keras import ops, tree

from tfgates.graph.equality import amplified, default_tolerance, first_difference, is_random, outputs_of
from tfgates.graph.examples import NoExamplesError, random_inputs


class GatingError(RuntimeError):
    """The gated network does not compute what the original does: a bug, never returned as a result."""


def check_gated(network, gated, gates=()):
    """Compares a gated network with the original at inference, on two random examples.

    Nothing is compared where no inputs can be made up, or where the original's outputs are random.

    Args:
        network: the `Network` of the original.
        gated: the gated model.
        gates: the gates that are held at 1 meanwhile; others have their inference values.

    Raises:
        GatingError: if an output differs by more than rounding.
    """
    model = network.model
    try:
        x = tree.pack_sequence_as(network.functional._inputs_struct, random_inputs(network))
    except NoExamplesError:
        return
    try:
        expected = outputs_of(model, x)
    except Exception:
        # Not every model takes every number; layers complain of it in many ways.
        return
    with contextlib.ExitStack() as stack:
        for gate in gates:
            stack.enter_context(gate.held(ops.ones(gate.unit_shape)))
        difference = first_difference(expected, gated, x, default_tolerance(model))
    if difference is None or is_random(model, x) or amplified(model, x, expected, difference):
        return
    raise GatingError(
        f"Output {difference.output!r} of the gated network, with its gates open, {difference}. Either a layer "
        "of the model is not copied by its config and weights, so give its class a complete `get_config`, or this is "
        f"a bug in tfgates: nothing was changed. Received: model {model.name!r}"
    )
