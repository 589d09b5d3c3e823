"""Random networks: what is pruned computes the same and costs what was said, or is refused."""

import re

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfgates
from tests.calculus import array
from tests.graph.odd_layers import flags
from tests.graph.oracle import macs_of
from tests.graph.random_networks import random_network, randomise
from tfgates.graph import equality
from tfgates.graph.examples import input_shapes, numbers_of
from tfgates.graph.network import Network
from tfgates.layers import AddedLoss, AsMany, Constant, Operator, StackedDense, Weight, WithMask
from tfgates.pruning import ClosedLayerError
from tfgates.pruning.lineage import names_of, origins_of
from tfgates.pruning.prune import rebuilt

# Keras says so of each layer that does not hand a mask on.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking"),
    # Of an axis that pooling or pruning has brought to one.
    pytest.mark.filterwarnings("ignore:(.|\\n)*You are using a softmax over axis"),
]


def outputs_of(model, x):
    with equality.state_kept(model):
        return [array(y) for y in keras.tree.flatten(model(x, training=False))]


# How a network is called, on how many examples, from which seed.
WAYS = (({"training": False}, 2, 1), ({}, 2, 2), ({}, 3, 3))


def inputs_of(network, seed, examples=2):
    shapes = [(examples, *shape[1:]) for shape in input_shapes(network)]
    return keras.tree.pack_sequence_as(network.functional._inputs_struct, numbers_of(network, shapes, seed))


def assert_same(network, model, other, ways=WAYS):
    """Two models compute the same, in whatever way they are called; noise and gates are as they are in comparisons."""
    for call, examples, seed in ways:
        x = inputs_of(network, seed, examples)
        expected = equality.outputs_of(model, x, call)
        difference = equality.first_difference(expected, other, x, 1e-4, call)
        exact = call == {"training": False}
        if difference is not None and not (not exact and equality.amplified(model, x, expected, difference, call)):
            raise AssertionError(f"{difference}, called with {call} on {examples} examples")
    # And without any help of the comparison.
    x = inputs_of(network, 4)
    for a, b in zip(outputs_of(model, x), outputs_of(other, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * max(np.max(np.abs(a)), 1e-6))


def cannot_be_called(network):
    """Whether the network itself fails.

    Keras lets a layer with a PReLU inside be reused on another rank; attention to values of another width than the keys
    fails with JAX.
    """
    try:
        outputs_of(network.model, inputs_of(network, 1))
    except Exception:
        return True
    return False


def lambda_inside(error):
    """Whether a nested model was refused because no lambda is in its config."""
    return bool(re.search("Layer '(functional|sequential)[_0-9]*' cannot be copied", str(error)))


def check(model, min_units=0, round_to=1):
    """Prunes and compares; returns what came of it, a word."""
    plan = tfgates.plan_pruning(model, min_units, round_to)
    weights = [array(v) for v in model.variables]
    if plan.empty:
        assert min_units == 0
        with pytest.raises(ClosedLayerError, match=plan.empty[0]):
            tfgates.prune(model, plan=plan)
        return "refused"
    try:
        pruned = tfgates.prune(model, plan=plan)
    except ValueError as error:
        # A gate inside of a nested model that stays whole, or a lambda: it is copied by its config.
        gates = "Gates must be where the calls of `model` can be followed" in str(error)
        assert ((gates or lambda_inside(error)) and plan.alone) or cannot_be_called(plan.network), error
        return "refused"
    assert_same(plan.network, model, pruned)
    ours = {type(layer) for layer in pruned._flatten_layers() if "tfgates" in type(layer).__module__}
    assert ours <= {AddedLoss, AsMany, Constant, Operator, StackedDense, Weight, WithMask}
    assert pruned.count_params() == plan.params
    check_flags(plan.network, pruned)
    assert macs_of(pruned) == plan.macs
    check_slices(plan)
    again = tfgates.plan_pruning(pruned)
    assert (again.dense_params, again.dense_macs) == (plan.params, plan.macs)
    for before, variable in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(before, array(variable))
    if min_units == 0 and round_to == 1:
        cost = tfgates.cost(model)
        assert (cost.params, cost.macs) == (plan.params, plan.macs)
        assert (cost.dense_params, cost.dense_macs) == (plan.dense_params, plan.dense_macs)
    return "smaller" if plan.params < plan.dense_params else "equal"


def check_slices(plan):
    """Each variable that is left is what the slices leave of one before, with its folds; the others go by name."""
    pruned, surgery = rebuilt(plan)
    slices = plan.slices
    heirs = surgery.heirs(slices)
    assert len(slices) == len({id(v) for v in plan.model.variables})
    assert {id(heir.variable) for heir in heirs} >= {id(v) for v in pruned.weights}
    for heir in heirs:
        value = heir.value()
        np.testing.assert_allclose(array(heir.variable), value.reshape(heir.variable.shape), rtol=1e-6, atol=1e-7)
        assert heir.folds or heir.source is not None
    sources = {id(heir.source.variable) for heir in heirs if heir.source is not None}
    for each in slices:
        assert each.name and (each.dropped == "") == (id(each.variable) in sources), each.name
        assert each.take(np.zeros(each.variable.shape)).size <= np.zeros(each.variable.shape).size


def check_flags(network, pruned):
    """What is left is trained as it was, down to single variables."""
    calls = names_of(network)
    for name, origin in origins_of(pruned).items():
        new, old = pruned.get_layer(name), next(n.op for n in (calls.get(name) or calls[origin.name]))
        assert new.trainable == old.trainable, name
        if len(new.weights) == len(old.weights) and type(new) is type(old):
            assert [v.trainable for v in new.weights] == [v.trainable for v in old.weights], name


def network(draw_from, steps, seed, gated=True):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    model = random_network(draw_from, steps, gated)
    if gated or draw_from([True, True, False]):
        randomise(model, seed)
    return model


def check_gating(model, seed, residual):
    """Gates a network, compares it with its gates open, and prunes it; returns what came of it."""
    try:
        gated = tfgates.gate_model(model, residual=residual)
    except ValueError as error:
        # A nested model that stays whole, for its own mask, is copied by its config, which no lambda is in.
        assert lambda_inside(error) or "has no layer that can be gated" in str(error), error
        return "refused"
    if ELSEWHERE and cannot_be_called(Network(model)):
        return "refused"
    assert flags(gated.weights) == flags(model.weights)
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.unit_shape, 5.0))
    # With its gates open it trains alike, too.
    assert_same(Network(model), model, gated, (*WAYS, ({"training": True}, 3, 5)))
    # Training leaves other weights than those that the places were found with.
    randomise(gated, seed + 1)
    return check(gated)


