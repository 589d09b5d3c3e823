"""What callbacks need of the optimizer, told before the first step."""

from typing import Any

import keras

from tfgates.keras_internals import learning_rate_of
from tfgates.optimizers.gated_optimizer import of_weights


def flat(callbacks: Any) -> list[Any]:
    """The callbacks in what `fit` takes as `callbacks`: a list, one alone, or None."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return [each for each in keras.tree.flatten(callbacks) if each is not None]


def check_instances(callbacks: Any) -> None:
    """Refuses what is no callback, such as the class of one."""
    for each in flat(callbacks):
        if not isinstance(each, keras.callbacks.Callback):
            wanted = f"{each.__name__}(...)" if isinstance(each, type) else "keras.callbacks.EarlyStopping(...)"
            raise ValueError(f"`callbacks` must be instances of callbacks, such as {wanted}. Received: {each!r}")


def sets_learning_rate(callback: Any) -> bool:
    """Whether a callback of Keras sets the learning rate."""
    return isinstance(callback, (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau))


def follows_schedule(optimizer: Any) -> bool:
    """Whether the learning rate of the weights is a schedule or another function, which nobody can set."""
    return callable(rate_of(optimizer))


def rate_of(optimizer: Any) -> Any:
    """The learning rate of the weights as it was given, or the variable that holds it."""
    return learning_rate_of(of_weights(optimizer))


def averages(optimizer: Any) -> bool:
    """Whether an optimizer averages the weights, or one of several does."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    several = getattr(optimizer, "optimizers", None)
    return any(getattr(each, "use_ema", False) for each in ([of_weights(optimizer)] if several is None else several))


def check_callbacks(callbacks: Any, optimizer: Any, rate: str = "learning_rate", where: str = "") -> None:
    """Refuses callbacks that would fail with `optimizer` in the midst of a training.

    Args:
        callbacks: what `fit` takes.
        optimizer: a Keras optimizer.
        rate: str, the argument by which its learning rate was given.
        where: str, what `callbacks` are to be written for, such as `"optimizer="` of a function.
    """
    for callback in flat(callbacks):
        name = type(callback).__name__
        if sets_learning_rate(callback) and follows_schedule(optimizer):
            raise ValueError(
                f"`callbacks` must not hold a {name} where the learning rate that `{rate}` gives is a schedule, which "
                "nothing else can set: leave out the callback, or give a number as the learning rate. "
                f"Received: {name}"
            )
        if isinstance(callback, keras.callbacks.SwapEMAWeights) and not averages(optimizer):
            kind = type(of_weights(optimizer)).__name__
            raise ValueError(
                "`callbacks` can hold a SwapEMAWeights where the optimizer averages the weights: give "
                f"{where}keras.optimizers.{kind}(..., use_ema=True). Received: SwapEMAWeights and {kind} without"
            )
