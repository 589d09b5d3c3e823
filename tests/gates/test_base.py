"""What every gate inherits, tested on the hard-concrete gate."""

import keras
import numpy as np
import pytest
from keras import ops

from tfgates import gates
from tfgates.gates import Gate, HardConcreteGate

OPEN, CLOSED = 4.6, -4.6


def make(logits=None, shape=(3, 4), **arguments):
    gate = HardConcreteGate(**arguments)
    gate.build((None, *shape))
    if logits is not None:
        gate.logits.assign(logits)
    return gate


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_closed_units_are_zero_along_the_axis_and_open_ones_untouched(axis):
    gate = make(axis=axis)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    size = x.shape[axis]
    is_open = np.arange(size) % 2 == 0
    gate.logits.assign(np.where(is_open, OPEN, CLOSED))
    expected = np.moveaxis(np.moveaxis(x, axis, -1) * is_open, -1, axis)
    np.testing.assert_array_equal(gate(x), expected)
    np.testing.assert_array_equal(gate.open_units(), is_open)
    assert gate.units == size


def test_a_group_is_a_run_of_neighbouring_positions():
    gate = make([OPEN, CLOSED], groups=2)
    np.testing.assert_array_equal(gate(np.ones((1, 3, 4)))[0, 0], [1.0, 1.0, 0.0, 0.0])


def test_no_axis_makes_the_whole_tensor_one_unit():
    gate = make([CLOSED], axis=None)
    assert gate.units == 1
    np.testing.assert_array_equal(gate(np.ones((2, 3, 4))), np.zeros((2, 3, 4)))


def test_one_draw_per_batch_or_per_example():
    x = np.ones((64, 4), "float32")
    shared = ops.convert_to_numpy(make([0.0] * 4, shape=(4,), seed=1)(x, training=True))
    assert np.all(shared == shared[0])
    own = make([0.0] * 4, shape=(4,), seed=1, sampling="example")(x, training=True)
    assert len(np.unique(ops.convert_to_numpy(own)[:, 0])) > 10


def test_one_draw_per_example_of_the_whole_tensor():
    z = make([0.0], axis=None, sampling="example", seed=1)(np.ones((64, 3, 4)), training=True)
    z = ops.convert_to_numpy(z)
    np.testing.assert_array_equal(z, np.broadcast_to(z[:, :1, :1], z.shape))
    assert len(np.unique(z)) > 10


def test_given_noise_decides_the_draw():
    gate = make([0.0] * 4, shape=(4,))
    noise = np.array([0.01, 0.5, 0.5, 0.99], "float32")
    z = gate(np.ones((1, 4), "float32"), noise=noise, training=True)
    np.testing.assert_allclose(z[0], [0.0, 0.5, 0.5, 1.0], atol=1e-6)


def test_given_logits_replace_the_gates_own():
    gate = make([OPEN] * 4, shape=(4,))
    y = gate(np.ones((1, 4), "float32"), logits=np.full(4, CLOSED, "float32"))
    np.testing.assert_array_equal(y, np.zeros((1, 4)))


def test_penalty_is_per_expected_open_unit_and_of_the_last_call_only():
    gate = make([0.0] * 4, shape=(4,), l0=0.5)
    for _ in range(3):
        gate(np.ones((2, 4)), training=True)
    (penalty,) = gate.losses
    np.testing.assert_allclose(penalty, 0.5 * ops.sum(gate.open_probability()), rtol=1e-6)


def test_penalty_enters_the_loss_of_fit():
    inputs = keras.Input((4,))
    gate = HardConcreteGate(l0=0.5)
    model = keras.Model(inputs, gate(inputs))
    model.compile("sgd", "mse")
    x = np.zeros((8, 4))
    # Zero inputs leave nothing but the penalty: 0.5 * 4 units * P(open) = 0.95.
    np.testing.assert_allclose(model.evaluate(x, x, verbose=0), 0.5 * 4 * 0.95, rtol=1e-5)


def test_no_penalty_without_l0():
    gate = make()
    gate(np.ones((2, 3, 4)))
    assert gate.losses == []


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_starts_at_the_wanted_probability(p):
    gate = make(initial_open_probability=p)
    np.testing.assert_allclose(gate.open_probability(), np.full(4, p), rtol=1e-5)


