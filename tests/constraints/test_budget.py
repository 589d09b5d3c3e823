"""Budgets: what they accept, what they bound, and how their multipliers move."""

import warnings

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array, gradients
from tests.graph.test_traced import Until
from tfgates.constraints.budget import parse
from tfgates.constraints.structure import Structure


def network():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(12, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x), name="network")


def gated(**arguments):
    return tfgates.gate_model(network(), **arguments)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (None, False)),
        (0.5, (0.5, False)),
        (1, (1.0, False)),
        (1.0, (1.0, False)),
        (2000, (2000.0, True)),
        (np.int64(2000), (2000.0, True)),
        (np.float64(0.5), (0.5, False)),
        ("200M MACs", (2e8, True)),
        ("1.5g", (1.5e9, True)),
        ("11,787", (11787.0, True)),
    ],
)
def test_parse(value, expected):
    assert parse("macs", value) == expected


@pytest.mark.parametrize("value", ["250k params", "0.25M parameters", "250000"])
def test_parameters_have_their_own_unit(value):
    assert parse("params", value) == (2.5e5, True)


@pytest.mark.parametrize("value", [0, -0.1, 1.5, "many", "-3", True, "0", "0.5", [0.5], "1.2.3", ".", "2k params"])
def test_bad_bounds_are_named(value):
    with pytest.raises(ValueError, match=r"`macs` must be a fraction in \(0, 1\].*Received: macs="):
        tfgates.Budget(macs=value)


def test_bad_arguments():
    with pytest.raises(ValueError, match="must bound `params` or `macs`"):
        tfgates.Budget()
    with pytest.raises(ValueError, match="`multiplier_rate` must be positive or 'auto'.*Received: multiplier_rate=0"):
        tfgates.Budget(macs=0.5, multiplier_rate=0)
    for name, value in (("warm_up", -1), ("ramp", 1.0), ("ramp", True)):
        wanted = rf"`{name}` must be a number of steps >= 0, a float in \[0, 1\).*or 'auto'. Received: {name}={value}"
        with pytest.raises(ValueError, match=wanted):
            tfgates.Budget(macs=0.5, **{name: value})
    with pytest.raises(ValueError, match="their sum must be below 1. Received: warm_up=0.5, ramp=0.5"):
        tfgates.Budget(macs=0.5, warm_up=0.5, ramp=0.5)
    with pytest.raises(ValueError, match="`macs` must be a fraction with `per_layer=True`"):
        tfgates.Budget(macs="2M", per_layer=True)


def test_warm_up_and_ramp_are_steps_or_shares_of_them():
    budget = tfgates.Budget(macs=0.5, warm_up=0.05, ramp=0.25, multiplier_rate=0.1)
    assert budget.pace(200) == (0.1, 10.0, 50.0)
    assert budget.pace(None) == (0.1, 0.0, 0.0)
    assert tfgates.Budget(macs=0.5, warm_up=7, ramp=0).pace(200) == (0.25, 7.0, 0.0)
    assert tfgates.Budget(macs=0.5).pace(200) == (0.25, 40.0, 100.0)


def test_config_round_trip():
    budget = tfgates.Budget(params="10k", macs=0.5, multiplier_rate=0.1, warm_up=7, restart=False)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(budget))
    assert again.get_config() == budget.get_config()
    assert repr(again) == "Budget(params='10k', macs=0.5)"


def test_impossible_budget_states_what_is_reachable():
    model = gated()
    cost = tfgates.costs.ExpectedCost(model)
    one_each = [np.eye(1, gate.units)[0] for gate in cost.gates]
    least = cost.evaluate(one_each)[0]
    with pytest.raises(ValueError, match=f"cannot be reached.*params is still {least:,.0f}"):
        gated(budget=tfgates.Budget(params=(least - 1) / cost.dense_params))
    gated(budget=tfgates.Budget(params=(least + 1) / cost.dense_params))


def test_budget_without_gates():
    plain = network()
    with pytest.raises(ValueError, match="`budget` needs a model with gates"):
        tfgates.GatedModel(plain.inputs, plain.outputs, budget=tfgates.Budget(macs=0.5))


def test_contradictory_and_wrong_budgets():
    with pytest.raises(ValueError, match="bounds macs more than once"):
        gated(budget=[tfgates.Budget(macs=0.5), tfgates.Budget(macs=0.3)])
    with pytest.raises(ValueError, match="must be a tfgates.Budget or a list of them. Received: 0.5"):
        gated(budget=0.5)


