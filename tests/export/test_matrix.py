"""Pruned networks in every format that Keras exports, read where there is no tfgates."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import tfgates
from tests import forked
from tests.matrices import MATRICES
from tfgates.pruning import compressed_bytes

READER = pathlib.Path(__file__).with_name("reader.py")
FORMATS = {"saved_model": "saved_model", "keras": "model.keras", "tflite": "model.tflite", "onnx": "model.onnx"}
# What the readers of each format add to the difference of the networks.
TOLERANCE = {"saved_model": 1e-6, "keras": 1e-6, "tflite": 2e-5, "onnx": 2e-5}
BATCHES = (1, 5)
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "tf2onnx"))


def residual():
    inputs = keras.Input((12, 12, 2))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    for _ in range(2):
        shortcut = x
        x = keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))


def close(model, share=0.5):
    """Closes a share of the units of each gate, of a gate with one unit every second one."""
    draw = np.random.default_rng(2)
    for number, gate in enumerate(model.gates):
        closed = draw.random(gate.units) < share
        closed[0] = gate.units == 1 and number % 2 == 1
        gate.logits.assign(np.where(closed, -6.0, draw.uniform(0.3, 2.0, gate.units)))


def lenet():
    model = tfgates.applications.lenet5(gate="hard_concrete")
    close(model, 0.7)
    return model


def with_batch_normalization():
    model = tfgates.gate_model(residual(), gate="hard_concrete")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.random.default_rng(3).normal(size=layer.moving_mean.shape))
    close(model)
    return model


def with_generator():
    model = tfgates.gate_model(residual(), gate="hard_concrete", generator="backward")
    for layer in model.layers:
        if isinstance(layer, tfgates.layers.GateGenerator):
            for weight in layer.trainable_variables:
                values = np.random.default_rng(4).normal(size=weight.shape)
                weight.assign(values + (len(weight.shape) == 1) * 0.3)
    return model


def with_block_gates():
    model = tfgates.gate_model(residual(), gate="disarm", residual="block")
    close(model)
    return model


NETWORKS = {
    "lenet, hard concrete": lenet,
    "residual, batch normalisation": with_batch_normalization,
    "residual, generator": with_generator,
    "residual, block gates": with_block_gates,
}

QUICK = ("residual, batch normalisation",)


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """Folder of a network in all formats, with what each reader makes of it."""
    root = tmp_path_factory.mktemp("exported")
    model = NETWORKS[request.param]()
    small = tfgates.prune(model)
    folder = root / "network"
    folder.mkdir()
    small.export(str(folder / "saved_model"), verbose=False)
    small.save(folder / "model.keras")
    small.export(str(folder / "model.tflite"), format="litert", verbose=False)
    if HAS_ONNX:
        small.export(str(folder / "model.onnx"), format="onnx", verbose=False)
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=(size, *model.input_shape[1:])).astype("float32") for size in BATCHES]
    np.savez(folder / "given.npz", *inputs)
    expected = [keras.ops.convert_to_numpy(model(x, training=False)) for x in inputs]
    done = forked.run([READER, root])
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, expected, (small.count_params(), model.count_params())


# Keras's converter to ONNX meets NumPy 2.
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize(
    "exported",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS],
    indirect=True,
)
def test_export(kind, exported):
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("needs the packages onnx and tf2onnx")
    folder, expected, (small, gated) = exported
    assert small < 0.9 * gated
    with np.load(folder / f"{kind}.npz") as made:
        outputs = [made[name] for name in made.files]
    for size, a, b in zip(BATCHES, expected, outputs, strict=True):
        assert b.shape == (size, a.shape[1])
        np.testing.assert_allclose(b, a, atol=TOLERANCE[kind] + 1e-6)
    # A control: examples differ by more than the formats may.
    assert np.max(np.abs(expected[1][0] - expected[1][1])) > 1e-4
    assert compressed_bytes(folder / FORMATS[kind]) > 0


def test_the_matrix_is_whole():
    assert len(NETWORKS) * len(FORMATS) == MATRICES["export"].cells