def test_building_twice_keeps_the_variable_and_refuses_other_units():
    gate = make()
    variable = gate.logits
    gate.build_units((4,))
    assert gate.logits is variable
    with pytest.raises(ValueError, match=r"units of shape \(4,\). Received: \(5,\)"):
        gate.build_units((5,))


def test_units_are_unknown_before_building():
    with pytest.raises(ValueError, match="has no units yet"):
        _ = HardConcreteGate().units


def test_saved_and_resumed_training_draws_the_same(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, HardConcreteGate(seed=3, initial_open_probability=0.5)(inputs))
    x = np.ones((2, 4), "float32")
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for _ in range(3):
        np.testing.assert_array_equal(model(x, training=True), again(x, training=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 0}, "`groups` must be a positive integer or None. Received: groups=0"),
        ({"groups": 1.5}, "`groups` must be a positive integer or None. Received: groups=1.5"),
        ({"groups": 2, "axis": None}, "`groups` needs an `axis`. Received: groups=2, axis=None"),
        ({"l0": -1}, "`l0` must be a finite number >= 0. Received: l0=-1"),
        ({"l0": float("nan")}, "`l0` must be a finite number >= 0. Received: l0=nan"),
        ({"sampling": "row"}, r"`sampling` must be one of \['batch', 'example'\]. Received: sampling='row'"),
        ({"initial_open_probability": 0.0}, "strictly between 0 and 1. Received: initial_open_probability=0"),
        ({"initial_open_probability": 1.0}, "strictly between 0 and 1. Received: initial_open_probability=1"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardConcreteGate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({"axis": 3}, (None, 3, 4), r"1 to 2 or -1 to -2. Received: axis=3, input shape \(None, 3, 4\)"),
        ({"axis": -4}, (None, 3, 4), "Received: axis=-4"),
        ({"axis": 0}, (None, 3, 4), "other than the batch axis.* Received: axis=0"),
        ({"axis": -3}, (None, 3, 4), "other than the batch axis.* Received: axis=-3"),
        ({"axis": 1}, (None, None, 4), "length of `axis` must be known. Received: axis=1"),
        ({"groups": 3}, (None, 3, 4), "must divide the length of `axis`, 4. Received: groups=3"),
    ],
)
def test_refused_inputs(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        HardConcreteGate(**arguments).build(shape)


def test_get_accepts_a_gate_its_name_and_its_config():
    gate = HardConcreteGate(l0=0.5, name="mine")
    assert gates.get(gate) is gate
    assert gates.get("hard_concrete", l0=0.25).l0 == 0.25
    again = gates.get(keras.saving.serialize_keras_object(gate))
    assert again.get_config() == gate.get_config()


@pytest.mark.parametrize("identifier", ["soft", 3, None])
def test_get_refuses_what_is_no_gate(identifier):
    with pytest.raises(ValueError, match=r"or one of \[.*'hard_concrete'.*\]. Received: gate="):
        gates.get(identifier)


def test_get_refuses_the_config_of_another_layer():
    config = keras.saving.serialize_keras_object(keras.layers.Dense(3))
    with pytest.raises(ValueError, match=r"`gate` must be a tfgates\.gates\.Gate"):
        gates.get(config)


@pytest.mark.parametrize(
    "call",
    [
        lambda gate: gate.initial_value(),
        lambda gate: gate.probability_from(0.0),
        lambda gate: gate.test_gates_from(0.0),
        lambda gate: gate.sample_from(0.0, 0.5),
    ],
)
def test_the_base_itself_is_no_method(call):
    with pytest.raises(NotImplementedError):
        call(Gate())


def test_the_base_has_no_constraint():
    assert Gate().variable_constraint() is None


def test_travel_is_the_way_between_open_and_closed():
    logit = np.log(0.95 / 0.05)
    assert gates.HardConcreteGate().travel() == pytest.approx(2 * logit)
    assert gates.BernoulliGate().travel() == pytest.approx(2 * logit / 7, rel=1e-5)
    assert gates.ScalingGate(initial_scale=-2.0).travel() == 2.0
