"""What makes the choice of gates better, one change at a time, beside every control, at equal MACs and epochs.

    python benchmarks/choice.py --data_dir=../shared/data/tfds --out=runs/choice
    python benchmarks/choice.py --data_dir=../shared/data/tfds --out=runs/grid --side=32 --images=45000 --epochs=16
    python benchmarks/choice.py --data_dir=../shared/data/tfds --out=runs/vgg --network=vgg

ResNet-20 at half its width, or six convolutions one after the other in the manner of VGG, normalised, of 16, 32 and 64
channels in pairs, each pair pooled (without shortcuts), on images of CIFAR-10 at 16 x 16, 40,000 of them, cropped and
flipped at random; the other training images are held out, and all choices are made by their accuracy at the last epoch
of what is left. Test images are read once, at the end. AdamW, batches of 64, the same total of epochs for each row. One
process, one thread; a run that is in OUT/choice*.json is not run again; `python docs/remake.py --tables` makes tables.

Rows of gates are `compress` with its defaults but for what `ROWS` says. Of the controls:

    magnitude     trained for two thirds of the epochs, pruned by `tfgates.prune_by`, trained on; the rate falls to 0 by
                  a cosine in each of the two; the first part is trained once for all of its kind
    uniform       the same share in each layer, by magnitude
    random        random units in the place of the smallest
    narrow        fewer channels everywhere from the start, for all epochs
    dense         nothing removed, for all epochs
    trained       gates, but from a network that was trained for a third of the epochs
"""

import argparse
import functools
import os
import pathlib
import time

from streams import convolution, residual

BATCH = 64
LOSS = "sparse_categorical_crossentropy"
# That of the weights; 1e-3 is slow for all rows in so few epochs.
RATE = 4e-3
# What a row changes of `compress`, and of its budget.
ROWS: dict = {
    "gates": ({}, {}),
    "fine_tune=0.3": ({"fine_tune": 0.3}, {}),
    "fine_tune=0.6": ({"fine_tune": 0.6}, {}),
    "initial_open_probability=0.8": ({"initial_open_probability": 0.8}, {}),
    "initial_open_probability=0.99": ({"initial_open_probability": 0.99}, {}),
    "initial_open_probability=0.998": ({"initial_open_probability": 0.998}, {}),
    "warm_up=0.05, ramp=0.5": ({}, {"warm_up": 0.05, "ramp": 0.5}),
    "warm_up=0.4, ramp=0.5": ({}, {"warm_up": 0.4, "ramp": 0.5}),
    "weight_decay=0.03": ({"weight_decay": 0.03}, {}),
    "temperature=1/3": ({"temperature": 1 / 3}, {}),
    "sampling=example": ({"sampling": "example"}, {}),
    "reinmax": ({"gate": "reinmax"}, {}),
    "disarm": ({"gate": "disarm"}, {}),
    "residual=tied": ({"residual": ("inner", "tied")}, {}),
    "trained": ({}, {}),
}
CONTROLS = {
    "magnitude": {"importance": "magnitude"},
    "uniform": {"importance": "magnitude", "compare": "uniform"},
    "random": {"importance": "random"},
}
ALL = (*ROWS, *CONTROLS, "narrow", "dense")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 in it")
    parser.add_argument("--rows", nargs="*", choices=ALL, default=ALL, metavar="ROW")
    parser.add_argument("--macs", type=float, nargs="*", default=[0.5, 0.25])
    parser.add_argument("--images", type=int, default=40_000, help="so many of those for training")
    parser.add_argument("--network", default="resnet20", choices=list(NETWORKS))
    parser.add_argument("--side", type=int, default=16, choices=[16, 32], help="pixels of an image's side")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", type=float, default=RATE, help="largest learning rate of the weights")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/choice"))
    parser.add_argument(
        "--images_to", type=pathlib.Path, help="write the images there, for choice_with_torch_pruning.py, and stop"
    )
    return parser.parse_args()


