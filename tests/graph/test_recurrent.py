"""Hidden units of recurrent layers are gated and removed exactly."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import array
from tests.graph.units import close_half, randomised, same_outputs

K = keras.layers
STEPS = (7, 5)


def flow(*layers, shape=STEPS):
    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, K.Dense(2, name="head")(x))


def states():
    inputs = keras.Input(STEPS)
    y, h, c = K.LSTM(6, return_state=True, return_sequences=True, name="first")(inputs)
    return keras.Model(inputs, [K.Dense(2)(y), K.Dense(3)(h), K.Dense(2)(c)])


def shared():
    inputs = keras.Input(STEPS)
    layer = K.GRU(6, name="first")
    return keras.Model(inputs, K.Dense(2)(K.Concatenate()([layer(inputs), layer(keras.ops.flip(inputs, axis=1))])))


def nested():
    inner = flow(K.LSTM(6, return_sequences=True, name="first"))
    inputs = keras.Input(STEPS)
    return keras.Model(inputs, K.Dense(2)(K.Flatten()(inner(inputs))))


# Networks and the number of gates that they have.
NETWORKS = {
    "lstm": (lambda: flow(K.LSTM(6, name="first")), 1),
    "stacked": (lambda: flow(K.LSTM(6, return_sequences=True, name="first"), K.SimpleRNN(4, use_bias=False)), 2),
    "gru": (lambda: flow(K.GRU(6, name="first")), 1),
    "reset before": (
        lambda: flow(K.GRU(6, reset_after=False, return_sequences=True, name="first"), K.GlobalMaxPooling1D()),
        1,
    ),
    "both ways": (lambda: flow(K.Bidirectional(K.LSTM(6, return_sequences=True)), K.Bidirectional(K.GRU(4))), 4),
    "masked": (lambda: flow(K.Masking(), K.Bidirectional(K.LSTM(6)), K.Dense(5, activation="relu")), 3),
    "dropout": (lambda: flow(K.LSTM(6, dropout=0.3, recurrent_dropout=0.2, name="first")), 1),
    "backwards": (lambda: flow(K.SimpleRNN(6, go_backwards=True, unroll=True, name="first")), 1),
    "states": (states, 1),
    "shared": (shared, 1),
    "nested": (nested, 2),
}


# The others are much like them.
SLOW = ("dropout", "backwards", "nested", "gru")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETWORKS])
def test_units_go(name):
    make, gates = NETWORKS[name]
    model = make()
    gated = tfgates.gate_model(model)
    assert len(gated.gates) == gates
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert plan.params == pruned.count_params() < 0.6 * model.count_params() and not plan.kept
    recurrent = [each for each in pruned.layers if isinstance(each, (K.LSTM, K.GRU, K.SimpleRNN))]
    assert recurrent[0].units == 3 and all(type(each).__module__.startswith("keras") for each in recurrent)
    same_outputs(gated, pruned)


def words(behind, head=None):
    """Masked words through a layer both ways, whose mask others behind it need."""
    x = inputs = keras.Input((7,), dtype="int32")
    x = K.Embedding(9, 6, mask_zero=True)(x)
    x = K.Bidirectional(K.LSTM(4, return_sequences=True, name="lstm"), name="both")(x)
    for layer in behind:
        x = layer(x)
    return keras.Model(inputs, head(x) if head else K.Dense(2, name="head")(x))


def test_masks_go_on_behind_a_layer_that_is_opened():
    """Every layer that reads a mask is given it, so that the calls of `Bidirectional` need not hand it on."""
    behind = [K.Dropout(0.2), K.Dense(5), K.Bidirectional(K.GRU(4, return_sequences=True)), K.GlobalAveragePooling1D()]
    model = words(behind)
    randomised(model)
    gated = tfgates.gate_model(model)
    assert [gate.units for gate in gated.gates] == [4, 4, 5, 4, 4]
    close_half(gated)
    pruned = tfgates.prune(gated)
    # The joining operator hands no mask on, so that what it joins can lose units.
    assert [layer.units for layer in pruned.layers if isinstance(layer, K.LSTM)] == [2, 2]
    for batch in (1, 4):
        x = np.random.default_rng(batch).integers(0, 3, (batch, 7))
        for call in ({}, {"training": False}):
            np.testing.assert_allclose(gated(x, **call), pruned(x, **call), atol=1e-5)
            with contextlib.ExitStack() as stack:
                for gate in gated.gates:
                    stack.enter_context(gate.held(np.ones(gate.unit_shape)))
                np.testing.assert_allclose(gated(x, **call), model(x, **call), atol=1e-5)


def test_what_is_left_of_a_joining_operator_carries_no_mask():
    inputs = keras.Input((7,), dtype="int32")
    x = K.Embedding(9, 6, mask_zero=True)(inputs)
    layers = [tfgates.layers.GatedLSTM(4, gate="hard_concrete", return_sequences=True) for _ in range(2)]
    first, second = (layer(x) for layer in layers)
    model = keras.Model(inputs, K.Dense(2)(K.LSTM(3)(ops.concatenate([first, ops.flip(second, axis=1)], axis=-1))))
    randomised(model)
    layers[1].gate.logits.assign(np.full(4, -5.0))
    pruned = tfgates.prune(model, min_units=0)
    assert len([layer for layer in pruned.layers if isinstance(layer, K.LSTM)]) == 2
    x = np.random.default_rng(0).integers(0, 3, (3, 7))
    np.testing.assert_allclose(model(x, training=False), pruned(x, training=False), atol=1e-5)


def test_closed_units_by_their_slices():
    """What is left of each kernel is what the closed units leave, times the gates where units are read."""
    gated = tfgates.gate_model(flow(K.GRU(4, name="first")))
    randomised(gated)
    (gate,) = gated.gates
    gate.logits.assign([5.0, -5.0, 0.5, 5.0])
    z = np.array(gate.test_gates())[[0, 2, 3]]
    pruned = tfgates.prune(gated)
    kernel, recurrent, bias = (np.array(w) for w in gated.get_layer("first").cell.weights)
    columns = [0, 2, 3, 4, 6, 7, 8, 10, 11]
    left = pruned.get_layer("first").cell
    np.testing.assert_array_equal(np.array(left.kernel), kernel[:, columns])
    np.testing.assert_array_equal(np.array(left.bias), bias[:, columns])
    expected = z[:, None] * recurrent[[0, 2, 3]][:, columns]
    np.testing.assert_allclose(np.array(left.recurrent_kernel), expected, rtol=1e-6)
    head = np.array(gated.get_layer("head").kernel)
    np.testing.assert_allclose(np.array(pruned.get_layer("head").kernel), z[:, None] * head[[0, 2, 3]], rtol=1e-6)


def test_units_that_nothing_reads_go_without_gates():
    model = flow(K.LSTM(5, name="first"))
    randomised(model)
    cell, head = model.get_layer("first").cell, model.get_layer("head")
    recurrent, kernel = np.array(cell.recurrent_kernel), np.array(head.kernel)
    kernel[[1, 2, 4]] = 0.0
    # Unit 2 is read by unit 0, which the head reads; 1 and 4 read each other alone.
    recurrent = recurrent.reshape(5, 4, 5)
    recurrent[1][:, [0, 2, 3]] = recurrent[4][:, [0, 2, 3]] = 0.0
    cell.recurrent_kernel.assign(recurrent.reshape(5, 20))
    head.kernel.assign(kernel)
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").units == 3
    same_outputs(model, pruned)


def test_expected_and_actual_cost():
    """With each unit open or closed for sure the expected cost is the actual one, that of what is left."""
    gated = tfgates.gate_model(flow(K.LSTM(6, return_sequences=True), K.GRU(5)), gate="bernoulli")
    randomised(gated)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 2, 50.0, -50.0))
    cost = tfgates.cost(gated)
    pruned = tfgates.prune(gated)
    assert cost.params == pruned.count_params()
    np.testing.assert_allclose(cost.expected_params, cost.params, rtol=1e-5)
    np.testing.assert_allclose(cost.expected_macs, cost.macs, rtol=1e-5)
    assert cost.macs == 7 * 4 * 3 * (5 + 3) + 7 * 3 * 2 * (3 + 2) + 2 * 2


def test_a_stateful_layer_goes_on_where_it_was():
    inputs = keras.Input(batch_shape=(2, *STEPS))
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.LSTM(6, stateful=True, name="first")(inputs))))
    randomised(gated)
    close_half(gated)
    x = np.random.default_rng(0).normal(size=(2, *STEPS)).astype("float32")
    gated(x)
    states = [np.array(state) for state in gated.get_layer("first").states]
    pruned = tfgates.prune(gated)
    for before, state in zip(states, gated.get_layer("first").states, strict=True):
        np.testing.assert_array_equal(before, np.array(state))
    assert pruned.get_layer("first").states[0].shape == (2, 3)
    for _ in range(3):
        np.testing.assert_allclose(gated(x), pruned(x), atol=1e-5)


@pytest.mark.parametrize("arguments", [{"generator": "forward"}, {"compensate": True}, {"gate": "scaling"}], ids=str)
def test_gates_of_all_kinds(arguments):
    """Masked: fed from outside a gate's layer is given the mask all the same."""
    model = flow(K.Masking(), K.LSTM(6, return_sequences=True), K.GRU(4))
    randomised(model)
    gated = tfgates.gate_model(model, **arguments)
    x = np.random.default_rng(0).normal(size=(3, *STEPS)).astype("float32")
    x[:, 4:] = 0.0
    if "gate" not in arguments:
        # What open gates compute; those of a compensated model as they are.
        close = [gate.held(np.ones(gate.unit_shape)) for gate in gated.gates] if "generator" in arguments else []
        for each in close:
            each.__enter__()
        np.testing.assert_allclose(gated(x), model(x), atol=1e-5)
        for each in close:
            each.__exit__(None, None, None)
    pruned = tfgates.prune(gated, inputs=x)
    np.testing.assert_allclose(gated(x), pruned(x), atol=1e-5)


