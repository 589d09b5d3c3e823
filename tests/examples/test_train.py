"""examples/train.py as a user runs it, and the parts that it is made of."""

import importlib
import pathlib
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from tests.reload import predict_in_fresh_process

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(monkeypatch):
    """Imports a file of examples/ by its name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loaded = []

    def load(name):
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    for name in loaded:
        sys.modules.pop(name, None)


def run(*flags):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "train.py"), *flags], capture_output=True, text=True, check=False
    )


def test_digits_from_training_to_saved_model(tmp_path):
    done = run("--epochs=3", "--finetune_epochs=1", f"--out={tmp_path}", "--batch_size=64")
    assert done.returncode == 0, done.stderr
    # The progress bar has the sparsity, the table what was found.
    for text in ("expected_params: ", "open_units: ", "test accuracy", "parameters", "MACs", "SavedModel"):
        assert text in done.stdout
    assert "latency" in done.stdout and "weights removed" in done.stdout
    assert str(tmp_path / "pruned_saved_model") in done.stdout
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in done.stdout
    assert {"gates", "train", "validation", "finetune"} <= {p.name for p in (tmp_path / "logs").iterdir()}
    x = np.random.default_rng(0).random((4, 28, 28, 1)).astype("float32")
    expected = keras.saving.load_model(tmp_path / "pruned.keras")(x)
    (served,) = predict_in_fresh_process(tmp_path / "pruned_saved_model", x, tmp_path, plain=True)
    np.testing.assert_allclose(served, expected, atol=1e-5)


def test_an_unwritable_folder_is_known_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(f"--out={tmp_path / 'file' / 'run'}")
    assert done.returncode != 0
    assert "`out` must be a folder that can be made and written" in done.stderr
    assert "Epoch" not in done.stdout


def test_more_fine_tuning_than_epochs_is_refused(tmp_path):
    done = run("--epochs=3", "--finetune_epochs=3", f"--out={tmp_path}")
    assert done.returncode != 0
    assert "--finetune_epochs must be less than --epochs" in done.stdout + done.stderr


def test_digits_are_split_without_overlap(load_example):
    data = load_example("data").load("digits", None, 100, image_size=8)
    parts = [
        np.concatenate([images.numpy() for images, _ in split]).reshape(-1, 64)
        for split in (data.train, data.validation, data.test)
    ]
    assert [len(part) for part in parts] == [1318, 120, 359]
    assert data.train_examples == 1318 and data.input_shape == (8, 8, 1) and data.classes == 10
    # All scans differ from one another, so what is distinct is what there is.
    distinct = len(np.unique(np.concatenate(parts), axis=0))
    assert distinct == 1797
    assert all(part.min() >= 0.0 and part.max() == 1.0 for part in parts)


def test_digits_are_scaled_up_and_shuffled_anew_each_epoch(load_example):
    data = load_example("data").load("digits", None, 64, seed=1)
    assert data.input_shape == (28, 28, 1)
    orders = [np.concatenate([labels.numpy() for _, labels in data.train]) for _ in range(2)]
    assert np.any(orders[0] != orders[1])
    np.testing.assert_array_equal(np.sort(orders[0]), np.sort(orders[1]))
    again = load_example("data").load("digits", None, 64, seed=1)
    np.testing.assert_array_equal(orders[0], np.concatenate([labels.numpy() for _, labels in again.train]))


def test_refused_validation_share(load_example):
    with pytest.raises(ValueError, match=r"`validation_share` must lie in \(0, 1\). Received: 1.0"):
        load_example("data").load("digits", None, 64, validation_share=1.0)


def test_penalties_are_the_papers(load_example):
    data = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)
    model = load_example("networks").build("lenet5", data, "hard_concrete")
    np.testing.assert_allclose([gate.l0 * 60_000 for gate in model.gates], [10, 0.5, 0.1, 10])
    model = load_example("networks").build("mlp", data, "hard_concrete", l0=[0.3])
    np.testing.assert_allclose([gate.l0 * 60_000 for gate in model.gates], [0.3] * 3)


def test_kernel_weights_are_those_of_the_papers(load_example):
    data = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)
    model = load_example("networks").build("lenet5", data, "hard_concrete")
    assert load_example("report").kernel_weights(model) == 500 + 25_000 + 400_000 + 5_000
