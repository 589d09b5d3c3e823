"""The gradient of Bernoulli gates as a function of what was drawn and of the losses of the passes.

`estimates(draws, losses)` is that function, for any number of passes; the rest finds the losses: that of the first pass
is the one that Keras has computed, those of the others come from passes that differ in the gates alone.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tfgates.backend import noise_from
from tfgates.gates.recording import Draw, Recording
from tfgates.gates.step import step
from tfgates.keras_internals import give_losses_in_place, losses_in_place
from tfgates.training.losses import constant_losses, observed


def with_estimates(
    record: Recording, total: Any, loss: Any, compute_loss: Callable[..., Any], bound: inspect.BoundArguments
) -> Any:
    """`total` with the gradient of the expected `loss` for all Bernoulli gates; its value is the same."""
    record.due.settled = True
    model, draws = record.model, [draw for draw in record.draws if draw.gate.is_trained]
    if not draws:
        return total
    record.flip()
    examples = any(draw.gate.sampling == "example" for draw in draws)
    constant = constant_losses(model)
    losses = [observed(model, loss, constant, bound.arguments, examples)]
    for number in range(1, record.passes):
        with repeated(record, number) as outputs:
            again = with_outputs(bound, record.outputs, outputs)
            other = compute_loss(*again.args, **again.kwargs)
            losses.append(observed(model, other, constant, again.arguments, examples))
    if len(losses) > 1:
        total = after(total, sum(value["batch"] for value in losses[1:]))
    return ops.add(total, estimates(draws, losses))


def estimates(draws: list[Draw], losses: list[dict[str, Any]]) -> Any:
    """A scalar of value 0 whose gradient is that of the expected loss for all gates that were drawn.

    Args:
        draws: what was drawn, with the states of the gates in each pass.
        losses: for each pass its loss: a dict from `"batch"` to a scalar and, where a gate is drawn per
            example, from `"example"` to a tensor `(batch,)`.
    """
    return sum(draw.gate.surrogate(draw, [loss[draw.gate.sampling] for loss in losses]) for draw in draws)


@contextlib.contextmanager
def repeated(record: Recording, number: int) -> Iterator[Any]:
    """Repeats a recorded forward pass with other states of its gates, and gives its outputs.

    The same inputs, weights, mode, batch statistics and noise; nothing is updated, since all of it
    happens in a `keras.StatelessScope`, which stays open for the loss: within it `model.losses` are those of
    the pass. No gradient flows, so that no activation is kept for a backward pass. It clears the
    losses of the layers.

    Args:
        record: what the first pass left.
        number: int > 0, which of the passes it is.
    """
    # An explicit value for every variable: JAX needs it, and without it weight regularisers cannot
    # be evaluated in the scope.
    model = record.model
    state = {id(variable): (variable, value) for variable, value in record.state}
    for variable in [*model.variables, *model.metrics_variables]:
        state.setdefault(id(variable), (variable, variable.value))
    mapping = [(variable, ops.stop_gradient(value)) for variable, value in state.values()]
    # What Keras's trainer on JAX puts in the place of `model.losses`: those of the first pass.
    first = losses_in_place(model)
    give_losses_in_place(model, [])
    try:
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True), step.having(computing=model):
            with record.replay(number), noise_from(record.noise):
                outputs = record.repeat()
            yield outputs
    finally:
        give_losses_in_place(model, first)


def with_outputs(bound: inspect.BoundArguments, first: Any, other: Any) -> inspect.BoundArguments:
    """The arguments of `compute_loss` with the outputs of another pass in the place of the first's.

    Raises:
        ValueError: if none of the outputs of the first pass is among the arguments.
    """
    pairs = zip(keras.tree.flatten(first), keras.tree.flatten(other), strict=True)
    instead = {id(old): new for old, new in pairs if old is not None}
    found = []

    def swap(value: Any) -> Any:
        found.append(id(value) in instead)
        return instead.get(id(value), value)

    model, *args = bound.args
    args, kwargs = keras.tree.map_structure(swap, (args, bound.kwargs))
    if not any(found):
        raise ValueError(
            f"`compute_loss` of `{model.name}` must be given what the last call of the model returned, as it is, "
            "since its Bernoulli gates need the loss of another pass: what else is made of the predictions "
            f"belongs into `compute_loss`. Received: arguments {sorted(bound.arguments)} without it"
        )
    return bound.signature.bind(model, *args, **kwargs)


@ops.custom_gradient
def after(loss: Any, other: Any) -> Any:
    """`loss`, whose gradient can be computed only when `other`, a scalar, has been.

    Without it nothing of the gradient for the weights depends on the second pass, and the updates of the
    weights wait for its reads by control dependencies alone. TensorFlow's graph optimizer drops those where
    it fuses a matrix multiplication with its bias, and the second pass would see weights that are already
    updated, now and then.
    """

    def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any]:
        upstream = arguments[0] if upstream is None else upstream
        # Equal on both sides, but only `other` can tell which is taken.
        return ops.where(other > 0.0, upstream, 1.0 * upstream), ops.zeros_like(other)

    return 1.0 * loss, gradient
