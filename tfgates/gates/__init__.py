"""How open is each unit? One method per file."""

import functools
from collections.abc import Callable
from typing import Any

import keras

from tfgates.gates.base import Gate
from tfgates.gates.bernoulli import BernoulliGate
from tfgates.gates.hard_concrete import HardConcreteGate, hard_concrete
from tfgates.gates.of_model import gates_of
from tfgates.gates.reinmax import ReinMaxGate
from tfgates.gates.scaling import ScalingGate

# Each name that `gate=` accepts, and the gate that it makes from keyword arguments.
NAMES: dict[str, Callable[..., Gate]] = {
    "ar": functools.partial(BernoulliGate, estimator="ar"),
    "arm": functools.partial(BernoulliGate, estimator="arm"),
    "bernoulli": BernoulliGate,
    "bitflip": functools.partial(BernoulliGate, estimator="bitflip"),
    "disarm": functools.partial(BernoulliGate, estimator="disarm"),
    "double_control_variates": functools.partial(BernoulliGate, estimator="double_control_variates"),
    "hard_concrete": HardConcreteGate,
    "reinforce_leave_one_out": functools.partial(BernoulliGate, estimator="reinforce_leave_one_out"),
    "reinmax": ReinMaxGate,
    "scaling": functools.partial(ScalingGate, nonnegative=True),
    "ugc": functools.partial(BernoulliGate, estimator="ugc"),
}


def get(identifier: Any, **arguments: Any) -> Gate:
    """Returns a gate from a gate, its name as a string, or its serialised config.

    Args:
        identifier: a `Gate`, one of the names in `tfgates.gates.NAMES`, or a config made by
            `keras.saving.serialize_keras_object(gate)`.
        **arguments: arguments for a gate that is made from its name.
    """
    if isinstance(identifier, Gate):
        return identifier
    if isinstance(identifier, dict):
        gate = keras.saving.deserialize_keras_object(identifier)
        if isinstance(gate, Gate):
            return gate
    if isinstance(identifier, str) and identifier in NAMES:
        return NAMES[identifier](**arguments)
    raise ValueError(
        f"`gate` must be a tfgates.gates.Gate, its config, or one of {sorted(NAMES)}. Received: gate={identifier!r}"
    )


__all__ = [
    "NAMES",
    "BernoulliGate",
    "Gate",
    "HardConcreteGate",
    "ReinMaxGate",
    "ScalingGate",
    "gates_of",
    "get",
    "hard_concrete",
]
