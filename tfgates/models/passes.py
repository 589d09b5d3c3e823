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


def surrogate(model, record, y, y_pred, sample_weight):
    """A scalar of value 0 whose gradient is that of the expected loss for all Bernoulli gates.

    Args:
        model: the `tfgates.GatedModel` that is trained. Its compiled loss has been computed.
        record: the `tfgates.gates.recording.Recording` of the pass that gave `y_pred`.
        y, y_pred, sample_weight: as in `keras.Model.compute_loss`.
    """
    record.settled = True
    draws = [draw for draw in record.draws if draw.gate.is_trained]
    if not draws:
        return None
    per_example = any(draw.gate.sampling == "example" for draw in draws)
    first = second = losses_of(model, y, y_pred, sample_weight, per_example)
    if any(draw.gate.two_passes for draw in draws):
        second_y_pred = second_pass(model, record)
        second = losses_of(model, y, second_y_pred, sample_weight, per_example)
    terms = []
    for draw in draws:
        kind = draw.gate.sampling
        terms.append(draw.gate.surrogate(draw, (first[kind], second[kind])))
    return sum(terms)
