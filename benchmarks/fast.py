"""A fast network on CIFAR-10: dense, gates at half of the MACs, and controls, on a processor, in minutes of it.

    python benchmarks/fast.py --data_dir=../shared/data/tfds --out=runs/fast --seeds 0

A small convolutional network and a recipe in the manner of K. Jordan's airbench94 ("94 % on CIFAR-10 in 3.29 seconds",
arXiv 2404.00498): 2 x 2 patches are whitened by a fixed layer, six convolutions begin as the identity where they can,
normalisations have offsets alone, which learn 64 times as fast; SGD with Nesterov momentum, labels smoothed by .2, one
triangle of the rate over all epochs, images shifted by up to two pixels and flipped in every other epoch. Left out:
lookahead, and the offsets of the whitening layer. mixed_bfloat16.

All rows have the same epochs, recipe and rate; 48,000 images are trained on, 2,000 held out. Test images are read once,
at the last epoch of what is left: as they are, and as the mean over six views of each, flipped and shifted by one
pixel, as published. One process, one thread; a run that is in OUT/fast.json is not run again.

Rows:
    dense        nothing removed
    gates        `compress` from scratch, with the optimizer of the others. Gates begin wider open than by default: a
                 network without shortcuts that learns most in its first hundred steps is held back by their noise
    magnitude    `compress(importance="magnitude")`: the same without gates, two thirds of the epochs before pruning
    narrow       the same width less everywhere, from scratch
"""

import argparse
import functools
import os
import pathlib
import time

BATCH, WIDTHS = 512, (64, 256, 256)
# Of 1,024 images, without what momentum adds; that of decay is of each step at the largest rate.
RATE, DECAY, MOMENTUM, OFFSETS, SMOOTHING = 11.5, 0.0153, 0.85, 64.0, 0.2
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
ROWS = ("dense", "gates", "magnitude", "narrow")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 in it")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=ROWS)
    parser.add_argument("--macs", type=float, nargs="*", default=[0.5])
    parser.add_argument("--images", type=int, default=48_000, help="so many of those for training")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--fine_tune", type=float, default=0.4, help="share of the epochs after the gates")
    parser.add_argument("--initial_open_probability", type=float, default=0.998, help="of the gates")
    parser.add_argument("--policy", default="mixed_bfloat16")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/fast"))
    return parser.parse_args()


def whitening(images):
    """Kernel of a 2 x 2 convolution whose outputs have variance 1 and are uncorrelated, and their negatives."""
    import numpy as np

    height, width = images.shape[1] - 1, images.shape[2] - 1
    corners = [images[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)]
    patches = np.concatenate(corners, -1).reshape(-1, 12).astype("float64")
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    kernel = (vectors / np.sqrt(values + 5e-4)).reshape(2, 2, 3, 12)
    return np.concatenate([kernel, -kernel], -1).astype("float32")


def network(kernel, factor=1.0):
    """The network with its widths times `factor`; `kernel` is that of the fixed first layer."""
    import keras
    import numpy as np
    from keras import layers

    def convolution(x, filters):
        bound = (9 * x.shape[-1]) ** -0.5
        start = keras.initializers.RandomUniform(-bound, bound)
        return layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=start)(x)

    def active(x):
        return layers.Activation("gelu")(layers.BatchNormalization(scale=False, momentum=0.6, epsilon=1e-6)(x))

    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(24, 2, use_bias=False, trainable=False, name="whitening")(inputs)
    x = layers.Activation("gelu")(x)
    for width in WIDTHS:
        filters = max(1, int(factor * width))
        x = active(layers.MaxPooling2D()(convolution(x, filters)))
        x = active(convolution(x, filters))
    x = layers.Dense(10, use_bias=False, name="scores")(layers.Flatten()(layers.MaxPooling2D(3)(x)))
    model = keras.Model(inputs, layers.Rescaling(1 / 9, dtype="float32")(x))
    model.get_layer("whitening").kernel.assign(kernel)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.name != "whitening":
            values = np.array(layer.kernel)
            same = min(values.shape[2:])
            values[..., :same] = 0.0
            values[1, 1, range(same), range(same)] = 1.0
            layer.kernel.assign(values)
    return model


def narrow(kernel, macs):
    """The widest one that has this share of the MACs."""
    import tfgates

    bound = macs * tfgates.cost(network(kernel)).macs
    widths = [each / 256 for each in range(1, 257)]
    low, high = 0, len(widths) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = tfgates.cost(network(kernel, widths[middle])).macs <= bound
        low, high = (middle, high) if fits else (low, middle - 1)
    return network(kernel, widths[low])


def optimizer(steps):
    """SGD whose rate rises for 23 % of the steps and falls after, and which moves offsets faster."""
    import keras

    class Triangle(keras.optimizers.schedules.LearningRateSchedule):
        """From a fifth of `peak` up to it, and down to 7 % of it."""

        def __init__(self, peak, steps):
            self.peak, self.steps = peak, steps

        def __call__(self, step):
            share = keras.ops.cast(step, "float32") / self.steps
            up, down = 0.2 + 0.8 * share / 0.23, 1.0 - 0.93 * (share - 0.23) / 0.77
            return self.peak * keras.ops.maximum(keras.ops.minimum(up, down), 0.07)

        def get_config(self):
            return {"peak": self.peak, "steps": self.steps}

    class OffsetsFaster(keras.optimizers.SGD):
        """SGD that multiplies the rate of the offsets of normalisations."""

        def update_step(self, gradient, variable, learning_rate):
            faster = OFFSETS if variable.name == "beta" else 1.0
            super().update_step(gradient, variable, faster * learning_rate)

    gain = 1.0 + 1.0 / (1.0 - MOMENTUM)
    # The loss is a mean; decay is not part of the gradient, so that momentum adds nothing to it.
    peak = RATE * BATCH / 1024 / gain
    decay = DECAY * BATCH / 1024 / gain / (1.0 - MOMENTUM) / peak
    return OffsetsFaster(Triangle(peak, steps), MOMENTUM, nesterov=True, weight_decay=decay)


