"""The gradient of Bernoulli gates in a training step: a second pass that differs in them alone."""

import functools

import keras
from keras import ops

from tfgates.gates import recording
from tfgates.models.losses import losses_of


def is_estimated(gate):
    """Whether the gradient of a gate has to be estimated from the loss."""
    return getattr(gate, "estimated", False)


def state_of(model):
    """The values of the variables that a forward pass may change: averages and seeds.

    Returns:
        A list of pairs (variable, tensor).
    """
    trainable = {id(variable) for variable in model.trainable_variables}
    return [(v, ops.copy(v.value)) for v in model.variables if id(v) not in trainable]


def recorded(call):
    """Wraps the `call` of a model class, so that the outermost one records what the gates draw.

    It is `call`, not `__call__`, that is recorded: Keras may run `call` once more within the first
    `__call__`, on symbolic input, to build the model.
    """

    @functools.wraps(call)
    def wrapper(self, *args, **kwargs):
        repeat = recording.entry_of(self)
        # Within the pass of an outer GatedModel the outer one records.
        if repeat is None or recording.current() is not None:
            return call(self, *args, **kwargs)
        with recording.active(recording.Recording(self, repeat, state_of(self))) as record:
            outputs = call(self, *args, **kwargs)
        if record.draws:
            recording.keep(record)
        return outputs

    return wrapper


def second_pass(model, record):
    """Repeats the recorded forward pass with the second state of each Bernoulli gate.

    The same inputs, weights, mode, batch statistics and noise; nothing is updated, since all of it
    happens in a `keras.StatelessScope`. No gradient flows, so that no activation is kept for a
    backward pass. It clears the losses of the layers.
    """
    # An explicit value for every variable: JAX needs it, and without it weight regularisers cannot
    # be evaluated in the scope.
    state = {id(variable): (variable, value) for variable, value in record.state}
    for variable in model.variables:
        state.setdefault(id(variable), (variable, variable.value))
    mapping = [(variable, ops.stop_gradient(value)) for variable, value in state.values()]
    with keras.StatelessScope(state_mapping=mapping), record.replay():
        return record.repeat()


@ops.custom_gradient
def after(loss, other):
    """`loss`, whose gradient can be computed only when `other`, a scalar, has been.

    Without it nothing of the gradient for the weights depends on the second pass, and the updates of the
    weights wait for its reads by control dependencies alone. TensorFlow's graph optimizer drops those where
    it fuses a matrix multiplication with its bias, and the second pass would see weights that are already
    updated, now and then.
    """

    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        # Equal on both sides, but only `other` can tell which is taken.
        return ops.where(other > 0.0, upstream, 1.0 * upstream), ops.zeros_like(other)

    return 1.0 * loss, gradient


def with_estimates(model, record, loss, y, y_pred, sample_weight):
    """`loss` with the gradient of the expected loss for all Bernoulli gates; its value is the same.

    What is added is a scalar of value 0 for each draw.

    Args:
        model: the `tfgates.GatedModel` that is trained. Its compiled loss has been computed.
        record: the `tfgates.gates.recording.Recording` of the pass that gave `y_pred`.
        loss: the loss of that pass, a scalar.
        y, y_pred, sample_weight: as in `keras.Model.compute_loss`.
    """
    record.settled = True
    draws = [draw for draw in record.draws if draw.gate.is_trained]
    if not draws:
        return loss
    per_example = any(draw.gate.sampling == "example" for draw in draws)
    first = second = losses_of(model, y, y_pred, sample_weight, per_example)
    if any(draw.gate.two_passes for draw in draws):
        second_y_pred = second_pass(model, record)
        second = losses_of(model, y, second_y_pred, sample_weight, per_example)
        loss = after(loss, ops.stop_gradient(sum(ops.sum(value) for value in second.values())))
    for draw in draws:
        kind = draw.gate.sampling
        loss = loss + draw.gate.surrogate(draw, (first[kind], second[kind]))
    return loss
