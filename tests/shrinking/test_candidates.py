"""Which units are closed for good."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.shrinking import candidates_of


def model(kind="hard_concrete", values=(), budget=None, **arguments):
    """A gate of eight units on a hidden layer, with the given values of its variable first."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    dense = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    gated = tfgates.gate_model(dense, kind, budget=budget, **arguments)
    (gate,) = gated.gates
    start = np.array(gate.weights[0])
    start[: len(values)] = values
    gate.weights[0].assign(start)
    return gated, gate


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        # P(open) .047, .057 and .5.
        ("hard_concrete", [-np.log(100.0), -4.4, -1.6], [0]),
        # .009, .0109 and .5
        ("bernoulli", [-0.67, -0.644, 0.0], [0]),
        ("scaling", [0.0, 1e-6, -1e-6], [0]),
    ],
)
def test_units_are_candidates_below_the_probability_of_their_gate(kind, values, expected):
    gated, gate = model(kind, values)
    assert np.flatnonzero(candidates_of(gated)[gate]).tolist() == expected


def test_the_likeliest_unit_of_a_gate_stays():
    gated, gate = model("hard_concrete", [-5.0, -5.0, -4.9, -5.0, -5.0, -5.0, -5.0, -5.0], logits_limit=None)
    assert np.flatnonzero(~candidates_of(gated)[gate]).tolist() == [2]


def test_a_frozen_gate_is_taken_at_its_inference_values():
    gated, gate = model("hard_concrete", [-1.7, -5.0])
    assert np.flatnonzero(candidates_of(gated)[gate]).tolist() == [1]
    gate.trainable = False
    assert np.flatnonzero(candidates_of(gated)[gate]).tolist() == [0, 1]


def test_no_more_go_than_leave_what_the_budget_allows():
    # 7 parameters a unit and 2 biases: half of 58 is 29, for 3 units; with 4 there are 30.
    values = [-5.0, -5.1, -5.2, -5.3, -5.4, -5.5]
    gated, gate = model("hard_concrete", values, tfgates.Budget(params=0.5), logits_limit=None)
    assert np.flatnonzero(candidates_of(gated)[gate]).tolist() == [2, 3, 4, 5]
    small = tfgates.shrink(gated)
    assert tfgates.cost(small).params == 23 and not candidates_of(small)[small.gates[0]].any()


def test_more_than_the_budget_stays_to_choose_from():
    values = [-5.0, -5.1, -5.2, -5.3, -5.4, -5.5]
    gated, gate = model("hard_concrete", values, tfgates.Budget(params=0.5), logits_limit=None)
    # 1.3 times 29 is 37.7, for 5 units; with 6 there are 44.
    assert np.flatnonzero(candidates_of(gated, spare=1.3)[gate]).tolist() == [4, 5]


def test_each_layer_keeps_what_its_own_bound_allows():
    values = [-5.0, -5.1, -5.2, -5.3, -5.4, -5.5]
    gated, gate = model("hard_concrete", values, tfgates.Budget(params=0.7, per_layer=True), logits_limit=None)
    # The bound of the last layer, .7 of 18, takes 6 units; that of the first takes 5.
    assert np.flatnonzero(candidates_of(gated)[gate]).tolist() == [4, 5]
