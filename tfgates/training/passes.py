"""The two calls of Keras that make a training step, `model(x, training=True)` and `model.compute_loss(...)`.

The first is recorded (`first_pass`); the second gets the gradient of Bernoulli gates (`completed`), which is a function
of the draws and of the losses of the passes (`tfgates.training.estimation`).
"""

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from keras import ops

from tfgates.backend import unkept_noise
from tfgates.gates.recording import Recording
from tfgates.gates.step import step
from tfgates.training.estimation import with_estimates
from tfgates.training.losses import penalties_of

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
    step.penalties = None
    with step.having(calls=(*step.calls, model)):
        # Within the pass of an outer GatedModel the outer one records.
        if step.recording is not None or not any(map(is_estimated, model.gates)):
            return call()
        record = Recording(model, call)
        with step.having(recording=record):
            record.outputs = call()
        if record.draws:
            step.finished = record
        return record.outputs


def take(model: Any) -> Recording | None:
    """Hands out the last recording of `model` in this thread, once, or None."""
    record = step.finished
    if record is None or record.model is not model:
        return None
    step.finished = None
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
            step.stateless = None
            outputs = self(*args, **kwargs)
            step.penalties = (self, penalties_of(self))
            return outputs
        record = step.recording
        if record is not None and record.model is self and not record.replaying:
            record.begin(state_of(self), unkept_noise())
        return call(self, *args, **kwargs)

    _wrapped.add(wrapper)
    return wrapper


def stateless(model: Any) -> contextlib.AbstractContextManager[None]:
    """Within it the next `call` of `model` is made a `__call__`: `stateless_call` of Keras, the forward pass of a
    training step on JAX, runs `call` alone."""
    step.penalties = None
    return step.having(stateless=model)


def is_stateless(model: Any) -> bool:
    """Whether the next `call` of `model` comes from its `stateless_call`."""
    return step.stateless is model


def penalties(model: Any) -> list[Any]:
    """What the gates of a model added to its losses in its last call, each for its `l0`."""
    noted = step.penalties
    # Outside of the scope of a `stateless_call` layers do not know their losses.
    return noted[1] if noted is not None and noted[0] is model else penalties_of(model)


def completed(compute_loss: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps the `compute_loss` of a model class: the outermost one adds what belongs to the gates.

    That is the penalty and the budget of the model, and the gradient of gates that has to be estimated from
    all that `compute_loss` returns, an overridden one included.
    """
    signature = inspect.signature(compute_loss)

    @functools.wraps(compute_loss)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if step.computing is self:
            return compute_loss(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        training = bool(bound.arguments.get("training", True))
        record = take(self) if training else None
        with step.having(computing=self):
            loss = compute_loss(self, *args, **kwargs)
        total = self._with_structure(loss, training)
        # The further passes clear the losses of the layers: all that needs them comes before them.
        return total if record is None else with_estimates(record, total, loss, compute_loss, bound)

    _wrapped.add(wrapper)
    return wrapper