def test_the_gate_learns_through_all_steps():
    gated = tfgates.gate_model(flow(K.LSTM(6, name="first")), budget=tfgates.Budget(params=0.5))
    gated.compile("adam", loss="mse")
    x = np.random.default_rng(0).normal(size=(8, *STEPS)).astype("float32")
    gated.gates[0].logits.assign(np.zeros(6))
    before = array(gated.gates[0].logits)
    gated.fit(x, np.zeros((8, 2)), verbose=0)
    # All but those whose draw is at an end of its range.
    assert np.any(array(gated.gates[0].logits) != before)


REASONS = [
    ({"copy_weights": False}, "gates on the units of recurrent layers are inside of them, and `copy_weights=False`"),
    ({"sampling": "example"}, "and one recurrent kernel serves all examples: `sampling` must be 'batch'"),
]


@pytest.mark.parametrize(("arguments", "reason"), REASONS)
def test_where_no_gate_can_be_inside(arguments, reason):
    model = flow(K.LSTM(6, name="first"), K.Dense(3, activation="relu"))
    report = tfgates.gate_model(model, **arguments).report
    assert reason in dict(report.skipped)["first"] and len(report.gated) == 1


def test_noise_that_stays_on_keeps_the_layer():
    inputs = keras.Input(STEPS)
    x = K.LSTM(6, dropout=0.3, name="first")(inputs, training=True)
    report = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.Dense(3)(x)))).report
    assert "it runs as in training" in dict(report.skipped)["first"]


