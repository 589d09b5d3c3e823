"""Gates on residual streams beside those inside of branches alone: accuracy and step time at equal MACs and epochs.

    python benchmarks/streams.py --data_dir=../shared/data/tfds --models resnet20 mobilenet unet
    python benchmarks/streams.py --out=runs/streams --table

Half the width of ResNet-20 (padded shortcuts), of the MobileNetV2-like network of training_time.py and a U-Net of
residual blocks; images of CIFAR-10 at 16 x 16, or, for the U-Net, MNIST under noise, whose pixels are told from the
ground. `compress` with its defaults from scratch, and `residual` as in the row; the dense network trains as long. All
accuracies are of 10,000 held-out training images. The steps of what is left are timed at the end, interleaved with the
dense ones. One process, one thread; a run that is in OUT/streams.json is not run again.
"""

import argparse
import os
import pathlib
import time

import dense

MODELS = ("resnet20", "mobilenet", "unet")
PLACES = {"inner": "inner", "tied": ("inner", "tied")}
BATCH = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 and mnist in it")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--macs", type=float, nargs="*", default=[0.5, 0.25])
    parser.add_argument("--images", type=int, default=10_240, help="so many of the training images")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=12, help="of the steps that are timed")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/streams"))
    parser.add_argument("--table", action="store_true", help="print the results that are there, run nothing")
    return parser.parse_args()


def convolution(x, filters, kernel, strides=1, active=True):
    import keras

    x = keras.layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x) if active else x


def residual(x, filters, strides=1, inner=None):
    """A block whose shortcut is padded with channels where there are more of them, as in CIFAR's ResNets; `inner`
    channels between its convolutions."""
    import keras

    y = convolution(convolution(x, inner or filters, 3, strides), filters, 3, active=False)
    if x.shape[-1] != filters:
        new = filters - x.shape[-1]
        x = keras.layers.AveragePooling2D(1, strides)(x) if strides > 1 else x
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def resnet20():
    import keras

    inputs = keras.Input((16, 16, 3))
    x = convolution(inputs, 8, 3)
    for filters, strides in ((8, 1), (16, 2), (32, 2)):
        for block in range(3):
            x = residual(x, filters, 1 if block else strides)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def mobilenet():
    import keras

    inputs = keras.Input((16, 16, 3))
    x = convolution(inputs, 8, 3)
    for filters, strides in ((8, 1), (12, 2), (12, 1), (20, 2), (20, 1)):
        y = convolution(x, 6 * x.shape[-1], 1)
        y = keras.layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(y)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        y = convolution(y, filters, 1, active=False)
        x = keras.layers.Add()([x, y]) if x.shape == y.shape else y
    x = keras.layers.GlobalAveragePooling2D()(convolution(x, 80, 1))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def unet():
    """Residual blocks at 28 x 28, 14 x 14 and 7 x 7; what was pooled is added, and not concatenated."""
    import keras

    inputs = keras.Input((28, 28, 1))
    x = convolution(inputs, 8, 3)
    skipped = []
    for filters in (8, 16):
        x = residual(x, filters)
        skipped.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = residual(x, 32)
    for skip in reversed(skipped):
        x = keras.layers.UpSampling2D()(convolution(x, skip.shape[-1], 1, active=False))
        x = residual(keras.layers.Add()([x, skip]), skip.shape[-1])
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))


def data(name, folder, count):
    """Pairs of what is trained on, and what is held out."""
    import numpy as np
    import tensorflow_datasets as tfds

    dataset = "mnist" if name == "unet" else "cifar10"
    loaded = tfds.load(dataset, split="train", data_dir=folder, download=False, batch_size=-1, as_supervised=True)
    x, y = tfds.as_numpy(loaded)
    found = []
    for part in (slice(count), slice(-10_000, None)):
        images = (x[part] / 255.0).astype("float32")
        if name == "unet":
            noise = np.random.default_rng(0).normal(0.0, 0.8, images.shape).astype("float32")
            found.append((images + noise, (images > 0.5).astype("float32")))
        else:
            found.append((images.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)), np.asarray(y[part])))
    return found


def loss_of(name):
    return "binary_crossentropy" if name == "unet" else "sparse_categorical_crossentropy"


def compiled(model, name):
    import keras

    model.compile(keras.optimizers.AdamW(1e-3, 0.1), loss_of(name), metrics=["accuracy"])
    return model


def step_ratio(small, whole, name, train, rounds):
    """Processor time of training steps of `small` over those of the network `whole`: median, and quartiles."""
    import numpy as np
    from timing import interleaved, ratios

    parts = [tuple(np.array(each[:BATCH]) for each in train)] * 5
    models = {"dense": compiled(whole, name), "small": compiled(small, name)}

    def steps(model):
        return lambda: [model.train_on_batch(*part) for part in parts]

    _, processor = interleaved({key: steps(model) for key, model in models.items()}, rounds)
    return ratios(processor, "dense")["small"]


def run(name, place, macs, seed, parts, chosen):
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    model, (train, held_out) = globals()[name](), parts
    began = time.process_time()
    if place is None:
        small = dense.train(model, train, loss_of(name), chosen.epochs, BATCH)
    else:
        small = tfgates.compress(
            model,
            train,
            tfgates.Budget(macs=macs),
            loss_of(name),
            chosen.epochs,
            metrics=["accuracy"],
            batch_size=BATCH,
            residual=PLACES[place],
            verbose=0,
        )
    found = {"processor": time.process_time() - began, "macs": tfgates.cost(small).macs}
    found["accuracy"] = float(compiled(small, name).evaluate(*held_out, verbose=0, batch_size=500)[1])
    if place is not None:
        found["step"] = step_ratio(small, globals()[name](), name, train, chosen.rounds)
    return found


def table(kept):
    import numpy as np

    lines = ["| network, MACs, gates | seeds | held-out accuracy, % | step over dense |", "|---" * 4 + "|"]
    for key, rows in kept.grouped().items():
        accuracy = 100 * np.array([row["accuracy"] for row in rows])
        step = np.mean([row["step"][0] for row in rows]) if "step" in rows[0] else 1.0
        lines.append(f"| {key} | {len(rows)} | {accuracy.mean():.2f} ({accuracy.round(2).tolist()}) | {step:.2f} |")
    return "\n".join(lines)


def main():
    chosen = arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    from stored import Kept

    kept = Kept(chosen.out / "streams.json")
    if not chosen.table:
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        loaded: dict = {}
        for seed in chosen.seeds:
            for name in chosen.models:
                for macs, place in [(macs, place) for macs in chosen.macs for place in PLACES] + [(1.0, None)]:
                    key = f"{name} {macs:g} {place or 'dense'} {seed}"
                    if key in kept.runs():
                        continue
                    if name not in loaded:
                        loaded[name] = data(name, chosen.data_dir, chosen.images)
                    kept.keep(key, run(name, place, macs, seed, loaded[name], chosen))
                    keras.backend.clear_session()
    print(table(kept))


if __name__ == "__main__":
    main()
