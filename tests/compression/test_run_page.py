"""The page of a run of `compress`: what was removed, in training and after it, of the network that was given."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.compression.run_page import against


def network(width):
    """Three layers; the width of the first is what a removal in training leaves."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(width, name="first"),
        keras.layers.Dense(6, name="second"),
        keras.layers.Dense(2, name="out"),
    ]
    return keras.Sequential([keras.Input((4,)), *layers], name="net")


def report(width, closed):
    """Of the pruning of a network whose second layer has units without weights."""
    model = network(width)
    for variable in model.get_layer("second").weights:
        value = np.array(variable)
        value[..., list(closed)] = 0
        variable.assign(value)
    return tfgates.report_of(tfgates.prune(model))


def test_what_went_in_training_counts():
    told = against(report(5, [0, 3]), network(8))
    rows = {row["name"]: row for row in told.plan["layers"]}
    assert (rows["first"]["units_left"], rows["first"]["units"]) == (5, 8)
    assert (rows["second"]["units_left"], rows["second"]["units"]) == (4, 6)
    assert told.plan["dense_params"] == network(8).count_params()
    assert told.plan["params"] == sum(row["params_left"] for row in rows.values())


def test_layers_that_went_in_training_are_shown_as_gone():
    whole = network(8)
    inputs = keras.Input((4,))
    branch = keras.layers.Dense(8, name="branch")(inputs)
    outputs = whole.get_layer("out")(
        whole.get_layer("second")(keras.layers.Add()([whole.get_layer("first")(inputs), branch]))
    )
    told = against(report(8, [1]), keras.Model(inputs, outputs, name="with_branch"))
    row = next(row for row in told.plan["layers"] if row["name"] == "branch")
    assert (row["units_left"], row["params_left"], row["note"]) == (0, 0, "went while training")
    assert [item["left"] for item in told.skeleton if item["name"] in ("branch", "first")] == [False, True] or [
        item["left"] for item in told.skeleton if item["name"] in ("first", "branch")
    ] == [True, False]


@pytest.mark.parametrize("name", ["other", "out"])
def test_other_names_leave_the_report_as_it_is(name):
    before = report(8, [1])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name=name)])
    assert against(before, model) is before
