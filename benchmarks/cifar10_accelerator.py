"""ResNets and VGG16 on CIFAR-10 with JAX on an accelerator: gates beside magnitude, uniform, random and narrow ones.

    KERAS_BACKEND=jax python benchmarks/cifar10_accelerator.py --data=PART0 --data=PART1 --out=DIRECTORY
    ... --blocks=9 --seeds 0 1 2 --rows dense gates-0.5 gates-0.25 initial-0.5 initial-0.25      (ResNet-56)
    ... --network=vgg16 --seeds 0 1 2 --rows dense gates-0.5 gates-0.25 initial-0.5 initial-0.25
    ... --network=resnet9 --policy=mixed_bfloat16 --batch=512 --rows dense gates-0.5

Reads the folders that `benchmarks/cifar10_data.py` makes. Each row is a process of its own, several at a time; what is
done is kept in `results.json` in the folder `--out` and not done again. All rows have the same total of epochs, recipe
and budget; accuracies are those of the last epoch of the network that is left, on 5,000 images of the training set
that were held out, for choices, and on the test images.

Rows, `NAME-SIZE`, where SIZE is what is left of the MACs:
    dense             the whole network
    gates             gated from scratch, pruned, trained on (as `tfgates.compress`)
    trainedgates      the same from a trained network: a third of the epochs dense, a third with gates, a third pruned
    magnitude         trained, pruned by `tfgates.prune_by`, trained on, the rate annealed in each of the two
    magnitudeconstant the same with the rate kept until it is pruned
    uniform, random   as magnitude with the same share in each layer, or by chance
    narrow            a network with fewer channels everywhere, from scratch
    initial           the largest of the weights that were drawn, chosen before any training
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import cifar10_data
import cifar10_networks
import numpy as np

VALIDATION = 5000

# Smallest first needed: what is compared comes before what confirms it.
ROWS = ["dense", "gates-0.5", "gates-0.25", "magnitude-0.5", "magnitude-0.25", "narrow-0.5", "narrow-0.25"]
ROWS += ["uniform-0.5", "uniform-0.25", "random-0.5", "random-0.25", "magnitudeconstant-0.5", "magnitudeconstant-0.25"]

CRITERIA = {
    "magnitude": {"importance": "magnitude"},
    "magnitudeconstant": {"importance": "magnitude"},
    "uniform": {"importance": "magnitude", "compare": "uniform"},
    "random": {"importance": "random"},
}


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="folder with parts; may be given several times")
    parser.add_argument("--out", required=True, help="folder of results.json")
    parser.add_argument("--work", default="/tmp/cifar10_accelerator", help="folder for what is not worth keeping")
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=33)
    parser.add_argument("--share", type=float, default=2 / 3, help="of the epochs before a control is pruned")
    parser.add_argument("--gates_share", type=float, default=0.6, help="of the epochs with gates")
    parser.add_argument("--gate", default="hard_concrete")
    parser.add_argument("--network", choices=sorted(cifar10_networks.WIDTHS), default="resnet")
    parser.add_argument("--blocks", type=int, default=3, help="of `resnet` in each of its stages; 9 is ResNet-56")
    parser.add_argument("--width", type=int, help="channels of the first stage; by default those of the network")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=0.8, help="largest learning rate")
    parser.add_argument("--decay", type=float, default=5e-4, help="weight decay as a term of the gradient")
    parser.add_argument("--policy", default="float32", help="dtype policy, such as mixed_bfloat16")
    parser.add_argument("--limit", type=int, help="train and evaluate on so many images alone")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no row after so many")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    chosen.width = chosen.width or cifar10_networks.WIDTHS[chosen.network]
    return chosen


def data_folder(arguments):
    return pathlib.Path(arguments.work) / f"data-{arguments.limit or 'all'}"


def prepare(arguments):
    """Unpacks the data once, for all rows: training, validation and test images and labels."""
    folder = data_folder(arguments)
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        images, labels = cifar10_data.load(arguments.data, "train")
        test = cifar10_data.load(arguments.data, "test") or (images[:0], labels[:0])
        held = min(VALIDATION, len(labels) // 4)
        splits = {
            "train": (images[:-held], labels[:-held]),
            "validation": (images[-held:], labels[-held:]),
            "test": test,
        }
        for name, (x, y) in splits.items():
            x, y = x[: arguments.limit], y[: arguments.limit]
            np.save(folder / f"{name}-images.npy", x)
            np.save(folder / f"{name}-labels.npy", y)
            print(
                f"{name}: {len(y)} images, mean {x.mean() if len(y) else 0:.3f}, classes {np.bincount(y, minlength=10)}"
            )
        (folder / "done").touch()
    return folder


class Run:
    """One row with one seed."""

    def __init__(self, arguments, row, seed):
        import jax
        import keras

        self.arguments, self.seed = arguments, seed
        self.name, _, size = row.partition("-")
        self.size = float(size) if size else None
        self.row = row
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy(arguments.policy)
        self.device = jax.devices()[0]
        told = f"{arguments.network}-{arguments.blocks}-{arguments.width}-{arguments.epochs}-{arguments.limit}"
        self.dense_state = pathlib.Path(arguments.work) / f"{self.first_phase}-seed{seed}-{told}.npz"
        folder, names = data_folder(arguments), ("train", "validation", "test")
        self.data = {n: [np.load(folder / f"{n}-{kind}.npy") for kind in ("images", "labels")] for n in names}
        self.steps = len(self.data["train"][1]) // arguments.batch
        self.history, self.started = [], time.perf_counter()

    @property
    def first_phase(self):
        """The training that several controls have in common."""
        return "first_constant" if self.name in ("magnitudeconstant", "first_constant") else "first_annealed"

    def say(self, number, logs):
        text = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
        print(f"{self.row} seed {self.seed} epoch {number + 1}: {text}", flush=True)

    def optimizer(self, points):
        """SGD with a rate that is linear between points (epoch, share of the largest rate)."""
        import keras
        from scanned import Piecewise

        rate = Piecewise([(epoch * self.steps, share * self.arguments.rate) for epoch, share in points])
        # Keras's decay is no part of the gradient, which momentum multiplies.
        made = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=self.arguments.decay / (1.0 - 0.9))
        made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        return made

    def train(self, model, epochs, points, **compiled):
        import keras
        import scanned

        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=scanned.SMOOTHING)
        model.compile(self.optimizer(points), loss, metrics=["accuracy"], **compiled)
        seed = 1000 * self.seed + len(self.history)
        images, labels = self.data["train"]
        self.history += scanned.train(model, images, labels, epochs, self.arguments.batch, seed, self.device, self.say)
        return model

    def network(self, width=None, inner=None):
        width = width or self.arguments.width
        if self.arguments.network == "resnet":
            return cifar10_networks.resnet(self.arguments.blocks, width, inner=inner)
        return getattr(cifar10_networks, self.arguments.network)(width)

    def trained(self):
        """The network that is left of this row, and the dense one that it is measured against."""
        epochs = self.arguments.epochs
        warm_up = [(0, 0.0), (0.15 * epochs, 1.0)]
        dense = self.network()
        if self.name == "dense":
            return self.train(self.network(), epochs, [*warm_up, (epochs, 0.0)]), dense
        if self.name == "narrow":
            return self.train(self.network(*self.narrow(dense)), epochs, [*warm_up, (epochs, 0.0)]), dense
        if self.name == "initial":
            import tfgates

            small = tfgates.prune_by(self.network(), tfgates.Budget(macs=self.size), seed=self.seed)
            return self.train(small, epochs, [*warm_up, (epochs, 0.0)]), dense
        if self.name == "gates":
            first = round(self.arguments.gates_share * epochs)
            return self.by_gates(warm_up, self.network(), first, epochs - first), dense
        if self.name == "trainedgates":
            third = round(epochs / 3)
            trained = self.train(self.network(), third, [(0, 0.0), (0.15 * third, 1.0), (third, 0.0)])
            return self.by_gates([(0, 0.05), (0.15 * third, 0.5)], trained, third, epochs - 2 * third), dense
        return self.by_importance(warm_up), dense

    def by_gates(self, warm_up, dense, first, last):
        import keras

        import tfgates
        from tfgates.optimizers import gate_learning_rate

        steps = first * self.steps
        # What `fit` sets by the number of its steps.
        pace = {"warm_up": round(0.2 * steps), "ramp": round(0.5 * steps), "multiplier_rate": 50.0 / steps}
        gated = tfgates.gate_model(
            dense,
            self.arguments.gate,
            budget=tfgates.Budget(macs=self.size, **pace),
            initial_open_probability=0.95,
        )
        optimizer = keras.optimizers.Adam(gate_learning_rate(gated.gates, steps))
        peak = warm_up[-1][1]
        self.train(gated, first, [*warm_up, (first, peak)], gate_optimizer=optimizer)
        self.gated = {"expected_macs": self.history[-1]["expected_macs"], "open": open_units(gated)}
        self.gated["validation"] = self.evaluated(gated, "validation")[0]
        small = tfgates.prune(gated)
        return self.train(small, last, [(0, peak), (last, 0.0)])

    def by_importance(self, warm_up):
        import tfgates

        first = round(self.arguments.share * self.arguments.epochs)
        last = self.arguments.epochs - first
        constant = self.first_phase == "first_constant"
        dense = self.network()
        if self.dense_state.exists():
            with np.load(self.dense_state) as saved:
                dense.set_weights([saved[f"w{i}"] for i in range(len(saved.files))])
        else:
            points = [*warm_up, (first, 1.0)] if constant else [(0, 0.0), (0.15 * first, 1.0), (first, 0.0)]
            self.train(dense, first, points)
            weights = {f"w{i}": w for i, w in enumerate(dense.get_weights())}
            np.savez(str(self.dense_state) + ".tmp.npz", **weights)
            os.replace(str(self.dense_state) + ".tmp.npz", self.dense_state)
        if self.name.startswith("first"):
            return dense
        budget = tfgates.Budget(macs=self.size)
        small = tfgates.prune_by(dense, budget, seed=self.seed, **CRITERIA[self.name])
        # Annealed once, it is warmed up again to half of the largest rate.
        points = [(0, 1.0), (last, 0.0)] if constant else [(0, 0.05), (0.15 * last, 0.5), (last, 0.0)]
        return self.train(small, last, points)

    def narrow(self, dense):
        """The largest width whose MACs fit, and the largest inside of the blocks that then does."""
        import tfgates

        def fits(*widths):
            return tfgates.cost(self.network(*widths)).macs <= bound

        bound = self.size * tfgates.cost(dense).macs
        width = inner = max(w for w in range(1, self.arguments.width + 1) if fits(w))
        while self.arguments.network == "resnet" and fits(width, inner + 1):
            inner += 1
        return width, inner

    def evaluated(self, model, *splits):
        import scanned

        return scanned.accuracies(model, [self.data[split] for split in splits], self.device)

    def result(self):
        import jax

        import tfgates

        # Analysis and pruning happen on the processor: many small programs, in full precision.
        with jax.default_device(jax.devices("cpu")[0]):
            network, dense = self.trained()
            cost, whole = tfgates.cost(network), tfgates.cost(dense)
            validation, test = self.evaluated(network, "validation", "test")
            found = {
                "row": self.row,
                "seed": self.seed,
                "validation": validation,
                "test": test,
                "macs": cost.macs,
                "params": cost.params,
                "macs_share": cost.macs / whole.macs,
                "params_share": cost.params / whole.params,
                "gated": getattr(self, "gated", None),
                "epochs": self.arguments.epochs,
                "seconds": time.perf_counter() - self.started,
                "device": self.device.device_kind,
                "jax": jax.__version__,
                "settings": settings(self.arguments),
                "history": [{k: round(v, 5) for k, v in logs.items()} for logs in self.history],
            }
        return found


def open_units(gated):
    return {gate.name: int(np.sum(np.asarray(gate.open_units()))) for gate in gated.gates}


def settings(arguments):
    names = ("gate", "share", "gates_share", "blocks", "width", "batch", "rate", "decay", "policy", "limit")
    found = {name: getattr(arguments, name) for name in names}
    # Results of before had no other network.
    return found if arguments.network == "resnet" else {**found, "network": arguments.network}


def tasks_of(arguments):
    """Pairs (row, seed) by importance; what controls have in common comes before them."""
    found = []
    for seed in arguments.seeds:
        for row in arguments.rows:
            kind = row.partition("-")[0]
            if kind in CRITERIA:
                first = "first_constant" if kind == "magnitudeconstant" else "first_annealed"
                if (first, seed) not in found:
                    found.append((first, seed))
            found.append((row, seed))
    return found


def main():
    arguments = parse()
    if arguments.row:
        row, seed = arguments.row.rsplit(":", 1)
        found = Run(arguments, row, int(seed)).result()
        path = pathlib.Path(arguments.work) / "rows" / f"{row}-seed{seed}.json"
        path.write_text(json.dumps(found))
        return
    began = time.perf_counter()
    prepare(arguments)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (pathlib.Path(arguments.work) / "rows").mkdir(parents=True, exist_ok=True)
    results = out / "results.json"
    done = json.loads(results.read_text()) if results.exists() else []
    waiting, running = tasks_of(arguments), {}
    finished = {
        (r["row"], r["seed"]) for r in done if r["settings"] == settings(arguments) and r["epochs"] == arguments.epochs
    }
    waiting = [task for task in waiting if task not in finished]
    while waiting or running:
        late = (time.perf_counter() - began) / 60 > arguments.minutes
        for task in list(waiting):
            kind = task[0].partition("-")[0]
            first = ("first_constant" if kind == "magnitudeconstant" else "first_annealed", task[1])
            blocked = kind in CRITERIA and (first in waiting or first in running)
            if len(running) < arguments.jobs and not blocked and not late:
                waiting.remove(task)
                running[task] = start(task)
        if late and not running:
            print(f"not begun: {waiting}")
            break
        time.sleep(0.2)
        for task, process in list(running.items()):
            if process.poll() is not None:
                del running[task]
                path = pathlib.Path(arguments.work) / "rows" / f"{task[0]}-seed{task[1]}.json"
                if process.returncode or not path.exists():
                    print(f"FAILED {task}: exit status {process.returncode}", flush=True)
                    continue
                done.append(json.loads(path.read_text()))
                temporary = results.with_suffix(".tmp")
                temporary.write_text(json.dumps(done))
                os.replace(temporary, results)
                print(table(done[-1:]), flush=True)
    print(table(done))


def start(task):
    """Starts the process of a row."""
    command = [sys.executable, *sys.argv, f"--row={task[0]}:{task[1]}"]
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "KERAS_BACKEND": "jax"}
    return subprocess.Popen(command, env=environment)


def table(results):
    lines = []
    for r in sorted(results, key=lambda r: (r["row"], r["seed"])):
        fits = [logs["seconds"] for logs in r["history"]]
        test = "" if r["test"] is None else f"{100 * r['test']:.2f}"
        lines.append(
            f"{r['row']:24} seed {r['seed']}  macs {r['macs_share']:.4f}  params {r['params_share']:.4f}  validation "
            f"{100 * r['validation']:.2f}  test {test}  {r['seconds']:.0f} s, epoch {np.median(fits):.2f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
