"""The picture of a plan."""

import builtins

import keras
import numpy as np
import pytest

import tfgates
from tfgates.pruning.picture import summary_line


@pytest.fixture
def plan():
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(3)(x)))
    model.gates[0].logits.assign(np.where(np.arange(8) < 2, 3.0, -3.0))
    return tfgates.plan_pruning(model)


def test_totals_in_a_line(plan):
    # 2 of 8 filters of 10 parameters; a dense layer on 16 places of each.
    assert summary_line(plan).startswith("119 of 467 parameters (25.5 %)")


def test_picture_is_written_and_returned(plan, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    picture = tfgates.pruning.draw_plan(plan, tmp_path / "plan.png", title="a title")
    assert picture.startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.png"]


def test_a_network_whose_macs_are_not_known():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    inputs = keras.Input((None, 6, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    plan = tfgates.plan_pruning(tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(3)(x))))
    assert summary_line(plan) == "107 of 107 parameters (100.0 %), MACs unknown"
    assert tfgates.pruning.draw_plan(plan).startswith(b"\x89PNG")


def test_without_matplotlib(plan, monkeypatch):
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="Pictures need matplotlib"):
        tfgates.pruning.draw_plan(plan)
