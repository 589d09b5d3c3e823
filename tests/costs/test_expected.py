"""Expected cost against the mean of the actual cost over sampled gates."""

import contextlib

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array, gradients
from tests.slow import others_slow
from tfgates import layers
from tfgates.costs.expected import ExpectedCost
from tfgates.gates import HardConcreteGate as Gate
from tfgates.pruning.plan import PruningPlan

K = keras.layers


def convolve(x, filters=8, **settings):
    return K.Conv2D(filters, 3, padding="same", activation="relu", **settings)(x)


def head(x):
    return K.Dense(3)(K.GlobalAveragePooling2D()(x))


def chain(inputs):
    x = layers.GatedConv2D(8, 3, activation="relu")(inputs)
    x = layers.GatedBatchNormalization()(convolve(x))
    return head(x)


def addition(inputs):
    """A channel stays if either summand is open."""
    x = K.Add()([Gate()(convolve(inputs)), Gate()(convolve(inputs))])
    return head(convolve(x, 4))


def three_summands(inputs):
    gates = [Gate(), Gate(), Gate()]
    x = K.Add()([gate(convolve(inputs, 6)) for gate in gates])
    # The first gate once more behind the sum: its units are then on both sides of the next kernel.
    return head(convolve(gates[0](convolve(x, 6)), 4))


def concatenation(inputs):
    x = K.Concatenate()([Gate()(convolve(inputs, 5)), Gate()(convolve(inputs, 6)), inputs])
    return head(Gate()(convolve(x, 7)))


def flatten(inputs):
    """Single positions go by the gate on the inputs of the dense layer, channels by their own."""
    x = Gate()(convolve(inputs, 6))
    x = K.Flatten()(K.MaxPooling2D(3)(x))
    x = layers.GatedDense(9, activation="relu", gated="inputs")(x)
    return layers.GatedDense(3, gated="inputs")(x)


def blocks(inputs):
    """Whole branches, with gates inside of them and one on the stream in front."""
    x = Gate()(convolve(inputs, 6))
    for _ in range(2):
        y = Gate()(convolve(x, 7))
        x = K.Add()([x, Gate(axis=None)(K.Conv2D(6, 1, use_bias=False)(y))])
    return head(x)


def depthwise(inputs):
    x = Gate()(convolve(inputs, 6))
    x = K.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = K.SeparableConv2D(7, 3, use_bias=False)(x)
    return head(K.Conv2D(6, 1, groups=2)(Gate(groups=2)(K.Conv2D(6, 1)(x))))


def shared(inputs):
    layer = K.Conv2D(6, 3, padding="same", use_bias=False)
    gate = Gate()
    x = gate(layer(Gate()(convolve(inputs, 6))))
    return head(gate(layer(x)))


def tied(inputs):
    x = convolve(inputs, 6)
    for _ in range(2):
        x = K.ReLU()(K.Add()([x, K.Conv2D(6, 3, padding="same")(convolve(x, 5))]))
    return head(x)


NETWORKS = [chain, addition, three_summands, concatenation, flatten, blocks, depthwise, shared, tied]


def build(network, seed=0):
    inputs = keras.Input((6, 6, 3))
    if network is tied:
        plain = keras.Model(inputs, network(inputs))
        model = tfgates.gate_model(plain, residual=("inner", "tied"))
    else:
        model = tfgates.GatedModel(inputs, network(inputs))
    generator = np.random.default_rng(seed)
    for gate in model.gates:
        # P(open) from .5 to .95, but so that a whole layer practically never closes.
        gate.logits.assign(generator.uniform(-1.6, 1.4, gate.unit_shape))
    return model


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@pytest.mark.parametrize("draws", [25, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("network", NETWORKS)
def test_expected_cost_is_the_mean_of_the_actual_cost(network, draws):
    model = build(network)
    expected = ExpectedCost(model)
    assert {gate.name for gate in expected.gates} == {gate.name for gate in model.gates}
    probabilities = [np.asarray(gate.open_probability()) for gate in model.gates]
    generator = np.random.default_rng(1)
    found = []
    while len(found) < draws:
        states = [generator.random(p.shape) < p for p in probabilities]
        if any(not s.any() for gate, s in zip(model.gates, states, strict=True) if gate.axis is not None):
            # What `ExpectedCost` takes for granted; happens less than once in a hundred draws.
            continue
        with contextlib.ExitStack() as stack:
            for gate, state in zip(model.gates, states, strict=True):
                stack.enter_context(gate.held(state.astype("float32")))
            plan = PruningPlan(model)
        found.append((plan.params, plan.macs))
    by_gate = dict(zip(model.gates, probabilities, strict=True))
    claimed = expected.evaluate([by_gate[gate] for gate in expected.gates])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(error > 0)
    assert np.all(np.abs(mean - claimed) < 4 * error), (mean, claimed, error)


@pytest.mark.parametrize("network", NETWORKS)
def test_expected_cost_of_a_certain_state_is_the_actual_cost(network):
    model = build(network)
    expected = ExpectedCost(model)
    generator = np.random.default_rng(2)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            values = []
            for gate in expected.gates:
                value = (generator.random(gate.units) < 0.6).astype("float32")
                value[0] = 1.0
                values.append(value)
                stack.enter_context(gate.held(value))
            plan = PruningPlan(model)
        assert expected.evaluate(values) == pytest.approx((plan.params, plan.macs))
        assert expected.layers(values).sum(axis=0) == pytest.approx((plan.params, plan.macs))


@pytest.mark.parametrize("network", others_slow([three_summands, blocks, chain, flatten], 2))
def test_fractions_equal_numpy_and_their_gradient_finite_differences(network):
    model = build(network)
    expected = ExpectedCost(model)
    logits = [array(gate.logits).astype(np.float64) for gate in expected.gates]

    def fractions(logits):
        # P(open) of the hard concrete gate, arXiv 1712.01312, equation 12.
        shift = -2.0 / 3.0 * np.log(0.1 / 1.1)
        params, macs = expected.evaluate([sigmoid(value + shift) for value in logits])
        return np.array([params / expected.dense_params, macs / expected.dense_macs])

    np.testing.assert_allclose(array(expected.fractions()), fractions(logits), rtol=1e-5)
    variables = [gate.logits for gate in expected.gates]
    rows = [gradients(lambda i=i: expected.fractions()[i], variables) for i in range(2)]
    for g, gradient in enumerate(zip(*rows, strict=True)):
        for unit in range(len(logits[g])):
            high, low = ([v.copy() for v in logits] for _ in range(2))
            high[g][unit] += 1e-4
            low[g][unit] -= 1e-4
            difference = (fractions(high) - fractions(low)) / 2e-4
            np.testing.assert_allclose(np.asarray(gradient)[:, unit], difference, rtol=1e-3, atol=1e-7)


def test_a_network_without_gates_costs_what_it_costs():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, head(convolve(inputs, 4)))
    expected = ExpectedCost(model)
    assert expected.gates == [] and expected.probabilities() == []
    assert expected.evaluate([]) == (3 * 9 * 4 + 4 + 4 * 3 + 3, 36 * 3 * 9 * 4 + 4 * 3)
    np.testing.assert_allclose(expected.fractions(), [1.0, 1.0], rtol=1e-6)