def test_a_layer_that_is_called_twice_is_bounded_in_each_call():
    inputs = keras.Input((9, 9, 3))
    shared = keras.layers.Conv2D(8, 3, activation="relu", name="shared")
    x = keras.layers.Conv2D(8, 1, activation="relu", name="first")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(shared(shared(x)))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    gated = tfgates.gate_model(model, residual="tied", budget=tfgates.Budget(macs=0.6, per_layer=True))
    assert [str(bound) for bound in gated._structure.bounds].count("macs of layer 'shared'") == 2
    rows = [row for row in tfgates.plan_pruning(gated).layers if row.name == "shared"]
    assert len(rows) == 2 and all(0 < row.macs_left <= 0.6 * row.macs for row in rows)


def test_macs_need_known_dimensions():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="`budget` on MACs .*Received: not counted: conv2d.*every dimension"):
        tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    tfgates.gate_model(model, budget=tfgates.Budget(params=0.5))


def partly_counted():
    """A network one of whose layers cannot be counted."""
    inputs = keras.Input((7, 5))
    x = keras.layers.Dense(6, activation="relu", name="first")(inputs)
    x = Until(1, name="odd")(keras.layers.Dense(5, name="second")(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def test_a_budget_on_macs_that_nobody_can_count():
    why = "(how often its loop|which of its branches) runs"
    message = f"on MACs needs those of every layer .*Received: not counted: odd .{why}"
    for macs in (0.5, 400):
        with pytest.raises(ValueError, match=f"`budget` {message}"):
            tfgates.gate_model(partly_counted(), budget=tfgates.Budget(macs=macs))
    with pytest.raises(ValueError, match=f"`penalty` {message}"):
        tfgates.gate_model(partly_counted(), penalty={"macs": 1.0})
    tfgates.gate_model(partly_counted(), budget=tfgates.Budget(params=0.8), penalty={"macs": 0.0, "params": 1.0})


def test_layers_without_gates_are_not_bounded_layer_by_layer():
    gated = tfgates.gate_model(partly_counted(), budget=tfgates.Budget(macs=0.5, per_layer=True))
    assert [bound.layer_name for bound in gated._structure.bounds] == ["first", "second"]


def test_per_layer_budgets_are_checked_too():
    plain = network()
    with pytest.raises(ValueError, match="`budget` needs a model with gates.*Received: budget=.Budget"):
        tfgates.GatedModel(plain.inputs, plain.outputs, budget=tfgates.Budget(macs=0.5, per_layer=True))
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Dense(4, activation="relu")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="`budget` on MACs .*Received: not counted: conv2d.*every dimension"):
        tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5, per_layer=True))


def test_training_without_fit_follows_what_was_given():
    """`train_on_batch` cannot tell the number of steps: explicit settings count, the others have defaults."""
    model = gated(budget=[tfgates.Budget(macs=0.5, multiplier_rate=0.1, warm_up=2, ramp=0), tfgates.Budget(params=0.5)])
    np.testing.assert_allclose(model._pace, [[0.1, 2.0, 0.0], [2e-3, 0.0, 0.0]], rtol=1e-6)
    model.compile("sgd", "mse")
    x, y = np.ones((4, 8, 8, 1), "float32"), np.ones((4, 3), "float32")
    found = []
    for _ in range(4):
        model.train_on_batch(x, y)
        found.append(keras.ops.convert_to_numpy(model.multipliers) > 0)
    np.testing.assert_array_equal(found, [[False, True], [False, True], [True, True], [True, True]])
    # A later `fit` goes on in the pace of the steps before it.
    with pytest.warns(tfgates.GatesWarning, match="had been trained before this `fit`, its first"):
        model.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_allclose(model._pace, [[0.1, 2.0, 0.0], [2e-3, 0.0, 0.0]], rtol=1e-6)


def test_per_layer_bounds_each_layer_that_gates_change():
    model = gated(budget=tfgates.Budget(params=0.5, per_layer=True))
    layers = {bound.layer_name for bound in model._structure.bounds}
    assert layers == {"conv2d", "conv2d_1", "batch_normalization", "dense", "dense_1"}
    for bound in model._structure.bounds:
        assert bound.target == pytest.approx(0.5 * bound.dense)


def multiplier_recursion(violations, rate, warm_up, ramp, restart):
    """The update rule by hand."""
    multiplier, history = 0.0, []
    for step, violation in enumerate(violations):
        multiplier = max(0.0, multiplier + rate * violation)
        if restart and violation <= 0 and step - warm_up + 1 >= ramp:
            multiplier = 0.0
        if step < warm_up:
            multiplier = 0.0
        history.append(multiplier)
    return history


