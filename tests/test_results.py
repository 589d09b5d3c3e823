"""Results as data: JSON, data frames, HTML."""

import json
import math
import sys

import keras
import numpy as np
import pytest

import tfgates
from tfgates.results import Result, number
from tfgates.training.report import Report


@pytest.fixture
def gated():
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, name="head")(x)
    model = tfgates.gate_model(keras.Model(inputs, x), layers=["conv"])
    model.gates[0].logits.assign(np.where(np.arange(8) < 3, 3.0, -3.0))
    return model


def test_a_plan_as_data(gated):
    plan = tfgates.plan_pruning(gated, min_units=4)
    data = plan.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert (data["params"], data["dense_params"], data["macs"]) == (plan.params, plan.dense_params, plan.macs)
    assert (data["min_units"], data["round_to"]) == (4, 1)
    conv = data["layers"][0]
    assert (conv["name"], conv["kind"], conv["units"], conv["units_left"]) == ("conv", "GatedConv2D", 8, 4)
    assert data["kept"] == [{"gate": name, "reason": reason} for name, reason in plan.kept]


def test_what_is_chosen_for_a_budget_is_in_the_data():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    budget = tfgates.Budget(params=0.5)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)), budget=budget)
    plan = tfgates.plan_pruning(model)
    assert plan.chosen
    assert plan.to_dict()["chosen"] == [{"gate": name, "change": change} for name, change in plan.chosen]


def test_a_cost_as_data(gated):
    cost = tfgates.cost(gated)
    data = cost.to_dict()
    assert json.loads(json.dumps(data)) == data
    for name in ("params", "macs", "dense_params", "dense_macs", "expected_params", "expected_macs"):
        assert data[name] == pytest.approx(getattr(cost, name))
        assert sum(layer[name] for layer in data["layers"]) == pytest.approx(data[name])


def test_unknown_macs_are_none():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    for result in (tfgates.plan_pruning(model), tfgates.cost(model)):
        text = json.dumps(result.to_dict(), allow_nan=False)
        assert json.loads(text)["macs"] is None
        assert "nan" not in result._repr_html_()


def test_numbers():
    values = (3, 3.0, np.float32(0.5), np.int64(7), float("nan"), math.inf)
    assert [number(value) for value in values] == [3, 3, 0.5, 7, None, None]
    assert isinstance(number(3.0), int)


def test_html_is_escaped_and_complete(gated):
    class Named(Result):
        def records(self):
            return [{"layer": "<b>&", "units": 1200, "share": 0.12345, "whole": True, "note": None}]

        def remarks(self):
            return {"<i>": [("<u>", "a<b")], "nothing": []}

    text = Named()._repr_html_()
    assert "&lt;b&gt;&amp;" in text and "&lt;i&gt;" in text and "&lt;u&gt;: a&lt;b" in text
    assert "1,200" in text and "0.1235" in text and "True" in text and "nothing" not in text and "None" not in text
    for result in (tfgates.plan_pruning(gated), tfgates.cost(gated), gated.report):
        text = result._repr_html_()
        assert text.count("<tr>") == len(result.records()) + 1
        assert "conv" in text and "http" not in text and "<script" not in text
    assert "<table>" in Report()._repr_html_()


def test_data_frames(gated):
    pytest.importorskip("pandas", reason="needs pandas")
    plan = tfgates.plan_pruning(gated)
    frame = plan.to_pandas()
    assert frame["params_left"].sum() == plan.params
    assert list(frame["name"]) == [row.name for row in plan.layers]
    assert tfgates.cost(gated).to_pandas()["dense_macs"].sum() == plan.dense_macs
    assert gated.report.to_pandas().set_index("layer").loc["conv", "gated"]


def test_without_pandas(gated, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"`to_pandas` needs pandas: pip install pandas$"):
        tfgates.cost(gated).to_pandas()


def test_the_report_of_a_gated_network_is_saved(gated, tmp_path):
    data = gated.report.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["gated"] == [{"layer": "conv", "units": "8 units"}]
    gated.save(tmp_path / "gated.keras")
    loaded = keras.models.load_model(tmp_path / "gated.keras")
    assert loaded.report.to_dict() == data and str(loaded.report) == str(gated.report)
    copied = type(gated).from_config(gated.get_config())
    assert copied.report.to_dict() == data


def test_a_gated_model_made_by_hand_has_no_report(tmp_path):
    inputs = keras.Input((4,))
    model = tfgates.GatedModel(inputs, tfgates.layers.GatedDense(3)(inputs))
    assert model.report is None and "report" not in model.get_config()
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").report is None
