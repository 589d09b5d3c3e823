"""The gradient of Bernoulli gates in a training step: further passes that differ in them alone.

Two calls of Keras make a training step, `model(x, training=True)` and `model.compute_loss(...)`. The first is
recorded (`first_pass`); the second gets the gradient (`completed`), which is a function of the draws and of
the losses of the passes (`estimates`).
"""

import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tfgates.backend import noise_from, unkept_noise
from tfgates.gates import dues, recording
from tfgates.gates.recording import Draw, Recording
from tfgates.keras_internals import give_losses_in_place, losses_in_place
from tfgates.training.losses import constant_losses, observed, penalties_of

# Of a thread: the last recording, until its model computes the loss, and the model that does so; the model whose
# `stateless_call` is about to run its `call`, and what the gates of it added to the losses in that call.
_thread = threading.local()

# The methods that are wrapped by `recorded` or `completed`.
_wrapped: weakref.WeakSet[Any] = weakref.WeakSet()


def is_estimated(gate: Any) -> bool:
    """Whether the gradient of a gate has to be estimated from the loss."""
    return getattr(gate, "estimated", False)


def state_of(model: Any) -> list[tuple[Any, Any]]:
    """The values of the variables that a forward pass may change: averages and seeds.

    Returns:
        A list of pairs (variable, tensor).
    """
    trainable = {id(variable) for variable in model.trainable_variables}
    return [(v, ops.copy(v.value)) for v in model.variables if id(v) not in trainable]


def first_pass(model: Any, call: Callable[[], Any]) -> Any:
    """Runs the `__call__` of a model, noting what its gates draw if that is needed for their gradient."""
    _thread.penalties = None
    with dues.call_of(model):
        # Within the pass of an outer GatedModel the outer one records.
        if recording.current() is not None or not any(map(is_estimated, model.gates)):
            return call()
        with recording.active(Recording(model, call)) as record:
            record.outputs = call()
        if record.draws:
            _thread.finished = record
        return record.outputs


def take(model: Any) -> Recording | None:
    """Hands out the last recording of `model` in this thread, once, or None."""
    record = getattr(_thread, "finished", None)
    if record is None or record.model is not model:
        return None
    _thread.finished = None
    return record


def wrap(cls: type) -> None:
    """Wraps `call` and `compute_loss` of a subclass of GatedModel, wherever it has them from."""
    for name, wrapper in (("call", recorded), ("compute_loss", completed)):
        owner = next(base for base in cls.__mro__ if name in base.__dict__)
        method = owner.__dict__[name]
        if method not in _wrapped and owner.__module__.partition(".")[0] != "keras":
            setattr(cls, name, wrapper(method))


def recorded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps the `call` of a model class, so that a recording begins with its last run.

    Keras may run `call` once more within the first `__call__`, on symbolic input, to build the model.
    """

    @functools.wraps(call)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_stateless(self):
            # As on other backends: the pass is recorded, and its losses are those of one call of the model.
            _thread.stateless = None
            outputs = self(*args, **kwargs)
            _thread.penalties = (self, penalties_of(self))
            return outputs
        record = recording.current()
        if record is not None and record.model is self and not record.replaying:
            record.begin(state_of(self), unkept_noise())
        return call(self, *args, **kwargs)

    _wrapped.add(wrapper)
    return wrapper


@contextlib.contextmanager
def stateless(model: Any) -> Iterator[None]:
    """Within it the next `call` of `model` is made a `__call__`: `stateless_call` of Keras, the forward pass of a
    training step on JAX, runs `call` alone."""
    before = getattr(_thread, "stateless", None)
    _thread.stateless, _thread.penalties = model, None
    try:
        yield
    finally:
        _thread.stateless = before


def is_stateless(model: Any) -> bool:
    """Whether the next `call` of `model` comes from its `stateless_call`."""
    return getattr(_thread, "stateless", None) is model


def penalties(model: Any) -> list[Any]:
    """What the gates of a model added to its losses in its last call, each for its `l0`."""
    noted = getattr(_thread, "penalties", None)
    # Outside of the scope of a `stateless_call` layers do not know their losses.
    return noted[1] if noted is not None and noted[0] is model else penalties_of(model)


@contextlib.contextmanager
def computing(model: Any) -> Iterator[None]:
    """Within it the loss of `model` is being computed in this thread."""
    before = getattr(_thread, "computing", None)
    _thread.computing = model
    try:
        yield
    finally:
        _thread.computing = before


def completed(compute_loss: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps the `compute_loss` of a model class: the outermost one adds what belongs to the gates.

    That is the penalty and the budget of the model, and the gradient of gates that has to be estimated from
    all that `compute_loss` returns, an overridden one included.
    """
    signature = inspect.signature(compute_loss)

    @functools.wraps(compute_loss)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_thread, "computing", None) is self:
            return compute_loss(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        training = bool(bound.arguments.get("training", True))
        record = take(self) if training else None
        with computing(self):
            loss = compute_loss(self, *args, **kwargs)
        total = self._with_structure(loss, training)
        # The further passes clear the losses of the layers: all that needs them comes before them.
        return total if record is None else _with_estimates(record, total, loss, compute_loss, bound)

    _wrapped.add(wrapper)
    return wrapper


def _with_estimates(
    record: Recording, total: Any, loss: Any, compute_loss: Callable[..., Any], bound: inspect.BoundArguments
) -> Any:
    """`total` with the gradient of the expected `loss` for all Bernoulli gates; its value is the same."""
    record.due.settled = True
    model, draws = record.model, [draw for draw in record.draws if draw.gate.is_trained]
    if not draws:
        return total
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
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True), computing(model):
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
