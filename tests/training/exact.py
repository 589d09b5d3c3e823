"""Expected gradients without a sampling error: by enumeration of the noise, and of the states of the gates.

The estimators are at most linear in the noise between the points where a state changes, so that the mean
over a cell is the value at its middle. What the loss of a state is Keras itself says, with the gates held.
"""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tests.calculus import array, compiled, differentiated, gradients
from tfgates import GatedModel
from tfgates.gates.estimators import ESTIMATORS


def size_of(gate: Any, batch: int) -> tuple[int, ...]:
    return (batch, *gate.unit_shape) if gate.sampling == "example" else gate.unit_shape


def cells(probability: float, estimator: str) -> list[tuple[float, list[float]]]:
    """Pairs (chance, noise of each draw) that stand for all noise of one unit."""
    bounds = sorted({0.0, probability, 1.0 - probability, 1.0})
    middles = [(b - a, (a + b) / 2) for a, b in itertools.pairwise(bounds)]
    independent = 1 + ESTIMATORS[estimator][1].count("independent")
    if independent == 1:
        return [(chance, [u]) for chance, u in middles]
    halves = [(probability, probability / 2), (1.0 - probability, (1.0 + probability) / 2)]
    products = itertools.product(halves, repeat=independent)
    return [(float(np.prod([p for p, _ in each])), [u for _, u in each]) for each in products]


def split(values: Any, model: GatedModel, batch: int) -> list[np.ndarray]:
    """One value for each unit (and example), in the shapes of the gates."""
    values, found = list(values), []
    for gate in model.gates:
        shape = size_of(gate, batch)
        count = int(np.prod(shape))
        found.append(np.array(values[:count], "float32").reshape(shape))
        values = values[count:]
    assert not values
    return found


def probabilities(model: GatedModel, batch: int) -> list[float]:
    found: list[float] = []
    for gate in model.gates:
        p = ops.convert_to_numpy(gate.open_probability())
        found += np.broadcast_to(p, size_of(gate, batch)).reshape(-1).astype("float64").tolist()
    return found


def estimated(model: GatedModel, step: Callable[[], Any], batch: int) -> list[np.ndarray]:
    """The expectation of what training gives as the gradient of each gate's logits.

    Args:
        step: a function that calls the model and returns the loss of a training step.
    """
    options = []
    for gate in model.gates:
        p = ops.convert_to_numpy(gate.open_probability())
        for each in np.broadcast_to(p, size_of(gate, batch)).reshape(-1).astype("float64"):
            options.append(cells(float(each), gate.estimator))
    variables = [gate.logits for gate in model.gates]
    choices = choices_of(model)

    def loss_of(choice: Any, *noises: Any) -> Any:
        flipping = [gate for gate in model.gates if gate.flips]
        for index, gate in enumerate(model.gates):
            own = [noise[index] for noise in noises]
            # The first gate of which units may be flipped draws which.
            gate.uniform = noise_of([*own, choice] if gate in flipping[:1] else own)
        return step()

    gradients_of = differentiated(loss_of, variables, compiled=True)
    total = [np.zeros(gate.unit_shape) for gate in model.gates]
    weight = 0.0
    for combination, choice in itertools.product(itertools.product(*options), choices):
        chance = float(np.prod([p for p, _ in combination])) / len(choices)
        draws = max(len(u) for _, u in combination)
        noises = [split([u[min(k, len(u) - 1)] for _, u in combination], model, batch) for k in range(draws)]
        weight += chance
        for sum_, gradient in zip(total, gradients_of(*as_tensors([choice, *noises])), strict=True):
            sum_ += chance * gradient
    np.testing.assert_allclose(weight, 1.0, rtol=1e-6)
    return total


def choices_of(model: GatedModel) -> list[np.ndarray]:
    """Noise that flips each unit as often as the others, of all gates that have one flipped."""
    units = sum(int(np.prod(gate.unit_shape)) for gate in model.gates if gate.flips)
    return [np.array([(k + 0.5) / units], "float32") for k in range(units)] or [np.zeros(1, "float32")]


def as_tensors(values: Any) -> Any:
    return keras.tree.map_structure(ops.convert_to_tensor, values)


def noise_of(tensors: list[Any]) -> Callable[[Any], Any]:
    turns = itertools.cycle(tensors)
    return lambda shape: next(turns)


def exact(model: GatedModel, step: Callable[[], Any], batch: int) -> list[np.ndarray]:
    """The gradient of the expected loss for each gate's logits, by enumeration of all states."""

    @compiled
    def loss_of(states: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for gate, values in zip(model.gates, states, strict=True):
                stack.enter_context(gate.held(values))
            return step()

    p = np.array(probabilities(model, batch))
    gradient = np.zeros_like(p)
    for state in itertools.product([0.0, 1.0], repeat=len(p)):
        z = np.array(state)
        loss = float(array(loss_of(as_tensors(split(z, model, batch)))))
        chances = np.where(z == 1.0, p, 1.0 - p)
        for unit in range(len(p)):
            gradient[unit] += np.prod(np.delete(chances, unit)) * loss * (1.0 if z[unit] else -1.0)
    found = []
    for gate, values in zip(model.gates, split(gradient, model, batch), strict=True):
        values = values.astype("float64")
        (slope,) = gradients(lambda gate=gate: ops.sum(gate.open_probability()), [gate.logits])
        # The penalty is the same in every state, but depends on the logits.
        penalty = gate.l0 * gate.weights_per_unit
        found.append(slope * ((values.sum(0) if gate.sampling == "example" else values) + penalty))
    return found


def plain_step(model: keras.Model, *given: Any) -> Callable[[], Any]:
    """A training step as Keras does it."""
    x, y, *weights = given

    def step() -> Any:
        y_pred = model(x, training=True)
        return model._compute_loss(x, y, y_pred, weights[0] if weights else None, training=True)

    return step
