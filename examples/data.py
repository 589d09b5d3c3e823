"""Data sets as tf.data pipelines: training, validation (held out from training), test."""

import dataclasses

import numpy as np
import tensorflow as tf

# Decoded images of up to this many bytes are kept in memory.
CACHE_LIMIT = 2_000_000_000


@dataclasses.dataclass
class Data:
    """Batched pipelines of (image in [0, 1], label), and what is known of them."""

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    input_shape: tuple
    classes: int
    train_examples: int


def load(name, data_dir, batch_size, image_size=None, validation_share=1 / 12, seed=0):
    """Loads a data set.

    Args:
        name: `"digits"` (scikit-learn's 1,797 scans of 8 x 8, which come with it) or a name that
            tensorflow-datasets knows, of images with one label each.
        data_dir: folder of tensorflow-datasets; not used for digits.
        batch_size: int.
        image_size: int, images are resized to this height and width. Defaults to 28 for digits and to
            the images' own size otherwise.
        validation_share: share of the training images held out for validation.
        seed: int, of the shuffling.

    Returns:
        `Data`.
    """
    if not 0.0 < validation_share < 1.0:
        raise ValueError(f"`validation_share` must lie in (0, 1). Received: {validation_share}")
    if name == "digits":
        splits, shape, classes, counts = _digits(validation_share, seed)
        image_size = image_size or 28
    else:
        splits, shape, classes, counts = _tensorflow_dataset(name, data_dir, validation_share)
    if image_size is None:
        if None in shape:
            raise ValueError(f"`image_size` must be given: the images of {name} differ in size")
    else:
        shape = (image_size, image_size, shape[-1])

    def prepare(images, training):
        if image_size is not None:
            images = images.map(
                lambda image, label: (tf.image.resize(image, shape[:2]), label), tf.data.AUTOTUNE
            )
        if counts[0] * int(np.prod(shape)) <= CACHE_LIMIT:
            images = images.cache()
        if training:
            images = images.shuffle(min(counts[0], 60_000), seed=seed)
        return (
            images.batch(batch_size)
            .map(lambda image, label: (tf.cast(image, "float32") / 255.0, label), tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )

    train, validation, test = (prepare(split, i == 0) for i, split in enumerate(splits))
    return Data(train, validation, test, tuple(shape), classes, counts[0])


def _digits(validation_share, seed):
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The scans are counts from 0 to 16.
    images = (digits.images[..., None] / 16.0 * 255.0).astype("float32")
    order = np.random.default_rng(seed).permutation(len(images))
    test = len(images) // 5
    validation = round((len(images) - test) * validation_share)
    parts = order[test + validation :], order[test : test + validation], order[:test]
    splits = [tf.data.Dataset.from_tensor_slices((images[p], digits.target[p])) for p in parts]
    return splits, (8, 8, 1), 10, [len(p) for p in parts]


def _tensorflow_dataset(name, data_dir, validation_share):
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    builder.download_and_prepare()
    features, sizes = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features):
        raise ValueError(
            f"`dataset` must have an image and a label. Received: {name} with {sorted(features)}"
        )
    held_out = round(sizes["train"].num_examples * validation_share)
    final = next((split for split in ("test", "validation") if split in sizes), None)
    if final is None:
        raise ValueError(f"`dataset` must have a test or validation split. Received: {name}")
    splits = [
        builder.as_dataset(split=split, as_supervised=True)
        for split in (f"train[:-{held_out}]", f"train[-{held_out}:]", final)
    ]
    counts = [sizes["train"].num_examples - held_out, held_out, sizes[final].num_examples]
    return splits, features["image"].shape, features["label"].num_classes, counts
