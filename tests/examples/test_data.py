"""Data sets of tensorflow-datasets, and what the papers do to images."""

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import data

    yield data
    for name in ("data", "augmentation", "failure"):
        sys.modules.pop(name, None)


def store(folder, shape=(12, 12, 3), sizes=None, features=("image", "label")):
    """A small data set in the format of tensorflow-datasets, as `shapes` of random images."""
    rng = np.random.default_rng(0)

    def examples(count):
        for i in range(count):
            size = shape if sizes is None else (*sizes[i % len(sizes)], 3)
            example = {"image": rng.integers(0, 256, size, "uint8"), "label": i % 4}
            yield {name: example[name] for name in features}

    kinds = {"image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(num_classes=4)}
    signature = {
        "image": tf.TensorSpec(shape, "uint8"),
        "label": tf.TensorSpec((), "int64"),
    }
    splits = {
        split: tf.data.Dataset.from_generator(
            lambda count=count: examples(count), output_signature={name: signature[name] for name in features}
        )
        for split, count in (("train", 24), ("test", 8))
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=tfds.features.FeaturesDict({name: kinds[name] for name in features}),
        split_datasets=splits,
        data_dir=folder,
    )
    return folder


def arrays(split):
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in split), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_a_data_set_on_disk(datasets, tmp_path):
    found = datasets.load("tiny", str(store(tmp_path)), 5, validation_share=0.25)
    assert found.input_shape == (12, 12, 3) and found.classes == 4 and found.train_examples == 18
    parts = [arrays(split)[0] for split in (found.train, found.validation, found.test)]
    assert [len(part) for part in parts] == [18, 6, 8]
    assert all(part.min() >= 0.0 and part.max() <= 1.0 for part in parts)
    # Training and validation are disjoint: random images differ.
    both = np.concatenate(parts[:2]).reshape(24, -1)
    assert len(np.unique(both, axis=0)) == 24


def test_a_choice_of_the_training_images(datasets, tmp_path):
    """Always the same ones, in another order in each epoch."""
    found = datasets.load("tiny", str(store(tmp_path)), 5, validation_share=0.25, examples=7)
    assert found.train_examples == 7
    first, second = (arrays(found.train)[0].reshape(7, -1) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
    assert [len(arrays(split)[0]) for split in (found.validation, found.test)] == [6, 8]


def test_augmentation_crops_flips_and_leaves_the_rest_alone(datasets, tmp_path):
    folder = str(store(tmp_path))

    def load(seed=0, augment=True):
        return datasets.load("tiny", folder, 6, validation_share=0.25, augment=augment, seed=seed)

    first, again, other, plain = load(), load(), load(1), load(augment=False)
    np.testing.assert_array_equal(arrays(first.train)[0], arrays(again.train)[0])
    assert np.any(arrays(first.train)[0] != arrays(other.train)[0])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(arrays(getattr(first, split))[0], arrays(getattr(plain, split))[0])
    # Each augmented image is a window of its padded original, or the mirror image of one.
    originals = np.pad(arrays(plain.train)[0], ((0, 0), (4, 4), (4, 4), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(originals, (12, 12), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    flipped = 0
    for image in arrays(load().train)[0]:
        straight = np.any(np.all(np.isclose(windows, image, atol=1e-6), axis=(3, 4, 5)))
        mirrored = np.any(np.all(np.isclose(windows, image[:, ::-1], atol=1e-6), axis=(3, 4, 5)))
        assert straight or mirrored
        flipped += mirrored and not straight
    assert 0 < flipped < 18


def test_another_crop_in_each_epoch(datasets, tmp_path):
    found = datasets.load("tiny", str(store(tmp_path)), 18, validation_share=0.25, augment=True)
    assert not np.array_equal(arrays(found.train)[0], arrays(found.train)[0])


@pytest.mark.parametrize("augment", [False, True])
def test_photographs_are_cropped_to_one_size(datasets, tmp_path, augment):
    folder = store(tmp_path, shape=(None, None, 3), sizes=[(40, 30), (20, 60), (33, 33)])
    found = datasets.load("tiny", str(folder), 4, image_size=16, augment=augment)
    assert found.input_shape == (16, 16, 3)
    for split in (found.train, found.validation, found.test):
        images, _ = arrays(split)
        assert images.shape[1:] == (16, 16, 3) and images.min() >= 0.0 and images.max() <= 1.0


def test_the_middle_of_a_photograph(datasets):
    # Columns count from 0 to 63; the shorter side becomes 32 * 256 / 224, of which the middle 32 are left.
    image = np.broadcast_to(np.arange(64, dtype="float32")[None, :, None], (32, 64, 3))
    (row, *_) = datasets.augmentation.central_region(tf.constant(image), 32).numpy()[..., 0]
    scale = 64 / 73
    np.testing.assert_allclose(row, (np.arange(32) + 20.5) * scale - 0.5, atol=0.5)


def test_normalization(datasets):
    mean, deviation = datasets.augmentation.NORMALIZATION["cifar10"]
    image = tf.reshape(tf.constant(mean), (1, 1, 3)) * 255.0
    np.testing.assert_allclose(datasets.augmentation.normalize(image, "cifar10"), np.zeros((1, 1, 3)), atol=1e-6)
    white = datasets.augmentation.normalize(tf.fill((1, 1, 3), 255), "cifar10")
    np.testing.assert_allclose(white[0, 0], (1 - np.array(mean)) / deviation, rtol=1e-5)
    np.testing.assert_allclose(datasets.augmentation.normalize(tf.fill((1, 1, 3), 255), "tiny"), np.ones((1, 1, 3)))


def test_a_file_that_was_cut_off(datasets, tmp_path):
    (record,) = store(tmp_path).rglob("*train.tfrecord*")
    record.write_bytes(record.read_bytes()[:-7])
    with pytest.raises(SystemExit, match="The data set tiny is corrupt: the files of its split train in .* bytes"):
        datasets.load("tiny", str(tmp_path), 5)


def test_a_file_that_is_missing(datasets, tmp_path):
    (record,) = store(tmp_path).rglob("*test.tfrecord*")
    record.unlink()
    with pytest.raises(SystemExit, match="The data set tiny is incomplete: there is no file .*test.tfrecord"):
        datasets.load("tiny", str(tmp_path), 5)


def test_a_description_that_was_cut_off(datasets, tmp_path):
    (info,) = store(tmp_path).rglob("dataset_info.json")
    info.write_text(info.read_text()[:40])
    with pytest.raises(SystemExit, match="The data set tiny in .* cannot be read: "):
        datasets.load("tiny", str(tmp_path), 5)


def test_a_data_set_without_labels(datasets, tmp_path):
    store(tmp_path, features=("image",))
    with pytest.raises(SystemExit, match="--dataset must have an image and a label. Received: tiny with .'image'"):
        datasets.load("tiny", str(tmp_path), 5)
