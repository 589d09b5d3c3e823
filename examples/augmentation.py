"""What happens to images between the data set and the network, as the papers do it.

Random numbers come from a data set of seeds, so that the same seed gives the same images, whatever
the number of threads.
"""

import tensorflow as tf
from plain_data import NORMALIZATION, PADDING

# Photographs: the shorter side before the central crop, relative to the crop (256 for 224).
CENTRAL = 256 / 224


def seeds(seed):
    """Endless pairs of random numbers, others in each epoch."""
    return tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)


def with_seeds(images, seed, function):
    """Maps `function(image, pair of random numbers)` over the images of (image, label)."""
    return tf.data.Dataset.zip((images, seeds(seed))).map(
        lambda example, pair: (function(example[0], pair), example[1]), tf.data.AUTOTUNE
    )


def crop_and_flip(image, seed):
    """Pads by 4, crops at random to the size before, flips every other image (He et al. 2016, section 4.2)."""
    shape = image.shape
    padded = tf.pad(image, [[PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    image = tf.image.stateless_random_crop(padded, shape, seed)
    return tf.image.stateless_random_flip_left_right(image, seed + 1)


def random_region(image, size, seed):
    """A region of 8 to 100 % of the area, resized to `size`, flipped every other time (Szegedy et al. 2015)."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
    )
    channels = image.shape[-1]
    image = tf.image.resize(tf.slice(image, begin, extent), (size, size))
    image = tf.image.stateless_random_flip_left_right(image, seed + 1)
    return tf.ensure_shape(image, (size, size, channels))


def central_region(image, size):
    """The shorter side resized to 256 for a `size` of 224, then the middle (He et al. 2016, section 3.4)."""
    shape = tf.cast(tf.shape(image)[:2], "float32")
    scaled = tf.cast(tf.round(shape * (size * CENTRAL / tf.reduce_min(shape))), "int32")
    channels = image.shape[-1]
    image = tf.image.resize(image, tf.maximum(scaled, size))
    image = tf.image.resize_with_crop_or_pad(image, size, size)
    return tf.ensure_shape(image, (size, size, channels))


def normalize(images, name):
    """Images in 0 to 255 to [0, 1], and to mean 0 and deviation 1 where the papers do so."""
    images = tf.cast(images, "float32") / 255.0
    if name not in NORMALIZATION:
        return images
    mean, deviation = NORMALIZATION[name]
    return (images - mean) / deviation