def load(folder, count):
    """Pairs of normalised images and labels of ten classes: trained on, held out, and for the test."""
    import keras
    import numpy as np
    import tensorflow_datasets as tfds

    def images(split):
        loaded = tfds.load("cifar10", split=split, data_dir=folder, download=False, batch_size=-1, as_supervised=True)
        x, y = tfds.as_numpy(loaded)
        return (x / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION), keras.utils.to_categorical(y, 10)

    x, y = images("train")
    held = max(count, 48_000)
    return (x[:count], y[:count]), (x[held:], y[held:]), images("test")


def augmented(data, seed):
    """Batches in another order in each pass; each image is flipped in every other pass, and shifted anew."""
    import numpy as np
    import tensorflow as tf

    x, y = data
    rng = np.random.default_rng(seed)
    flipped = rng.random(len(x)) < 0.5
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    steps, passes = len(x) // BATCH, [0]

    def batches():
        passes[0] += 1
        order = rng.permutation(len(x))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            shifts = rng.integers(0, 5, (BATCH, 2))
            images = np.empty((BATCH, *x.shape[1:]), "float32")
            for i in range(5):
                for j in range(5):
                    there = (shifts == (i, j)).all(1)
                    images[there] = padded[chosen[there], i : i + 32, j : j + 32]
            turned = flipped[chosen] ^ (passes[0] % 2 == 1)
            images[turned] = images[turned, :, ::-1]
            yield images, y[chosen]

    signature = tuple(tf.TensorSpec((BATCH, *part.shape[1:]), tf.float32) for part in data)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def accuracies(model, data):
    """Of the images as they are, and of the mean over six views: flipped or not, in place and shifted by a pixel."""
    import numpy as np

    x, y = data
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    views = {(1, 1): 0.5, (0, 0): 0.25, (2, 2): 0.25}
    scores = {}
    for i, j in views:
        some = padded[:, i : i + 32, j : j + 32]
        scores[i, j, False] = model.predict(some, batch_size=500, verbose=0)
        scores[i, j, True] = model.predict(some[:, :, ::-1], batch_size=500, verbose=0)
    mean = sum(weight * (scores[i, j, False] + scores[i, j, True]) for (i, j), weight in views.items())
    return [float((each.argmax(1) == y.argmax(1)).mean()) for each in (scores[1, 1, False], mean)]


def trained(name, macs, data, kernel, chosen):
    """The network that is left of a row, and the accuracy of each epoch on what it is trained on."""
    import keras

    import tfgates

    epochs = chosen.epochs
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING)
    settings = {"optimizer": optimizer(epochs * len(data)), "loss": loss, "metrics": ["accuracy"]}
    if name in ("gates", "magnitude"):
        how = {"fine_tune": 1 / 3, "importance": name}
        if name == "gates":
            how = {"fine_tune": chosen.fine_tune, "initial_open_probability": chosen.initial_open_probability}
        budget = tfgates.Budget(macs=macs)
        model = tfgates.compress(network(kernel), data, budget, epochs=epochs, verbose=2, **settings, **how)
        history = tfgates.report_of(model).history.records()
    else:
        model = network(kernel) if name == "dense" else narrow(kernel, macs)
        model.compile(**settings)
        found = model.fit(data, epochs=epochs, verbose=2, shuffle=False).history
        history = [{"accuracy": each} for each in found["accuracy"]]
    return model, [round(each["accuracy"], 4) for each in history if each.get("accuracy")]


def run(name, macs, seed, parts, chosen):
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(chosen.policy)
    data, held_out, test = parts
    kernel = whitening(data[0][:5000])
    batches = augmented(data, seed)
    began = time.process_time()
    small, training = trained(name, macs, batches, kernel, chosen)
    found = {"processor": time.process_time() - began, "training": training}
    cost, whole = tfgates.cost(small), tfgates.cost(network(kernel))
    found |= {"macs": cost.macs / whole.macs, "params": cost.params / whole.params}
    found["held_out"] = accuracies(small, held_out)[0]
    found["test"], found["test_of_views"] = accuracies(small, test)
    widths = [layer.filters for layer in small.layers if isinstance(layer, keras.layers.Conv2D)]
    return {**found, "widths": widths}


def main():
    chosen = arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    import keras
    import tensorflow as tf
    from stored import Kept

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kept = Kept(chosen.out / "fast.json")
    parts = functools.cache(lambda: load(chosen.data_dir, chosen.images))
    for seed in chosen.seeds:
        for name in chosen.rows:
            for macs in [1.0] if name == "dense" else chosen.macs:
                key = f"{name} {macs:g} {seed}"
                if key not in kept.runs():
                    kept.keep(key, run(name, macs, seed, parts(), chosen))
                    keras.backend.clear_session()


if __name__ == "__main__":
    main()