def test_a_stream_of_units_is_kept():
    """Units that are added to others would need one gate inside of several layers."""
    inputs = keras.Input(STEPS)
    x = K.Dense(6, name="before")(inputs)
    x = K.Add()([x, K.LSTM(6, return_sequences=True, name="first")(x)])
    model = keras.Model(inputs, K.Dense(2)(K.Dense(3, activation="relu")(x)))
    for residual in ("inner", "tied"):
        skipped = dict(tfgates.gate_model(model, residual=residual).report.skipped)
        assert "a residual stream" in skipped["first"] and "a residual stream" in skipped["before"]


def test_states_that_are_given_belong_to_the_units():
    inputs = keras.Input(STEPS)
    state = K.Dense(6, name="state")(inputs[:, 0])
    model = keras.Model(inputs, K.Dense(2, name="head")(K.GRU(6, name="first")(inputs, initial_state=state)))
    randomised(model)
    # Units 0 and 1 are read by nothing: the states go as well.
    cell, head = model.get_layer("first").cell, model.get_layer("head")
    head.kernel.assign(np.array(head.kernel) * (np.arange(6) > 1)[:, None])
    cell.recurrent_kernel.assign(np.array(cell.recurrent_kernel) * (np.arange(6) > 1)[:, None])
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").units == pruned.get_layer("state").units == 4
    same_outputs(model, pruned)


def test_a_state_that_has_gone_is_given_as_the_constant_that_it_was():
    inputs = keras.Input(STEPS)
    gate = tfgates.gates.HardConcreteGate()
    state = ops.sigmoid(gate(K.Dense(6, name="state")(inputs[:, 0])))
    model = keras.Model(inputs, K.Dense(2)(K.GRU(6, name="first")(inputs, initial_state=state)))
    randomised(model)
    gate.logits.assign([-5.0, 2.0, -5.0, 0.5, 2.0, -5.0])
    pruned = tfgates.prune(model)
    assert (pruned.get_layer("first").units, pruned.get_layer("state").units) == (6, 3)
    same_outputs(model, pruned)


def test_closed_units_that_stay_for_a_round_width_have_some_state():
    inputs = keras.Input(STEPS)
    layer = tfgates.layers.GatedGRU(6, gate="hard_concrete", name="first")
    state = K.Dense(6, name="state")(inputs[:, 0])
    model = keras.Model(inputs, K.Dense(2)(layer(inputs, initial_state=state)))
    randomised(model)
    layer.gate.logits.assign([-5.0, 2.0, -5.0, 0.5, -4.0, -5.0])
    pruned = tfgates.prune(model, round_to=4)
    assert (pruned.get_layer("first").units, pruned.get_layer("state").units) == (4, 4)
    same_outputs(model, pruned)
