"""LeNet-5 on MNIST at small sizes: `compress` beside every control, in the same total of epochs.

    export TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1
    python benchmarks/lenet5.py --data_dir=../shared/data/tfds --out=runs/lenet5 --epochs=12

55,000 images train, 5,000 are held out, the 10,000 test images are read once per run, at the last epoch of the network
that is left. Each run is a process of its own, `--jobs` of them at a time; a finished one is written to
OUT/lenet5_sizes.json at once, and not done again. A copy of that file in benchmarks/results is what the table in
docs/results/lenet5.md is made of (`python docs/remake.py --tables`). With `--prepare` the images are written to
OUT/mnist.npz and nothing is run: with that file in its place, the runs need no TensorFlow (KERAS_BACKEND=jax).

What is left of the same budget of parameters, all by AdamW, batches of 128:

* `gates`: `tfgates.compress` with its defaults, 60 % of the epochs before pruning;
* `joint`: the same, with the MACs of the `narrow` network bounded too;
* `taught`: the same as `gates`, with the network that `annealed` prunes as teacher (the epochs of the teacher come on
  top), and `temperature=1/3`: gates with that in the place of 2/3; neither is run unless asked for;
* `magnitude`: what `compress(importance="magnitude", fine_tune=1/3)` does, two thirds of the epochs before pruning;
* `annealed`: the same, the rate falling to 0 by a cosine before pruning too;
* `random`: random units in the place of the smallest;
* `redrawn`: the network that `gates` chose, its weights drawn anew, trained for all epochs;
* `narrow`: all widths smaller by the same factor from the start (and what that leaves over filled), for all epochs;
* `dense`: nothing removed, trained for all epochs.
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np

import tfgates
from tfgates.files import write_whole

SIZES = (11_787, 7_959, 4_300, 2_200)
LOSS = "sparse_categorical_crossentropy"
DECAY, BATCH = 0.1, 128
FIRST = ("gates", "magnitude")
OTHERS = ("annealed", "random", "redrawn", "narrow", "joint", "dense")
# What rows of gates change of `compress`, beside a teacher and a second budget.
GATES = {"gates": {}, "joint": {}, "taught": {}, "temperature=1/3": {"temperature": 1 / 3}}
ASKED_FOR = ("taught", "temperature=1/3")
# What a row begins with, once for all sizes: a network trained for two thirds of the epochs, and at which rate.
STARTS = {"magnitude": "constant", "random": "constant", "annealed": "falling", "taught": "falling"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets, with mnist in it; not for a prepared OUT")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/lenet5"))
    parser.add_argument("--epochs", type=int, default=33, help="of each row, in all")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument(
        "--rows", nargs="+", choices=FIRST + OTHERS + ASKED_FOR, help="all but two, in order, if not given"
    )
    parser.add_argument("--examples", type=int, default=55_000, help="train on so many images alone")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of all rows")
    parser.add_argument("--fine_tune", type=float, default=0.4, help="share of the epochs of `compress` after pruning")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--prepare", action="store_true", help="write OUT/mnist.npz, and run nothing")
    parser.add_argument("--run", help="one run alone, as the program calls itself: its settings as JSON")
    return parser.parse_args()


def prepare(data_dir, path):
    """Writes training, validation and test images with their labels into one file, once."""
    if path.exists():
        return
    import tensorflow_datasets as tfds

    arrays = {}
    for name, split in (("train", "train[:55000]"), ("validation", "train[55000:]"), ("test", "test")):
        data = tfds.load("mnist", split=split, data_dir=data_dir, download=False, batch_size=-1, as_supervised=True)
        arrays[f"{name}_x"], arrays[f"{name}_y"] = tfds.as_numpy(data)

    def write(temporary):
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(path, write)


def load(path, examples=None):
    """Pairs of images and labels: training, validation, test."""
    with np.load(path) as arrays:
        parts = [(arrays[f"{name}_x"], arrays[f"{name}_y"]) for name in ("train", "validation", "test")]
    parts[0] = tuple(each[:examples] for each in parts[0])
    return [(images.astype("float32") / 255.0, labels) for images, labels in parts]


def network(widths=(20, 50, 500)):
    """LeNet-5 with other widths."""
    x = inputs = keras.Input((28, 28, 1))
    for filters in widths[:2]:
        x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(filters, 5, activation="relu")(x))
    x = keras.layers.Dense(widths[2], activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


@functools.cache
def narrow_widths(size):
    """The widths of the largest network that is narrower by one factor everywhere; what is left of `size` goes to the
    widest layers first."""

    def fits(a, b, c):
        return 26 * a + (25 * a + 1) * b + (16 * b + 1) * c + (c + 1) * 10 <= size

    shares = (tuple(max(1, round(width * share)) for width in (20, 50, 500)) for share in np.linspace(1.0, 0.0, 5001))
    widths = list(next(widths for widths in shares if fits(*widths)))
    for place in (2, 1, 0):
        while fits(*(width + (place == at) for at, width in enumerate(widths))):
            widths[place] += 1
    return tuple(widths)


def redraw(model):
    """Draws the weights of a network anew, in place, as a new layer of Keras would have them."""
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(keras.initializers.GlorotUniform()(layer.kernel.shape))
            layer.bias.assign(keras.ops.zeros(layer.bias.shape))


class Runs:
    """The rows of one call of the program."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.out = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.path = self.out / "lenet5_sizes.json"
        self.results = json.loads(self.path.read_text()) if self.path.exists() else []

    def settings(self, row, size, seed):
        more = {"epochs": self.arguments.epochs, "images": self.arguments.examples}
        more |= {"rate": self.arguments.rate, "fine_tune": self.arguments.fine_tune}
        return {"row": row, "size": size, "seed": seed, **more}

    def ordered(self):
        """Triples of a row, a size and a seed; whole seeds of gates and magnitude before the other controls."""
        groups = [FIRST, OTHERS] if self.arguments.rows is None else [self.arguments.rows]
        for rows in groups:
            for seed in self.arguments.seeds:
                for size in self.arguments.sizes:
                    for row in rows:
                        # The dense network has one size.
                        if row != "dense":
                            yield row, size, seed
                if "dense" in rows:
                    yield "dense", None, seed

    def fit(self, model, epochs, annealed=True):
        """Trains by AdamW, the rate falling to 0 by a cosine, or constant."""
        steps = epochs * -(-len(self.data[0][1]) // BATCH)
        rate = self.arguments.rate
        rate = keras.optimizers.schedules.CosineDecay(rate, steps) if annealed else rate
        model.compile(keras.optimizers.AdamW(rate, DECAY), LOSS, metrics=["accuracy"])
        model.fit(*self.data[0], batch_size=BATCH, epochs=epochs, verbose=0)
        return model

    def kept(self, name, seed):
        arguments = self.arguments
        return self.out / f"{name}-seed{seed}-epochs{arguments.epochs}-{arguments.examples}-{arguments.rate:g}.keras"

    def needed(self, row, size, seed):
        """The file that a row begins with, and the run that makes it; None for most rows."""
        if row in STARTS:
            return self.kept(STARTS[row], seed), (STARTS[row], None, seed)
        if row == "redrawn":
            return self.kept(f"gates-{size}", seed), ("gates", size, seed)
        return None

    def start(self, name, seed):
        """Trains what controls prune."""
        first = self.arguments.epochs - round(self.arguments.epochs / 3)
        model = self.fit(network(), first, annealed=name == "falling")
        self.keep(model, self.kept(name, seed))

    @staticmethod
    def keep(model, path):
        unfinished = path.with_name(f"unfinished-{path.name}")
        model.save(unfinished)
        unfinished.replace(path)

    def trained(self, row, size, seed):
        """The network of a row."""
        epochs = self.arguments.epochs
        if row in GATES:
            budget = tfgates.Budget(params=size)
            if row == "joint":
                budget = tfgates.Budget(params=size, macs=int(tfgates.cost(network(narrow_widths(size))).macs))
            small = tfgates.compress(
                network(),
                self.data[0],
                budget,
                LOSS,
                epochs=epochs,
                fine_tune=self.arguments.fine_tune,
                learning_rate=self.arguments.rate,
                metrics=["accuracy"],
                teacher=keras.models.load_model(self.kept(STARTS[row], seed)) if row in STARTS else None,
                seed=seed,
                verbose=0,
                **GATES[row],
            )
            self.keep(small, self.kept(f"{row.replace('/', ' by ')}-{size}", seed))
            return small
        if row == "redrawn":
            small = keras.models.load_model(self.kept(f"gates-{size}", seed))
            redraw(small)
            return self.fit(small, epochs)
        if row in ("dense", "narrow"):
            return self.fit(network(narrow_widths(size)) if row == "narrow" else network(), epochs)
        dense = keras.models.load_model(self.kept(STARTS[row], seed))
        importance = "random" if row == "random" else "magnitude"
        small = tfgates.prune_by(dense, tfgates.Budget(params=size), importance, flattened=True, seed=seed)
        return self.fit(small, round(epochs / 3))

    def run(self, row, size, seed):
        """Trains the network of a row, and writes what it is like."""
        self.data = load(self.out / "mnist.npz", self.arguments.examples)
        start, clock = time.process_time(), time.perf_counter()
        keras.utils.set_random_seed(seed)
        if row in STARTS.values():
            return self.start(row, seed)
        model = self.trained(row, size, seed)
        seconds, clock = time.process_time() - start, time.perf_counter() - clock
        cost, dense = tfgates.cost(model), tfgates.cost(network())
        errors = [1.0 - model.evaluate(*part, verbose=0, return_dict=True)["accuracy"] for part in self.data[1:]]
        kernels = [list(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel")]
        found = {
            **self.settings(row, size, seed),
            "params": int(cost.params), "macs": int(cost.macs),
            "params_share": cost.params / dense.params, "macs_share": cost.macs / dense.macs,
            "validation_error": errors[0], "test_error": errors[1],
            "kernels": kernels, "seconds": round(seconds, 1), "clock": round(clock, 1),
            "version": tfgates.__version__, "keras": keras.__version__, "backend": keras.backend.backend(),
        }  # fmt: skip
        text = json.dumps(found)
        write_whole(self.single(row, size, seed), lambda temporary: temporary.write_text(text))

    def single(self, row, size, seed):
        return self.out / f"one-{row.replace('/', ' by ')}-{size}-{seed}.json"

    def take(self, task):
        """Puts the result of a run that has ended beside those that are there."""
        path = self.single(*task)
        found = json.loads(path.read_text())
        again = self.settings(*task).items()
        self.results = [other for other in self.results if not again <= other.items()] + [found]
        text = json.dumps(self.results, indent=1)
        write_whole(self.path, lambda temporary: temporary.write_text(text))
        path.unlink()
        print(
            f"{found['row']:10} {found['size'] or '':>6} seed {found['seed']}: {found['params']:,} parameters, MACs "
            f"{100 * found['macs_share']:.1f} %, validation error {100 * found['validation_error']:.2f} %, test "
            f"{100 * found['test_error']:.2f} %, {found['seconds']:.0f} s of a core, {found['clock']:.0f} s",
            flush=True,
        )

    def tasks(self):
        """All runs that are missing, what others begin with before them."""
        tasks = []
        for task in self.ordered():
            wanted = self.settings(*task)
            if any(wanted.items() <= found.items() for found in self.results):
                continue
            needs = self.needed(*task)
            if needs is not None and not needs[0].exists() and needs[1] not in tasks:
                tasks.append(needs[1])
            if task not in tasks:
                tasks.append(task)
        return tasks

    def all(self):
        """Runs what is missing; whether all of it could be run."""
        waiting, running, failed = self.tasks(), {}, []
        while waiting or running:
            for task in list(waiting):
                needs = self.needed(*task)
                if len(running) < self.arguments.jobs and (needs is None or needs[0].exists()):
                    waiting.remove(task)
                    running[task] = subprocess.Popen([sys.executable, *sys.argv, f"--run={json.dumps(task)}"])
            if not running:
                failed += waiting
                break
            time.sleep(0.2)
            for task, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[task]
                if process.returncode:
                    failed.append(task)
                elif task[0] not in STARTS.values():
                    self.take(task)
        for task in failed:
            print(f"not run to its end: {self.settings(*task)}", flush=True)
        return not failed


def main():
    arguments = parse()
    runs = Runs(arguments)
    if arguments.run:
        runs.run(*json.loads(arguments.run))
        return
    if not (arguments.out / "mnist.npz").exists():
        if arguments.data_dir is None:
            sys.exit(f"--data_dir is needed: there is no {arguments.out / 'mnist.npz'}.")
        prepare(arguments.data_dir, arguments.out / "mnist.npz")
    if not arguments.prepare and not runs.all():
        sys.exit(1)


if __name__ == "__main__":
    main()