@pytest.mark.parametrize(("restart", "ramp"), [(True, 0), (False, 0), (True, 4)])
def test_multipliers_follow_the_rule(restart, ramp):
    budget = tfgates.Budget(macs=0.5, multiplier_rate=0.3, warm_up=2, ramp=ramp, restart=restart)
    model = gated(budget=budget)
    pace = model._structure.pace(None)
    structure, multipliers = model._structure, np.zeros(1, "float32")
    levels = [3.0, 3.0, 2.0, 0.5, -0.5, -3.0, -3.0, 2.0]
    violations, found = [], []
    for step, level in enumerate(levels):
        for gate in model.gates:
            gate.logits.assign(np.full(gate.logits.shape, level))
        expected = structure.cost.evaluate(structure.cost.probabilities())[1] / structure.cost.dense_macs
        passed = 1.0 if ramp == 0 else np.clip((step - 1.0) / ramp, 0.0, 1.0)
        violations.append(np.log(expected) - passed * np.log(0.5) if step > 0 else np.log(expected))
        loss, fractions, new = structure.loss(keras.ops.convert_to_tensor(multipliers), pace, step, training=True)
        assert float(fractions[1]) == pytest.approx(expected, rel=1e-5)
        pull = max(0.0, float(multipliers[0]) + 20.0 * violations[-1]) if step >= 2 else 0.0
        assert float(loss) == pytest.approx(pull * violations[-1], rel=1e-4, abs=1e-6)
        multipliers = keras.ops.convert_to_numpy(new)
        found.append(float(multipliers[0]))
    assert min(violations) < 0 < max(violations)
    np.testing.assert_allclose(found, multiplier_recursion(violations, 0.3, 2, ramp, restart), rtol=1e-4, atol=1e-6)


def test_the_first_fit_sets_the_pace():
    model = gated(budget=[tfgates.Budget(macs=0.5), tfgates.Budget(params=0.5, ramp=3, multiplier_rate=0.1)])
    model.compile("sgd", "mse")
    x, y = np.ones((40, 8, 8, 1), "float32"), np.ones((40, 3), "float32")
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    expected = [[50 / 20, 0.2 * 20, 0.5 * 20], [0.1, 0.2 * 20, 3.0]]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model._pace), expected, rtol=1e-6)
    model.fit(x, y, batch_size=20, epochs=1, verbose=0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model._pace), expected, rtol=1e-6)


def test_the_pull_follows_the_violation_at_once():
    """Its gradient for the gates is that of the cost, times multiplier + 20 * violation; none while it holds."""
    model = gated(budget=tfgates.Budget(macs=0.5, warm_up=0, ramp=0))
    structure, pace = model._structure, model._structure.pace(None)
    multiplier = keras.ops.convert_to_tensor([0.7])

    def pulled():
        return structure.loss(multiplier, pace, 5, training=True)[0]

    def violation():
        return keras.ops.log(structure.cost.fractions()[1] / 0.5)

    for level, holds in ((3.0, False), (-3.0, True)):
        for gate in model.gates:
            gate.logits.assign(np.full(gate.logits.shape, level))
        variables = [gate.logits for gate in model.gates]
        pull = max(0.0, 0.7 + 20.0 * float(array(violation())))
        assert (pull == 0.0) == holds
        for found, plain in zip(gradients(pulled, variables), gradients(violation, variables), strict=True):
            np.testing.assert_allclose(found, pull * plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("gate_optimizer", "expected"), [("auto", 0.02), (keras.optimizers.Adam(0.5), 0.5)])
def test_the_first_fit_sets_the_rate_of_the_gates(gate_optimizer, expected):
    model = gated(budget=tfgates.Budget(macs=0.5))
    model.compile(keras.optimizers.SGD(1e-3), "mse", gate_optimizer=gate_optimizer)
    x, y = np.ones((40, 8, 8, 1), "float32"), np.ones((40, 3), "float32")
    if gate_optimizer == "auto":
        expected *= min(gate.travel() for gate in model.gates)
    for epochs in (2, 3):
        model.fit(x, y, batch_size=4, epochs=epochs, verbose=0)
        rates = [float(model.optimizer.learning_rate), float(model.optimizer.gate_optimizer.learning_rate)]
        np.testing.assert_allclose(rates, [1e-3, expected], rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())])
