"""Data of the programs where there is no TensorFlow."""

import importlib
import pathlib

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def plain_data(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("plain_data")


def load(plain_data, name, folder=None, **changes):
    given = {"image_size": None, "validation_share": 0.25, "seed": 0, "augment": False, "examples": None, **changes}
    return plain_data.load(name, folder, 4, **given)


def labels_of(batches):
    return np.concatenate([labels for _, labels in batches])


def arrays(count=12):
    labels = np.arange(count) % 3
    images = np.broadcast_to(labels[:, None, None], (count, 6, 6)).astype("uint8") * 100
    return {"x_train": images, "y_train": labels[:, None], "x_test": images[:5], "y_test": labels[:5]}


def test_digits(plain_data):
    (train, validation, test), shape, classes, count = load(plain_data, "digits", examples=10)
    assert shape == (28, 28, 1) and classes == 10 and count == 10 and train.cardinality() == 3
    images, _ = train[0]
    assert images.shape == (4, 28, 28, 1) and images.dtype == np.float32 and 0.5 < images.max() < 1.001
    assert len(labels_of(validation)) == 360 and len(labels_of(test)) == 359


def test_a_file_of_arrays(plain_data, tmp_path):
    np.savez(tmp_path / "small.npz", **arrays())
    (train, validation, test), shape, classes, count = load(plain_data, "small", str(tmp_path))
    assert shape == (6, 6, 1) and classes == 3 and count == 9
    for batches in (train, validation, test):
        for images, labels in batches:
            np.testing.assert_allclose(images[:, 0, 0, 0], labels * 100 / 255, rtol=1e-6)
    # What is for training comes in another order in each epoch, the same for a seed; the rest stays.
    first = labels_of(train)
    train.on_epoch_end()
    (again, *_), *_ = load(plain_data, "small", str(tmp_path))
    np.testing.assert_array_equal(first, labels_of(again))
    assert np.any(first != labels_of(train)) and sorted(first) == sorted(labels_of(train))
    np.testing.assert_array_equal(labels_of(test), arrays()["y_test"])


def test_crops_and_flips(plain_data):
    images = np.arange(2 * 6 * 6, dtype="float32").reshape(2, 6, 6, 1) + 1.0
    made = plain_data.crop_and_flip(images, np.random.default_rng(0))
    assert made.shape == images.shape and np.any(made != images)
    for image, original in zip(made, images, strict=True):
        assert set(np.unique(image)) <= {0.0, *np.unique(original)}


def test_what_is_missing_is_named(plain_data, tmp_path):
    with pytest.raises(plain_data.Failure, match="must be digits, or NAME.npz in --data_dir.*Received: other, but"):
        load(plain_data, "other", str(tmp_path))
    np.savez(tmp_path / "half.npz", x_train=np.zeros((2, 2, 2)))
    with pytest.raises(plain_data.Failure, match="must hold the arrays x_train.*none named x_test, y_test, y_train"):
        load(plain_data, "half", str(tmp_path))
