"""Accuracy of what `compress` returns with and without removal in training, for several shares of fine-tuning.

    python benchmarks/removal.py --data_dir=../shared/data/tfds --model=vgg --seeds 0 1 2
    python benchmarks/removal.py --data_dir=../shared/data/tfds --model=lenet5 --runs kept shrink --fine_tune 0.4 0.65
    python benchmarks/removal.py --out=runs/removal --table

Small networks and subsets, so that many runs are affordable: `vgg` is that of training_time.py at half the width on
images of CIFAR-10 at 16 x 16, `lenet5` sees MNIST, `digits` the 8 x 8 digits of scikit-learn. One process, one thread;
a run that is in the file is not run again. `--held_out` takes the last 10,000 training images (half of what is not
trained on, of the digits) in the place of test images, for choosing between settings. With `--parts`, folders that
cifar10_data.py has made, `vgg` needs no TensorFlow (KERAS_BACKEND=jax). Runs:

    dense     the network itself, as many epochs, the same optimizer, rates and decay
    kept      `compress(shrink=False)`: everything is trained to the choice
    shrink    `compress`, with a rebuild taken for `--rebuild` steps, few enough that these small networks shrink
    first     the control: gates for the first epoch alone
    magnitude, random   no gates: `compress(importance=...)`, pruned after the same share of the epochs
"""

import argparse
import json
import os
import pathlib
import time

import dense

RUNS = ("dense", "kept", "shrink", "first", "magnitude", "random")
BATCH = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 and mnist in it")
    parser.add_argument("--parts", nargs="*", help="folders of benchmarks/cifar10_data.py in the place of `data_dir`")
    parser.add_argument("--model", choices=("vgg", "lenet5", "digits"), default="vgg")
    parser.add_argument("--macs", type=float, nargs="*", default=[0.25])
    parser.add_argument("--images", type=int, default=5120, help="so many of the training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument("--fine_tune", type=float, nargs="*", default=[0.65])
    parser.add_argument("--rebuild", type=float, default=5.0)
    parser.add_argument("--spare", type=float, default=1.0, help="how many times the budget is to stay, to choose from")
    parser.add_argument(
        "--pace", type=float, nargs=2, metavar=("WARM_UP", "RAMP"), help="shares of the time with gates"
    )
    parser.add_argument("--open", type=float, help="open probability that gates begin with")
    parser.add_argument("--held_out", action="store_true", help="accuracies of held-out training images")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/removal"))
    parser.add_argument("--table", action="store_true", help="print the results that are there, run nothing")
    return parser.parse_args()


def network(name):
    import keras

    import tfgates

    if name == "lenet5":
        return tfgates.applications.lenet5(input_shape=(28, 28, 1), classes=10, gate=None)
    if name == "vgg":
        inputs = x = keras.Input((16, 16, 3))
        for filters in (16, 32, 64):
            for _ in range(2):
                x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
                x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="vgg")
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="digits")


def images(name, folder, parts, count, held_out):
    import numpy as np

    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        x, y = (digits.images[..., None] / 16).astype("float32"), digits.target
        order = np.random.default_rng(0).permutation(len(y))
        train, test = order[:1000], order[1000:1400] if held_out else order[1000:]
        return (x[train], y[train]), (x[test], y[test])
    found = []
    for split in (slice(count), slice(-10_000, None) if held_out else "test"):
        x, y = loaded("mnist" if name == "lenet5" else "cifar10", split, folder, parts)
        x = (x / 255.0).astype("float32")
        if name == "vgg":
            x = x.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4))
        found.append((x, np.asarray(y)))
    return found


def loaded(dataset, split, folder, parts):
    """Images and labels, of the test split or of a slice of the training one."""
    if parts:
        import cifar10_data

        x, y = cifar10_data.load(parts, "test" if split == "test" else "train")
    else:
        import tensorflow_datasets as tfds

        name = "test" if split == "test" else "train"
        data = tfds.load(dataset, split=name, data_dir=folder, download=False, batch_size=-1, as_supervised=True)
        x, y = tfds.as_numpy(data)
    return (x, y) if split == "test" else (x[split], y[split])