def test_a_model_saved_before_its_first_fit_paces_itself_after_loading(optimizer, tmp_path):
    model = gated(budget=tfgates.Budget(macs=0.5))
    model.compile(optimizer, "mse")
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        # Keras says of every model like this that the saved optimizer had no slots yet.
        warnings.simplefilter("ignore")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    x, y = np.ones((40, 8, 8, 1), "float32"), np.ones((40, 3), "float32")
    rates = []
    for each in (model, loaded):
        each.fit(x, y, batch_size=4, epochs=2, verbose=0)
        inner = getattr(each.optimizer, "inner_optimizer", each.optimizer)
        rates.append([float(o.learning_rate) for o in (inner.gate_optimizer, inner.weights_optimizer)])
        np.testing.assert_allclose(each._pace, [[50 / 20, 0.2 * 20, 0.5 * 20]], rtol=1e-6)
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-6)
    assert rates[0][0] == pytest.approx(0.02 * min(gate.travel() for gate in model.gates))


def test_a_model_compiled_again_with_another_optimizer_of_the_gates_keeps_that(tmp_path):
    """Only what `compile` chose itself is paced; what the user gave later stands, after loading too."""
    x, y = np.ones((8, 8, 8, 1), "float32"), np.ones((8, 3), "float32")
    for number, again in enumerate((keras.optimizers.Adam(0.0123), None)):
        model = gated(budget=tfgates.Budget(macs=0.5))
        model.compile("adam", "mse")
        if again is None:
            tfgates.freeze_gates(model)
        model.compile(keras.optimizers.Adam(1e-3), "mse", gate_optimizer=again)
        model.save(tmp_path / f"{number}.keras")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = keras.saving.load_model(tmp_path / f"{number}.keras")
        loaded.fit(x, y, verbose=0)
        both = [loaded.optimizer.gate_optimizer, loaded.optimizer] if again else [loaded.optimizer]
        rates = [float(o.learning_rate) for o in both]
        np.testing.assert_allclose(rates, [0.0123, 1e-3] if again else [1e-3], rtol=1e-6)


def test_evaluation_leaves_the_multipliers_alone():
    model = gated(budget=tfgates.Budget(macs=0.5, warm_up=0))
    model.compile("sgd", "mse")
    x, y = np.ones((8, 8, 8, 1), "float32"), np.ones((8, 3), "float32")
    model.fit(x, y, batch_size=4, verbose=0)
    before = array(model.multipliers)
    assert before[0] > 0
    model.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.multipliers), before)


def test_penalty_adds_its_fraction_of_the_dense_cost():
    x, y = np.ones((4, 8, 8, 1), "float32"), np.ones((4, 3), "float32")
    losses = {}
    for name, penalty in {"none": None, "macs": {"macs": 2.0}, "both": {"macs": 2.0, "params": 3.0}}.items():
        keras.utils.set_random_seed(0)
        model = gated(penalty=penalty)
        model.compile("sgd", "mse")
        losses[name] = model.evaluate(x, y, verbose=0, return_dict=True)
    fractions = losses["none"]
    assert losses["macs"]["structure_loss"] == pytest.approx(2 * fractions["expected_macs"], rel=1e-4)
    both = 2 * fractions["expected_macs"] + 3 * fractions["expected_params"]
    assert losses["both"]["structure_loss"] == pytest.approx(both, rel=1e-4)
    for each in losses.values():
        assert each["loss"] == pytest.approx(fractions["loss"], rel=1e-6)


@pytest.mark.parametrize("penalty", [0.5, {"flops": 1.0}, {"macs": -1.0}, {"macs": "much"}])
def test_bad_penalty(penalty):
    with pytest.raises(ValueError, match="`penalty` must be"):
        gated(penalty=penalty)


def test_structure_without_gates_costs_nothing():
    plain = network()
    structure = Structure(plain)
    assert structure.cost.gates == []
    assert structure.cost.dense_params == plain.count_params()


def test_shares_need_steps_that_are_known():
    inputs = keras.Input((3,))
    dense = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(4, activation="relu")(inputs)))
    model = tfgates.gate_model(dense, budget=tfgates.Budget(macs=0.5, warm_up=0.1, ramp=3))
    model.compile("sgd", "mse")
    x, y = np.ones((2, 3), "float32"), np.ones((2, 1), "float32")
    with pytest.raises(ValueError, match=r"`warm_up` and `ramp`.*`steps_per_epoch`.*Received: warm_up=0.1"):
        model.fit(((x, y) for _ in range(3)), shuffle=False, verbose=0)
    model.fit(((x, y) for _ in range(3)), steps_per_epoch=2, shuffle=False, verbose=0)
