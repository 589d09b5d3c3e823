"""Networks that are gated untrained and pruned when everything in them has another value."""

import itertools

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array
from tests.graph.random_networks import randomise
from tests.graph.test_budgets import exceeded
from tests.layer_scale import LayerScale
from tfgates.costs.expected import ExpectedCost
from tfgates.pruning.plan import PruningPlan
from tfgates.selection import Unchanged, held

K = keras.layers
SAME = {"padding": "same", "use_bias": False}


def excite(x, filters):
    s = K.Reshape((1, 1, filters))(K.GlobalAveragePooling2D()(x))
    s = K.Conv2D(4, 1, activation="relu")(s)
    return K.Multiply()([x, K.Conv2D(filters, 1, activation="sigmoid")(s)])


def expansion(inputs):
    """An inverted residual: what closes in front of the depthwise normalisation is no 0 behind it."""
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(8, 1, use_bias=False)(inputs)))
    x = K.DepthwiseConv2D(3, **SAME)(x)
    x = excite(K.Activation("silu")(K.BatchNormalization()(x)), 8)
    return K.BatchNormalization()(K.Conv2D(6, 1, use_bias=False)(x))


def zero_gamma(inputs):
    x = K.Conv2D(6, 1)(inputs)
    y = K.Conv2D(6, 3, **SAME)(K.ReLU()(K.BatchNormalization()(K.Conv2D(8, 3, **SAME)(x))))
    return K.Add()([x, K.BatchNormalization(gamma_initializer="zeros")(y)])


def zero_kernels(inputs):
    x = K.Conv2D(8, 3, activation="relu")(inputs)
    x = K.DepthwiseConv2D(3, padding="same", depthwise_initializer="zeros")(x)
    return K.Conv2D(6, 3, padding="same", kernel_initializer="zeros", activation="relu")(x)


def scaled(inputs):
    x = K.Conv2D(6, 1)(inputs)
    y = K.Conv2D(8, 1, activation="gelu")(K.Conv2D(8, 3, padding="same")(x))
    return K.Add()([x, LayerScale()(K.Conv2D(6, 1)(y))])


def slopes(inputs):
    x = K.Conv2D(8, 1)(inputs)
    x = K.PReLU(shared_axes=[1, 2])(K.BatchNormalization()(K.DepthwiseConv2D(3, **SAME)(x)))
    return K.Conv2D(6, 3, **SAME)(x)


def without_bias(inputs):
    """The constants of what is closed need a bias that the network did not have."""
    x = K.Activation("sigmoid")(K.BatchNormalization()(K.Conv2D(8, 3)(inputs)))
    x = K.Conv2D(8, 1, use_bias=False, activation="softplus")(x)
    return K.Dense(6, use_bias=False)(x)


def twice(inputs):
    """A layer in a branch and behind it, whose weights stay when the branch goes."""
    layer = K.Conv2D(6, 1)
    x = K.Conv2D(6, 1)(inputs)
    y = K.Conv2D(6, 1)(layer(x))
    return layer(K.Add()([x, y]))


def constant_sum(inputs):
    """An addition of constants alone has to keep one of them."""
    x = K.Multiply()([inputs, K.Conv2D(3, 1)(inputs)])
    x = tfgates.gates.HardConcreteGate(axis=None)(x)
    return K.Add()([x, K.Conv2D(3, 1)(x)])


NETWORKS = [expansion, zero_gamma, zero_kernels, scaled, slopes, without_bias, twice, constant_sum]
RESIDUAL = ("inner", "tied", "block")


def make(network, seed=None):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7, 7, 3))
    model = keras.Model(inputs, K.Dense(3)(K.GlobalAveragePooling2D()(network(inputs))))
    if seed is not None:
        train(model, seed)
    return model