def resnet20(side, width=8, inner=None):
    """ResNet-20 whose first stage has `width` channels, and `inner` of them inside of its blocks."""
    import keras

    inputs = keras.Input((side, side, 3))
    x = convolution(inputs, width, 3)
    for times, strides in ((1, 1), (2, 2), (4, 2)):
        for block in range(3):
            x = residual(x, times * width, 1 if block else strides, times * (inner or width))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def vgg(side, width=16, inner=None):
    """Three pairs of convolutions, of `inner` and `width` channels, the next ones of twice as many each."""
    import keras

    x = inputs = keras.Input((side, side, 3))
    for times in (1, 2, 4):
        x = convolution(convolution(x, times * (inner or width), 3), times * width, 3)
        x = keras.layers.MaxPooling2D()(x) if times < 4 else keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


# The networks and the width of their first stages.
NETWORKS = {"resnet20": (resnet20, 8), "vgg": (vgg, 16)}


def network(chosen, *widths):
    return NETWORKS[chosen.network][0](chosen.side, *widths)


def narrow(chosen, macs):
    """The widest network that has this share of the MACs, and the widest inside of its blocks that then has."""
    import tfgates

    bound = macs * tfgates.cost(network(chosen)).macs
    widths = range(1, NETWORKS[chosen.network][1] + 1)
    width = inner = max(each for each in widths if tfgates.cost(network(chosen, each)).macs <= bound)
    while tfgates.cost(network(chosen, width, inner + 1)).macs <= bound:
        inner += 1
    return network(chosen, width, inner)


def load(folder, count, side):
    """Pairs of images and labels: what is trained on, what is held out, and the test images."""
    import tensorflow_datasets as tfds

    def images(split):
        loaded = tfds.load("cifar10", split=split, data_dir=folder, download=False, batch_size=-1, as_supervised=True)
        x, y = tfds.as_numpy(loaded)
        times = 32 // side
        return (x / 255.0).astype("float32").reshape(-1, side, times, side, times, 3).mean((2, 4)), y

    x, y = images("train")
    return (x[:count], y[:count]), (x[max(count, 40_000) :], y[max(count, 40_000) :]), images("test")


def name_of_results(chosen):
    """Results of other networks and sizes lie in files of their own."""
    network = "" if chosen.network == "resnet20" else f"_{chosen.network}"
    return f"choice{network}{'' if chosen.side == 16 else '_full_size'}"


