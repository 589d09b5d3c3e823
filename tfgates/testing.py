"""The list of methods, which every suite and benchmark goes over, and what holds of each of them."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates import gates
from tfgates.callbacks import SparseScaling
from tfgates.gates import Gate, ScalingGate
from tfgates.gating.gate_model import gate_model
from tfgates.pruning import prune

__all__ = ["METHODS", "Method", "check_gate", "methods"]

# Names that are another word for the gate of another name.
ALIASES = {"bernoulli": "disarm"}

# The orders of a `tfgates.layers.GateGenerator`: methods of their own, on gates of some kind.
GENERATORS = ("forward", "backward")

# Values of a gate's variable at which its units are closed: one of them must be.
CLOSED = (0.0, -0.5, -8.0, -100.0)


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train gates.

    Attributes:
        name: as it is called in tables.
        gate: one of the names in `tfgates.gates.NAMES`.
        generator: None, or the order of the generator that makes the logits.
    """

    name: str
    gate: str
    generator: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `tfgates.gate_model` and the networks of `tfgates.applications` need to be gated by this method."""
        return {"gate": self.gate} if self.generator is None else {"gate": self.gate, "generator": self.generator}

    def callbacks(self, strength: float = 0.1) -> list[keras.callbacks.Callback]:
        """What `fit` needs so that gates without their own penalty close: `SparseScaling` for scaling gates."""
        return [SparseScaling(strength)] if isinstance(gates.get(self.gate), ScalingGate) else []


def methods() -> dict[str, Method]:
    """All methods by name: those that `tfgates.gates.NAMES` has now, each once, and the generators."""
    found = {name: Method(name, name) for name in gates.NAMES if name not in ALIASES}
    return found | {order: Method(order, "hard_concrete", order) for order in GENERATORS}


METHODS = methods()


def check_gate(gate: Any, seed: int = 0) -> None:
    """Checks on a small network what every gate promises: for your own gates, as the tests do for those of tfgates.

    * The config makes the gate again.
    * The gate starts at the open probability that it was given.
    * The same seed gives the same draw, in the shape of the units.
    * Open probabilities and gate values agree, and units can be closed.
    * The cost of open units has a gradient.
    * A training step changes the gate.
    * A network with half of its units closed is pruned to an equal one.

    Args:
        gate: a name in `tfgates.gates.NAMES`, or a `Gate` that is not built.
        seed: int, of the random numbers.

    Raises:
        ValueError: with the first of these that does not hold.
    """
    gate = gates.get(gate)
    if gate.built:
        raise ValueError(f"`gate` must not be built yet. Received: gate={gate!r}")
    for problem in problems(gate, seed):
        raise ValueError(f"{type(gate).__name__} does not pass: {problem}. Received: gate={gate!r}")


def problems(gate: Gate, seed: int) -> Iterator[str]:
    """What does not hold of a gate, found one by one."""
    config = gate.get_config()
    again = type(gate).from_config(json.loads(json.dumps(config)))
    if again.get_config() != config:
        yield "its config makes another gate"
    if keras.saving.get_registered_name(type(gate)) == type(gate).__name__:
        yield "its class must be registered (`keras.saving.register_keras_serializable`), or its file cannot be loaded"
    if "initial_open_probability" in config:
        for p in (0.3, 0.9):
            found = numbers(built(type(gate).from_config({**config, "initial_open_probability": p})).open_probability())
            if not np.allclose(found, p, atol=1e-4):
                yield f"with initial_open_probability={p} it starts at {found[0]:.4f}"
    draws = [numbers(built(type(gate).from_config({**config, "seed": 3})).draw(True, 2)) for _ in range(2)]
    if draws[0].shape[-1:] != (6,) or not np.array_equal(draws[0], draws[1]):
        yield "the same seed must give the same draw, with an entry for each unit"
    yield from problems_at_values(built(type(gate).from_config(config)))
    yield from problems_of_training(type(gate).from_config(config), seed)


def problems_at_values(gate: Gate) -> Iterator[str]:
    """Whether open probabilities, gate values and the units that count as open agree."""
    variable = getattr(gate, gate.variable_name)
    start = numbers(variable)
    p, z = numbers(gate.open_probability()), numbers(gate.test_gates())
    if np.any(p < 0.0) or np.any(p > 1.0) or not np.all(np.isfinite(z)):
        yield "open probabilities must lie in [0, 1], and gate values be finite"
    if not np.all(z != 0.0):
        yield "the units of a new gate must be open at inference"
    value = closing_value(gate)
    if value is None:
        yield f"its units are not closed at any of the values {CLOSED} of `{gate.variable_name}`"
    else:
        variable.assign(np.full(6, value))
        if np.any(numbers(gate.open_probability()) > p):
            yield "closed units must not have a higher open probability than those of a new gate"
        variable.assign(start)


def closing_value(gate: Gate) -> float | None:
    """A value of a built gate's variable at which its units are closed, None if there is none among those tried."""
    variable = getattr(gate, gate.variable_name)
    before, found = numbers(variable), None
    for value in CLOSED:
        variable.assign(np.full(variable.shape, value))
        if found is None and np.all(numbers(gate.test_gates()) == 0.0):
            found = value
    variable.assign(before)
    return found


def problems_of_training(gate: Gate, seed: int) -> Iterator[str]:
    """Whether a step trains it, and what is closed can be pruned."""
    generator = np.random.default_rng(seed)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(6, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=seed))(inputs)
    outputs = keras.layers.Dense(2, kernel_initializer=keras.initializers.HeNormal(seed=seed))(hidden)
    model = gate_model(keras.Model(inputs, outputs), gate, penalty={"params": 1.0})
    (made,) = model.gates
    variable = getattr(made, made.variable_name)
    before = numbers(variable)
    model.compile(keras.optimizers.SGD(0.1), "mse", gate_optimizer=keras.optimizers.SGD(0.1))
    x, y = generator.normal(size=(8, 4)).astype("float32"), generator.normal(size=(8, 2)).astype("float32")
    model.train_on_batch(x, y)
    after = numbers(variable)
    if not np.all(np.isfinite(after)) or np.array_equal(after, before):
        yield "a training step under a penalty must change its variable, to finite numbers"
    value = closing_value(made)
    if value is None:
        return
    variable.assign(np.where(generator.permutation(6) < 3, value, before))
    # It compares the two networks.
    small = prune(model)
    if small.count_params() != 4 * 3 + 3 + 3 * 2 + 2:
        yield "a network with 3 of 6 units closed must lose them"


def built(gate: Gate) -> Gate:
    """The gate, on six units."""
    gate.build((None, 6))
    return gate


def numbers(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))
