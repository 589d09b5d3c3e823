"""report_of: what became of a network, beside a model that stays plain."""

import gc
import json
import pickle
import weakref

import keras
import numpy as np
import pytest

import tfgates


def network():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(12, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name="network")


def data():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    return x, (x[:, :1] > 0).astype("int32")[:, 0]


def gated_and_pruned():
    gated = tfgates.gate_model(network())
    gated.gates[0].logits.assign(np.where(np.arange(12) < 5, 3.0, -3.0))
    return gated, tfgates.prune(gated)


@pytest.fixture
def pruned():
    return gated_and_pruned()


def test_of_pruning(pruned):
    gated, small = pruned
    plan, report = tfgates.plan_pruning(gated), tfgates.report_of(small)
    assert report.plan == plan.to_dict() and str(report) == str(plan)
    assert report.records() == plan.records() and report.remarks() == plan.remarks()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.history.records() == []


def test_of_compress():
    class Sometimes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch % 2:
                logs["odd"] = np.float32(epoch)

    budget = tfgates.Budget(params=0.5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    settings = {"loss": loss, "epochs": 4, "fine_tune": 0.25, "verbose": 0, "callbacks": [Sometimes()]}
    small = tfgates.compress(network(), data(), budget, **settings)
    report = tfgates.report_of(small)
    assert report.plan["params"] == tfgates.cost(small).params < report.plan["dense_params"]
    rows = report.history.records()
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("gated", 1),
        ("gated", 2),
        ("gated", 3),
        ("fine-tuning", 4),
    ]
    assert [row["odd"] for row in rows] == [None, 1, None, 3]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert rows[0]["expected_params"] and rows[-1]["expected_params"] is None
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    pytest.importorskip("pandas", reason="needs pandas")
    assert list(report.history.to_pandas()["epoch"]) == [1, 2, 3, 4]


def test_nothing_of_it_is_in_the_model(pruned, tmp_path):
    gated, small = pruned
    assert not any("report" in name for name in vars(small))
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    for other in (loaded, pickle.loads(pickle.dumps(small)), gated, network(), "small"):
        with pytest.raises(ValueError, match="`model` must be what `tfgates.prune`.*Received: model='"):
            tfgates.report_of(other)


def test_it_keeps_no_network_alive():
    gated, small = gated_and_pruned()
    report = tfgates.report_of(small)
    models = [weakref.ref(gated), weakref.ref(small)]
    del gated, small
    keras.utils.clear_session()
    gc.unfreeze()
    gc.collect()
    assert report.plan["params"]
    assert [model() for model in models] == [None, None]