def write_images(path, parts):
    """Writes what `load` returns as arrays, by name."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    names = zip(("train", "held_out", "test"), parts, strict=True)
    np.savez(path, **{f"{name}_{kind}": part for name, pair in names for kind, part in zip("xy", pair, strict=True)})


def augmented(data, seed):
    """Batches in another order in each epoch, images cropped after padding by an eighth of their side, and flipped."""
    import tensorflow as tf

    x, y = data
    side = x.shape[1]
    more = side // 8
    padded = tf.pad(x, ((0, 0), (more, more), (more, more), (0, 0)))

    def change(numbers, images, labels):
        first, second = tf.unstack(tf.bitcast(numbers, tf.int32))
        count = tf.shape(images)[0]
        places = tf.random.stateless_uniform((count, 2), (first, second), 0, 2 * more + 1, tf.int32)
        for axis in (1, 2):
            images = tf.gather(images, places[:, axis - 1 : axis] + tf.range(side), axis=axis, batch_dims=1)
        flipped = tf.random.stateless_uniform((count, 1, 1, 1), (second, first)) < 0.5
        return tf.where(flipped, images[:, :, ::-1], images), labels

    batches = tf.data.Dataset.from_tensor_slices((padded, y)).shuffle(len(y), seed=seed).batch(BATCH)
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(numbers, batches).map(lambda number, batch: change(number, *batch)).prefetch(2)


def fit(model, data, epochs, rate):
    """Trains by AdamW, the rate falling to 0 by a cosine."""
    import keras

    rate = keras.optimizers.schedules.CosineDecay(rate, epochs * len(data))
    model.compile(keras.optimizers.AdamW(rate, 0.1), LOSS, metrics=["accuracy"])
    model.fit(data, epochs=epochs, verbose=0, shuffle=False)
    return model


def begun(epochs, seed, data, chosen):
    """The network that the controls prune, trained once and kept, and the seconds of the processor that it took."""
    from stored import Kept

    name = f"side{chosen.side} images{chosen.images} epochs{epochs} rate{chosen.rate:g} seed{seed}"
    name = name if chosen.network == "resnet20" else f"{chosen.network} {name}"
    kept, model = Kept(chosen.out / "begun.json"), network(chosen)
    weights = chosen.out / f"{name}.weights.h5"
    if name not in kept.runs():
        began = time.process_time()
        fit(model, data, epochs, chosen.rate).save_weights(weights)
        kept.keep(name, time.process_time() - began)
    model.load_weights(weights)
    return model, kept.runs()[name]


def trained(name, macs, seed, data, chosen):
    """The network that is left of a row, the seconds of the processor, and what its gates showed after each epoch."""
    import tfgates

    epochs, rate = chosen.epochs, chosen.rate
    before, more, clock = 0.0, {}, time.process_time
    if name in CONTROLS:
        last = round(epochs / 3)
        model, before = begun(epochs - last, seed, data, chosen)
        began = clock()
        small = tfgates.prune_by(model, tfgates.Budget(macs=macs), seed=seed, **CONTROLS[name])
        fit(small, data, last, rate)
    else:
        began = clock()
        if name in ROWS:
            small, more = gated(name, macs, data, chosen)
        else:
            small = fit(network(chosen) if name == "dense" else narrow(chosen, macs), data, epochs, rate)
    return small, {"processor": before + clock() - began, **more}


def gated(name, macs, data, chosen):
    """What is left of a row of gates, and what they showed after each epoch."""
    import tfgates

    epochs, rate = chosen.epochs, chosen.rate
    model, (settings, pace) = network(chosen), ROWS[name]
    before = round(epochs / 3) if name == "trained" else 0
    if before:
        model, settings = fit(model, data, before, rate), {"fine_tune": 0.5}
    budget = tfgates.Budget(macs=macs, **pace)
    settings = {"learning_rate": rate, "metrics": ["accuracy"], "verbose": 0, **settings}
    small = tfgates.compress(model, data, budget, LOSS, epochs - before, **settings)
    history = tfgates.report_of(small).history.records()
    watched = {"training": "accuracy", "expected_macs": "expected_macs"}
    kept = {name: [round(each[key], 4) for each in history if each.get(key)] for name, key in watched.items()}
    return small, kept


def run(name, macs, seed, data, held_out, test, chosen):
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    small, found = trained(name, macs, seed, augmented(data, seed), chosen)
    cost, whole = tfgates.cost(small), tfgates.cost(network(chosen))
    found |= {"macs": cost.macs / whole.macs, "params": cost.params / whole.params}
    small.compile(loss=LOSS, metrics=["accuracy"])
    for key, some in (("accuracy", held_out), ("test", test)):
        found[key] = float(small.evaluate(*some, verbose=0, batch_size=500)[1])
    return found


def main():
    chosen = arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    import keras
    import tensorflow as tf
    from stored import Kept

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if chosen.images_to is not None:
        return write_images(chosen.images_to, load(chosen.data_dir, chosen.images, chosen.side))
    kept = Kept(chosen.out / f"{name_of_results(chosen)}.json")
    parts = functools.cache(lambda: load(chosen.data_dir, chosen.images, chosen.side))
    for seed in chosen.seeds:
        for name in chosen.rows:
            for macs in [1.0] if name == "dense" else chosen.macs:
                rate = "" if chosen.rate == RATE else f" at {chosen.rate:g}"
                key = f"{name}{rate} {macs:g} {seed}"
                if key not in kept.runs():
                    kept.keep(key, run(name, macs, seed, *parts(), chosen))
                    keras.backend.clear_session()


if __name__ == "__main__":
    main()
