"""Arguments of gates: a default, checks, and what must stay in full precision."""

from collections.abc import Collection
from typing import Any

from tfgates.keras_internals import take_arguments_as_they_are, takes_arguments_as_they_are

# Nearly open: an untrained network learns, and a trained one keeps what it knows; and not so far out that
# hardly anything moves a gate.
INITIAL_OPEN_PROBABILITY = 0.95


def check_probability(name: str, value: float) -> float:
    """Raises a `ValueError` unless `value` lies strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"`{name}` must lie strictly between 0 and 1. Received: {name}={value}")
    return float(value)


def check_choice(name: str, value: str, allowed: Collection[str]) -> str:
    """Raises a `ValueError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {list(allowed)}. Received: {name}={value!r}")
    return value


def with_full_precision(layer: Any, inputs: Any, logits: Any, noise: Any, kwargs: dict[str, Any]) -> tuple[Any]:
    """Puts `logits` and `noise` into `kwargs`, so that a layer gets them in float32; returns `(inputs,)`.

    Under a mixed policy Keras casts every float argument of a call, which would round the logits
    and noise near 1 to 1; here only the inputs are cast.
    """
    given = {name: tensor for name, tensor in (("logits", logits), ("noise", noise)) if tensor is not None}
    if given or takes_arguments_as_they_are(layer):
        take_arguments_as_they_are(layer)
        inputs = layer.dtype_policy.convert_input(inputs, layer.autocast, layer.input_dtype)
    kwargs.update(given)
    return (inputs,)
