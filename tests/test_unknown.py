"""Arguments that nobody knows, and data without targets: what was meant is said before anything is trained."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgates
from tfgates.unknown import arguments_of, nearest

BUDGET = tfgates.Budget(params=0.5)
X, Y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")


def network():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, activation="relu")(inputs)))


def compress(data=(X, Y), **arguments):
    return tfgates.compress(network(), data, BUDGET, "mse", epochs=2, verbose=0, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compress(lr=0.1), "`compress` has no argument `lr`. Did you mean `learning_rate`.*Received: lr=0.1"),
        (lambda: compress(finetune=0.1), "`compress` has no argument `finetune`. Did you mean `fine_tune`"),
        (
            lambda: compress(nonsense=1),
            "`compress` has no argument `nonsense`. It takes model, data, .* seed. Received",
        ),
        (lambda: compress(gate="scaling", temperature=1.0), "`compress` has no argument `temperature`"),
        (lambda: compress(importance="l1", lr=1), "`compress` has no argument `lr`"),
        (lambda: tfgates.gate_model(network(), bugdet=BUDGET), "`gate_model` has no argument `bugdet`. Did .*`budget`"),
        (lambda: tfgates.gate_model(network(), temprature=1), "Did you mean `temperature`"),
        # They follow from where a gate stands.
        (lambda: tfgates.gate_model(network(), axis=1), "`gate_model` has no argument `axis`"),
        (lambda: tfgates.gate_model(network(), name="gated"), "`gate_model` has no argument `name`"),
        (
            lambda: tfgates.gate_model(network(), tfgates.gates.HardConcreteGate(), penalties={}),
            "`gate_model` has no argument `penalties`. Did you mean `penalty`",
        ),
        (lambda: tfgates.Budget(mac=0.5), "`Budget` has no argument `mac`. Did you mean `macs`.*Received: mac=0.5"),
        (lambda: tfgates.finish(network(), (X, Y), rounds=2), "`finish` has no argument `rounds`. Did .*`round_to`"),
    ],
)
def test_an_argument_that_nobody_knows(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_what_was_meant():
    allowed = ["batch_size", "learning_rate", "weight_decay"]
    assert [nearest(name, allowed) for name in ("bs", "LR", "learningrate", "decay", "x")] == [
        "batch_size", "learning_rate", "learning_rate", None, None,
    ]  # fmt: skip
    assert "estimator" in arguments_of(tfgates.gates.NAMES["arm"])
    assert arguments_of(nearest) == ["name", "allowed"]


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(*parts).batch(4)


class Sequence(keras.utils.PyDataset):
    num_batches = 1

    def __getitem__(self, index):
        return (X,)


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (X, "ndarray that is no tuple"),
        ({"x": X}, "dict that is no tuple"),
        ((X,), "tuple of 1"),
        ([X, None], "list of 2, the second of them None"),
        (dataset(X), "_BatchDataset that is no tuple"),
        (dataset((X,)), "_BatchDataset of 1"),
        (Sequence(), "Sequence of 1"),
    ],
)
def test_data_without_targets(data, received):
    with pytest.raises(ValueError, match=f"`data` must have targets for `loss`.*Received: data={received}"):
        compress(data)


def test_taylor_without_targets():
    with pytest.raises(ValueError, match="`data` must have targets for `loss`.*Received: data=tuple of 1"):
        tfgates.prune_by(network(), BUDGET, "taylor", data=(X,), loss="mse")


def test_the_packages_for_onnx(monkeypatch, tmp_path):
    gated = tfgates.gate_model(network(), gate="scaling")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name))
    with pytest.raises(ImportError, match=r"pip install onnx tf2onnx\. .*Received: .*without \[\'tf2onnx\'\]"):
        gated.export(tmp_path / "model.onnx", format="onnx")


def test_what_a_backend_cannot_export(monkeypatch, tmp_path):
    gated = tfgates.gate_model(network(), gate="scaling")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(
        ValueError, match="`format` must be one that PyTorch can make.*Received: format='tf_saved_model'"
    ):
        gated.export(tmp_path / "model")
    found = importlib.util.find_spec
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name))
    with pytest.raises(ImportError, match=r"pip install tensorflow\. .*Received: .*without"):
        gated.export(tmp_path / "model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax2onnx" else found(name))
    with pytest.raises(ImportError, match=r"pip install onnx jax2onnx\. .*Received: .*without \[\'jax2onnx\'\]"):
        gated.export(tmp_path / "model.onnx", format="onnx")