def removable():
    """A callback that notes, after each epoch, what would be left of all MACs without what is closed for good, the
    expected ones, and the accuracy of the epoch's training images."""
    import keras

    import tfgates

    class Removable(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.left, self.training, self.seconds = [], [], 0.0

        def on_epoch_end(self, epoch, logs=None):
            self.training.append(round(float(logs["accuracy"]), 4))
            if not hasattr(self.model, "dense_reference"):
                return
            began = time.process_time()
            plan = tfgates.shrinking.ShrinkingPlan(self.model, tfgates.shrinking.candidates_of(self.model))
            dense = self.model.dense_reference.totals["macs"]
            self.left.append([round(plan.macs / dense, 4), round(float(logs["expected_macs"]), 4)])
            self.seconds += time.process_time() - began

    return Removable()


def train(run, share, fine_tune, seed, train_data, chosen):
    """The network that a run returns, the epochs in which it shrank, and what was found on the way."""
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    model = network(chosen.model)
    loss, metrics = "sparse_categorical_crossentropy", ["accuracy"]
    if run == "dense":
        return dense.train(model, train_data, loss, chosen.epochs, BATCH, fine_tune), [], None
    watch = removable()
    gates = {} if chosen.open is None else {"initial_open_probability": chosen.open}
    if run in ("magnitude", "random"):
        gates = {"importance": run}
    pace = {} if chosen.pace is None else dict(zip(("warm_up", "ramp"), chosen.pace, strict=True))
    small = tfgates.compress(
        model,
        train_data,
        tfgates.Budget(macs=share, **pace),
        loss,
        chosen.epochs,
        metrics=metrics,
        batch_size=BATCH,
        fine_tune=(chosen.epochs - 1) / chosen.epochs if run == "first" else fine_tune,
        shrink=tfgates.shrinking.Shrinking(rebuild=chosen.rebuild, spare=chosen.spare) if run == "shrink" else False,
        callbacks=[watch],
        verbose=0,
        **gates,
    )
    # Of the network as it stands at the end of each epoch.
    counts = [each.get("rebuilds") or 0 for each in tfgates.report_of(small).history.records()]
    return small, [epoch for epoch in range(1, len(counts)) if counts[epoch] > counts[epoch - 1]], watch


def row(small, rebuilds, test, seconds):
    import tfgates

    cost = tfgates.cost(small)
    return {
        "accuracy": float(small.evaluate(*test, verbose=0)[1]),
        "macs": cost.macs,
        "params": cost.params,
        "processor": seconds,
        "rebuilds": rebuilds,
    }


def table(folder):
    """What is in a folder as a table in Markdown: means over seeds, standard deviations."""
    import numpy as np

    lines = ["| network, images, epochs | run | seeds | accuracy, % | MACs | processor seconds |", "|---" * 6 + "|"]
    for path in sorted(folder.glob("*.json")):
        together: dict = {}
        for name, found in json.loads(path.read_text()).items():
            together.setdefault(name.rpartition(" ")[0], []).append(found)
        for name, rows in together.items():
            accuracy = 100 * np.array([each["accuracy"] for each in rows])
            macs, seconds = (np.mean([each[key] for each in rows]) for key in ("macs", "processor"))
            lines.append(
                f"| {path.stem} | {name} | {len(rows)} | {accuracy.mean():.2f} +- {accuracy.std():.2f} | {macs:,.0f} | "
                f"{seconds:.0f} |"
            )
    return "\n".join(lines)


def main():
    chosen = arguments()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.table:
        os.environ["OMP_NUM_THREADS"] = "1"
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        last = "-held-out" if chosen.held_out else ""
        path = chosen.out / f"{chosen.model}-{chosen.images}-{chosen.epochs}{last}.json"
        train_data, test = images(chosen.model, chosen.data_dir, chosen.parts, chosen.images, chosen.held_out)
        for seed in chosen.seeds:
            for run in chosen.runs:
                for share in [1.0] if run == "dense" else chosen.macs:
                    for fine_tune in [chosen.fine_tune[0]] if run == "first" else chosen.fine_tune:
                        done = json.loads(path.read_text()) if path.exists() else {}
                        name = f"{run} macs={share:g}" + ("" if run == "first" else f" fine_tune={fine_tune:g}")
                        if chosen.pace is not None and run != "dense":
                            name += " pace={:g}+{:g}".format(*chosen.pace)
                        if chosen.open is not None and run in ("kept", "shrink"):
                            name += f" open={chosen.open:g}"
                        if run == "shrink":
                            name += f" rebuild={chosen.rebuild:g} spare={chosen.spare:g}"
                        name = f"{name} {seed}"
                        if name in done:
                            continue
                        began = time.process_time()
                        small, rebuilds, watch = train(run, share, fine_tune, seed, train_data, chosen)
                        found = row(small, rebuilds, test, time.process_time() - began)
                        if watch is not None:
                            found["processor"] -= watch.seconds
                            found["left"], found["training"] = watch.left, watch.training
                        print(name, found, flush=True)
                        path.write_text(json.dumps({**done, name: found}, indent=1))
                        keras.backend.clear_session()
    print(table(chosen.out))


if __name__ == "__main__":
    main()
