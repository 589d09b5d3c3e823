"""Data sets as arrays, where there is no TensorFlow: the digits, and files of arrays as keras.datasets has them."""

import os

import keras
import numpy as np
from failure import Failure

# Mean and deviation of the channels, of images in [0, 1].
NORMALIZATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

# Small images are padded by this many pixels before a crop.
PADDING = 4

# What a file of arrays has in it.
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class Batches(keras.utils.PyDataset):
    """Batches of images and labels, in another order in each epoch where they are for training.

    Args:
        images, labels: arrays.
        batch_size: int.
        seed: int of the order and of the augmentation, or None for the order that is given.
        augment: bool, whether images are cropped and flipped at random.
    """

    def __init__(self, images, labels, batch_size, seed=None, augment=False):
        super().__init__()
        self._images, self._labels, self._batch_size, self._augment = images, labels, batch_size, augment
        self._generator = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(images))
        self.on_epoch_end()

    def cardinality(self):
        """The number of batches, as a tf.data pipeline tells it."""
        return len(self)

    def __len__(self):
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        images = self._images[chosen]
        return (crop_and_flip(images, self._generator) if self._augment else images), self._labels[chosen]

    def on_epoch_end(self):
        if self._generator is not None:
            self._generator.shuffle(self._order)


def crop_and_flip(images, generator):
    """Pads by 4, crops at random to the size before, flips every other image (He et al. 2016, section 4.2)."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    made = np.empty_like(images)
    for i, (top, left) in enumerate(generator.integers(0, 2 * PADDING + 1, (len(images), 2))):
        image = padded[i, top : top + height, left : left + width]
        made[i] = image[:, ::-1] if generator.random() < 0.5 else image
    return made


def normalized(images, name):
    """Images in 0 to 255 to [0, 1], and to mean 0 and deviation 1 where the papers do so."""
    images = images.astype("float32") / np.float32(255.0)
    if name in NORMALIZATION:
        mean, deviation = np.asarray(NORMALIZATION[name], "float32")
        images = (images - mean) / deviation
    return images


def digits(validation_share, seed):
    """Pairs of images in 0 to 255 and labels for training, validation and test: scans that scikit-learn brings."""
    from sklearn.datasets import load_digits

    found = load_digits()
    # The scans are counts from 0 to 16.
    images = (found.images[..., None] / 16.0 * 255.0).astype("float32")
    order = np.random.default_rng(seed).permutation(len(images))
    test = len(images) // 5
    validation = round((len(images) - test) * validation_share)
    parts = order[test + validation :], order[test : test + validation], order[:test]
    return [(images[part], found.target[part]) for part in parts]


def from_file(name, data_dir, validation_share):
    """The same from `NAME.npz` in a folder, the last part of what is for training held out for validation."""
    path = os.path.join(data_dir or ".", f"{name}.npz")
    if not os.path.exists(path):
        raise Failure(
            "Without TensorFlow --dataset must be digits, or NAME.npz in --data_dir with the arrays "
            f"{', '.join(ARRAYS)}, as keras.datasets stores mnist.npz. Received: {name}, but there is no file {path}"
        )
    with np.load(path) as file:
        missing = sorted({*ARRAYS} - {*file.files})
        if missing:
            raise Failure(f"{path} must hold the arrays {', '.join(ARRAYS)}. Received: none named {', '.join(missing)}")
        images, labels, tested, answers = (file[each] for each in ARRAYS)
    images, tested = (each[..., None] if each.ndim == 3 else each for each in (images, tested))
    labels, answers = labels.reshape(-1), answers.reshape(-1)
    held_out = round(len(images) * validation_share)
    return [(images[:-held_out], labels[:-held_out]), (images[-held_out:], labels[-held_out:]), (tested, answers)]


def load(name, data_dir, batch_size, image_size, validation_share, seed, augment, examples):
    """The three `Batches`, the shape of an image, the number of classes and that of images to train on."""
    splits = digits(validation_share, seed) if name == "digits" else from_file(name, data_dir, validation_share)
    image_size = image_size or (28 if name == "digits" else None)
    if examples is not None:
        splits[0] = tuple(each[:examples] for each in splits[0])
    classes = int(max(labels.max() for _, labels in splits)) + 1

    def prepared(images):
        if image_size is not None and images.shape[1:3] != (image_size, image_size):
            resized = keras.ops.image.resize(images.astype("float32"), (image_size, image_size))
            images = keras.ops.convert_to_numpy(resized)
        return normalized(images, name)

    made = [
        Batches(prepared(images), labels, batch_size, seed if training else None, training and augment)
        for training, (images, labels) in zip((True, False, False), splits, strict=True)
    ]
    (images, _), *_ = splits
    size = images.shape[1:3] if image_size is None else (image_size, image_size)
    return made, (*size, images.shape[-1]), classes, len(images)