def train(model, seed):
    """Another value for everything: weights, statistics and gates."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))
    randomise(model, seed, zeros=0.0)


@pytest.mark.parametrize("residual", RESIDUAL)
@pytest.mark.parametrize("network", NETWORKS[:-1])
def test_places_do_not_depend_on_the_weights_of_today(network, residual):
    reports = []
    for model in (make(network), make(network, seed=1)):
        try:
            report = tfgates.gate_model(model, residual=residual).report
            reports.append((report.gated, report.skipped))
        except ValueError as error:
            reports.append(str(error).split("Received")[0])
    assert reports[0] == reports[1]


@pytest.mark.parametrize("network, residual", [*itertools.product(NETWORKS[:-1], RESIDUAL), (constant_sum, None)])
def test_no_layer_costs_more_than_was_promised(network, residual):
    model = make(network)
    try:
        gated = tfgates.gate_model(model, residual=residual) if residual else model
    except ValueError as error:
        assert "has no layer that can be gated" in str(error)
        return
    expected = ExpectedCost(gated)
    dense = tfgates.plan_pruning(gated)
    assert (expected.dense_params, expected.dense_macs) == (dense.dense_params, dense.dense_macs)
    train(gated, seed=1)
    generator = np.random.default_rng(0)
    for _ in range(4):
        values = {gate: (generator.random(gate.units) < 0.5).astype("float32") for gate in expected.gates}
        for gate, value in values.items():
            if gate.axis is not None:
                value[int(generator.integers(len(value)))] = 1.0
        with held({gate: value.reshape(gate.unit_shape) for gate, value in values.items()}):
            plan = PruningPlan(gated, selection=Unchanged())
            assert exceeded(gated, plan) == []


@pytest.mark.parametrize("kind", ["macs", "params", "layer"])
@pytest.mark.parametrize("network", [expansion, zero_kernels, slopes, without_bias])
def test_a_budget_given_to_an_untrained_network_is_kept(network, kind):
    budget = tfgates.Budget(macs=0.5, per_layer=True) if kind == "layer" else tfgates.Budget(**{kind: 0.6})
    gated = tfgates.gate_model(make(network), budget=budget)
    train(gated, seed=1)
    for gate in gated.gates:
        gate.logits.assign(np.linspace(1.0, 3.0, gate.units).reshape(gate.unit_shape))
    plan = tfgates.plan_pruning(gated)
    assert exceeded(gated, plan) == []
    bounds = gated._structure.bounds
    assert (len(bounds) > 1) == (kind == "layer")
    for bound in bounds:
        rows = [row for row in plan.layers if bound.layer in (None, row.call)]
        assert sum(row.params_left if bound.name == "params" else row.macs_left for row in rows) <= bound.target
    tfgates.prune(gated, plan=plan)


def test_a_normalisation_takes_up_the_constants_that_need_a_bias():
    inputs = keras.Input((6, 6, 3))
    x = tfgates.gates.HardConcreteGate()(K.Conv2D(8, 3)(inputs))
    x = K.Conv2D(5, 1, use_bias=False, name="behind")(K.Activation("softplus")(x))
    model = keras.Model(inputs, K.ReLU()(K.BatchNormalization(name="normalised")(x)))
    train(model, seed=0)
    plan = tfgates.plan_pruning(model)
    small = tfgates.prune(model, plan=plan)
    assert not small.get_layer("behind").use_bias
    before, after = (array(each.get_layer("normalised").moving_mean) for each in (model, small))
    assert np.all(np.abs(after - before) > 1e-3)
    # In training both normalise by the batch, and a constant more makes no difference.
    batch = np.random.default_rng(0).normal(size=(16, 6, 6, 3)).astype("float32")
    with held({gate: np.asarray(gate.test_gates()) for gate in model.layers if isinstance(gate, tfgates.gates.Gate)}):
        np.testing.assert_allclose(small(batch, training=True), model(batch, training=True), atol=1e-4)


def test_constants_of_outputs_that_go_need_nothing():
    """The kernel passes the constants on to channels alone that are closed themselves."""
    inputs = keras.Input((6, 6, 3))
    x = K.Activation("softplus")(tfgates.gates.ScalingGate()(K.Conv2D(4, 3)(inputs)))
    x = K.Conv2D(5, 1, use_bias=False, activation="relu", name="behind")(x)
    model = keras.Model(inputs, K.Dense(3)(tfgates.gates.ScalingGate()(x)))
    first, second = (layer for layer in model.layers if isinstance(layer, tfgates.gates.Gate))
    first.scale.assign([0.0, 1.0, 1.0, 1.0])
    second.scale.assign([0.0, 1.0, 1.0, 1.0, 1.0])
    kernel = np.array(model.get_layer("behind").kernel)
    kernel[0, 0, 0, 1:] = 0.0
    model.get_layer("behind").kernel.assign(kernel)
    small = tfgates.prune(model)
    assert small.get_layer("behind").kernel.shape == (1, 1, 3, 4) and not small.get_layer("behind").use_bias


@pytest.mark.parametrize("reader", ["two", "output", "activation", "training"])
def test_a_bias_is_added_where_no_normalisation_can_take_the_constants(reader):
    inputs = keras.Input((6, 6, 3))
    x = K.Activation("softplus")(tfgates.gates.HardConcreteGate()(K.Conv2D(8, 3)(inputs)))
    x = K.Conv2D(5, 1, use_bias=False, activation="relu" if reader == "activation" else None, name="behind")(x)
    y = K.BatchNormalization()(x, **({"training": True} if reader == "training" else {}))
    y = K.Add()([y, x]) if reader == "two" else y
    model = keras.Model(inputs, [y, x] if reader == "output" else y)
    train(model, seed=0)
    plan = tfgates.plan_pruning(model)
    small = tfgates.prune(model, plan=plan)
    assert small.get_layer("behind").use_bias
    assert small.count_params() == plan.params
    assert exceeded(model, plan) == []