def from_generator(generator):
    return lambda options: options[int(generator.integers(len(options)))]


SETTINGS = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
}
RESIDUAL = ["inner", "tied", "block", ("tied", "block")]


@settings(max_examples=20, **SETTINGS)
@given(data=st.data(), steps=st.integers(3, 10), seed=st.integers(0, 2**16), rounded=st.integers(0, 3))
def test_pruned_networks_compute_the_same(data, steps, seed, rounded):
    model = network(lambda options: data.draw(st.sampled_from(options)), steps, seed)
    # One in four with the wider rounding; both ask for units that are closed to stay.
    check(model, *((1, 8) if rounded == 0 else (0, 1)))


@settings(max_examples=10, **SETTINGS)
@given(data=st.data(), steps=st.integers(3, 10), seed=st.integers(0, 2**16), residual=st.sampled_from(RESIDUAL))
def test_networks_are_gated_as_they_are(data, steps, seed, residual):
    model = network(lambda options: data.draw(st.sampled_from(options)), steps, seed, gated=False)
    check_gating(model, seed, residual)


# How many networks come of a seed, and how many seeds: 2,000 and 200 with TensorFlow; 300 and 60 elsewhere, in small
# parts for a backend that compiles slowly.
ELSEWHERE = keras.backend.backend() != "tensorflow"
PRUNED, GATED = ((20, 15), (10, 6)) if ELSEWHERE else ((100, 20), (50, 4))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(GATED[1]))
def test_two_hundred_networks_are_gated(seed):
    generator = np.random.default_rng(seed)
    found = {"smaller": 0, "equal": 0, "refused": 0}
    for i in range(GATED[0]):
        draw = from_generator(generator)
        model = network(draw, int(generator.integers(3, 14)), int(generator.integers(2**16)), gated=False)
        found[check_gating(model, i, draw(RESIDUAL))] += 1
    assert found["smaller"] > 0.2 * GATED[0], found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(PRUNED[1]))
def test_two_thousand_networks(seed):
    """Networks from numpy's generator of this seed."""
    generator = np.random.default_rng(seed)
    found = {"smaller": 0, "equal": 0, "refused": 0}
    for _ in range(PRUNED[0]):
        model = network(from_generator(generator), int(generator.integers(3, 14)), int(generator.integers(2**16)))
        found[check(model, *((1, 8) if generator.random() < 0.25 else (0, 1)))] += 1
    assert found["smaller"] > 0.15 * PRUNED[0], found
