"""What holds the cost of a network is named where a budget cannot be kept."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.costs import ExpectedCost
from tfgates.costs.remainder import BudgetError, Holder, holders

K = keras.layers


def residual():
    """Most of it is in the convolutions that add into the stream and read it."""
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(16, 3, padding="same", name="stem")(inputs)
    y = K.ReLU()(K.Conv2D(4, 1, name="inner")(x))
    y = K.Conv2D(16, 3, padding="same", name="back")(y)
    x = K.Conv2D(16, 3, padding="same", name="stream")(K.ReLU()(K.Add()([x, y])))
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))


def test_gating_says_which_layers_hold_what_is_left_and_why():
    with pytest.raises(BudgetError, match=r"`budget` cannot be reached: .* held by .* Received: a target of") as error:
        tfgates.gate_model(residual(), budget=tfgates.Budget(macs=0.05))
    first, second, *_ = error.value.holders
    assert (first.name, second.name) == ("stem", "back") and first.share > second.share
    assert "its channels are joined with those of other layers (a residual stream" in first.why
    assert f"stem {first.share:.0%} ({first.why})" in str(error.value)


def test_a_model_with_gates_says_it_by_itself():
    gated = tfgates.gate_model(residual())
    with pytest.raises(ValueError, match=r"held by stem .*16 of its 16 outputs stay.*back .*16 of its 16 outputs stay"):
        tfgates.GatedModel(gated.inputs, gated.outputs, budget=tfgates.Budget(macs=0.05))


class Tied(K.Layer):
    """Computes with a weight of a layer that it holds, beside calling it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(6)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) + keras.ops.mean(self.dense.kernel)

    def get_config(self):
        return super().get_config()


def test_a_layer_that_stays_whole_says_why():
    inputs = keras.Input((4,))
    x = K.Dense(8, activation="relu", name="free")(Tied(name="kept")(inputs))
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2, name="head")(x)))
    cost = ExpectedCost(gated)
    left = cost.layers(cost.least_open())[:, cost.columns.index("params")]
    found = {each.name: each.why for each in cost.holders(left)}
    assert found["kept"].startswith("it stays whole: ") and "6 of its 6 inputs stay" in found["free"]
    # Of the head one input is left, and its outputs are the model's.
    assert (
        holders(["head"], [cost._reasons[-1]], np.ones(1))[0].why == "2 of its 2 outputs stay: an output of the model"
    )


def test_widths_that_cannot_be_held_name_the_layer_of_the_bound_alone():
    gated = tfgates.gate_model(residual(), budget=tfgates.Budget(params=0.6, per_layer=True))
    with pytest.raises(BudgetError, match="cannot be kept") as error:
        tfgates.prune(gated, min_units=16)
    assert [each.name for each in error.value.holders] == ["inner"]


def test_a_plan_names_what_no_gate_moves():
    gated = tfgates.gate_model(residual(), budget=tfgates.Budget(macs=0.9), layers="inner")
    plan = tfgates.plan_pruning(gated)
    (stem, why), (stream, _) = sorted(plan.unmoved)
    assert (stem, stream) == ("stem", "stream") and "% of the macs that are left: 3 of its 3 inputs stay" in why
    assert plan.to_dict()["unmoved"][0]["layer"] in str(plan).rpartition("no gate moves it:")[2]
    assert tfgates.plan_pruning(tfgates.gate_model(residual())).unmoved == []


def test_the_largest_are_named_until_they_make_up_most():
    left = np.array([1.0, 60.0, 0.0, 35.0, 4.0])
    assert holders(list("abcde"), ["why"] * 5, left) == [Holder("b", 0.6, "why"), Holder("d", 0.35, "why")]
    assert len(holders([""] * 20, [""] * 20, np.ones(20))) == 5
