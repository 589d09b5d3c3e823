"""Data sets as tf.data pipelines, or as arrays without TensorFlow: training, validation (held out), test."""

import dataclasses
import importlib.util
import os
from typing import Any

import numpy as np
import plain_data
from failure import Failure

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
if HAS_TENSORFLOW:
    import augmentation
    import tensorflow as tf

# Decoded images of up to this many bytes are kept in memory.
CACHE_LIMIT = 2_000_000_000

# Side of photographs, whose own sizes differ.
PHOTOGRAPH = 224

# Bytes that a TFRecord file adds to each record.
FRAMING = 16


@dataclasses.dataclass
class Data:
    """Batches of (image, label), each a tf.data.Dataset or a `plain_data.Batches`, and what is known of them."""

    train: Any
    validation: Any
    test: Any
    input_shape: tuple
    classes: int
    train_examples: int


def load(
    name,
    data_dir,
    batch_size,
    image_size=None,
    validation_share=1 / 12,
    seed=0,
    augment=False,
    download=False,
    examples=None,
):
    """Loads a data set.

    Images are in [0, 1], those of `augmentation.NORMALIZATION` at mean 0 and deviation 1. Where the
    images of a data set differ in size, they are cropped as photographs are: the middle, or while
    training with `augment` a random region.

    Args:
        name: `"digits"` (scikit-learn's 1,797 scans of 8 x 8, which come with it) or a name that
            tensorflow-datasets knows, of images with one label each. Without TensorFlow, of a file
            `NAME.npz` in `data_dir`, as keras.datasets has them.
        data_dir: folder of tensorflow-datasets, or of such files; not used for digits.
        batch_size: int.
        image_size: int, images are resized to this height and width. Defaults to 28 for digits, to 224
            where the images differ in size and to the images' own size otherwise.
        validation_share: share of the training images held out for validation.
        seed: int, of the shuffling and the augmentation.
        augment: bool, whether training images are cropped and flipped at random.
        download: bool, whether a data set that is not in `data_dir` is downloaded into it.
        examples: int, only so many of the training images are used. Defaults to all.

    Returns:
        `Data`.
    """
    if not 0.0 < validation_share < 1.0:
        raise ValueError(f"`validation_share` must lie in (0, 1). Received: {validation_share}")
    if not HAS_TENSORFLOW:
        batches, *known = plain_data.load(
            name, data_dir, batch_size, image_size, validation_share, seed, augment, examples
        )
        return Data(*batches, *known)
    if name == "digits":
        splits, shape, classes, counts = _digits(validation_share, seed)
        image_size = image_size or 28
    else:
        splits, shape, classes, counts = _tensorflow_dataset(name, data_dir, validation_share, download)
    if examples is not None:
        splits[0], counts[0] = splits[0].take(examples), min(examples, counts[0])
    photographs = None in shape[:2]
    if photographs:
        image_size = image_size or PHOTOGRAPH
    if image_size is not None:
        shape = (image_size, image_size, shape[-1])

    def prepare(images, training):
        region = photographs and training and augment
        if photographs and not region:
            images = mapped(images, lambda image: augmentation.central_region(image, image_size))
        elif image_size is not None and not region:
            images = mapped(images, lambda image: tf.image.resize(image, shape[:2]))
        if not region and counts[0] * int(np.prod(shape)) <= CACHE_LIMIT:
            images = images.cache()
        if training:
            # What is not decoded yet is small enough for a longer queue.
            images = images.shuffle(min(counts[0], 10_000 if region else 60_000), seed=seed)
        if region:
            images = augmentation.with_seeds(
                images, seed, lambda image, pair: augmentation.random_region(image, image_size, pair)
            )
        elif training and augment:
            images = augmentation.with_seeds(images, seed, augmentation.crop_and_flip)
        images = mapped(images.batch(batch_size), lambda batch: augmentation.normalize(batch, name))
        options = tf.data.Options()
        # Workers of a distributed run share out the images, not the files, of which there may be one.
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return images.with_options(options).prefetch(tf.data.AUTOTUNE)

    train, validation, test = (prepare(split, i == 0) for i, split in enumerate(splits))
    return Data(train, validation, test, tuple(shape), classes, counts[0])


def mapped(images, function):
    return images.map(lambda image, label: (function(image), label), tf.data.AUTOTUNE)


def _digits(validation_share, seed):
    splits = plain_data.digits(validation_share, seed)
    counts = [len(labels) for _, labels in splits]
    return [tf.data.Dataset.from_tensor_slices(split) for split in splits], (8, 8, 1), 10, counts


def _tensorflow_dataset(name, data_dir, validation_share, download):
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir, download)
    features, sizes = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features):
        raise Failure(f"--dataset must have an image and a label. Received: {name} with {sorted(features)}")
    final = next((split for split in ("test", "validation") if split in sizes), None)
    if "train" not in sizes or final is None:
        raise Failure(f"--dataset must have a split train, and test or validation. Received: {name} with {list(sizes)}")
    for split in ("train", final):
        _check_files(name, sizes[split])
    held_out = round(sizes["train"].num_examples * validation_share)
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    splits = [
        builder.as_dataset(split=split, decoders=wanted).map(lambda example: (example["image"], example["label"]))
        for split in (f"train[:-{held_out}]", f"train[-{held_out}:]", final)
    ]
    counts = [sizes["train"].num_examples - held_out, held_out, sizes[final].num_examples]
    return splits, features["image"].shape, features["label"].num_classes, counts


def _builder(name, data_dir, download):
    """The prepared builder of a data set; ends the program with a clear message if there is none."""
    import tensorflow_datasets as tfds

    place = data_dir or tfds.core.constants.DATA_DIR
    if data_dir is not None and not download and not os.path.isdir(data_dir):
        raise Failure(f"--data_dir must be a folder of tensorflow-datasets. Received: {data_dir}, which is none")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if download:
            builder.download_and_prepare()
        prepared = builder.is_prepared()
    except tfds.core.registered.DatasetNotFoundError as error:
        raise Failure(
            f"--dataset must be digits or a data set that is in {place} or that tensorflow-datasets knows, "
            f"see https://www.tensorflow.org/datasets/catalog. Received: {name}"
        ) from error
    except Exception as error:
        # A broken dataset_info.json, no network, a full disk: the user needs its first words.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Failure(f"The data set {name} in {place} cannot be read: {reason}") from error
    if not prepared:
        raise Failure(f"The data set {name} is not in {place}: name another --data_dir, or --download it")
    return builder


def _check_files(name, split):
    """Compares the files of a split with what was written when it was prepared."""
    if not split.filepaths or split.file_instructions is None:
        return
    missing = [os.fspath(path) for path in split.filepaths if not os.path.exists(path)]
    if missing:
        raise Failure(f"The data set {name} is incomplete: there is no file {missing[0]}")
    expected = int(split.num_bytes) + FRAMING * split.num_examples
    found = sum(os.path.getsize(path) for path in split.filepaths)
    is_record = all(".tfrecord" in os.path.basename(path) for path in split.filepaths)
    if is_record and split.num_bytes and found != expected:
        raise Failure(
            f"The data set {name} is corrupt: the files of its split {split.name} in "
            f"{os.path.dirname(split.filepaths[0])} have {found:,} bytes, {expected:,} were written"
        )
