"""Two versions of tfgates in turns: time of a training step, of gating, of a monitor's epoch and of pruning.

    git worktree add /tmp/before 40bc582
    python benchmarks/versions.py --before=/tmp/before --rounds=8 --out=benchmarks/results/versions.json

Each version has a process of its own, of which one works at a time. What is printed is the processor time of this
version over that of the other in the same round, median and quartiles.
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).parents[1]


def networks():
    """The two networks: residual, and plain with an own activation in each convolution."""
    import keras

    import tfgates

    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for filters in (32, 32, 64, 64, 128, 128):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)))
        x = layers.MaxPooling2D()(x) if filters == x.shape[-1] and x.shape[1] > 8 else x
    plain = keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    return {"resnet20": tfgates.applications.resnet20(), "plain": plain}


def things():
    """By name a function without arguments that is timed."""
    import keras
    import numpy as np

    import tfgates

    warnings.simplefilter("ignore")
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(64, 32, 32, 3)).astype("float32")
    y = generator.integers(0, 10, 64)
    found = {}
    for name, model in networks().items():

        def gate(model=model):
            return tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))

        gated = gate()
        for made in gated.gates:
            made.logits.assign(np.where(np.arange(made.units) % 2, 3.0, -3.0))
        monitor = tfgates.callbacks.SparsityMonitor()
        monitor.set_model(gated)
        monitor.on_train_begin()
        found[f"gate {name}"] = gate
        found[f"monitor's epoch {name}"] = lambda monitor=monitor: monitor.on_epoch_end(0, {})
        found[f"prune {name}"] = lambda gated=gated: tfgates.prune(gated)
        found[f"prune, compared once {name}"] = lambda gated=gated: compared_once(gated)
        for method in ("hard_concrete", "disarm"):
            trained = tfgates.gate_model(model, gate=method, budget=tfgates.Budget(macs=0.5))
            trained.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
            found[f"step {method} {name}"] = lambda trained=trained: trained.train_on_batch(x, y)
    return found


def compared_once(gated):
    """`prune` without the comparison of the second way of calling a model, which version 0.1 did not make."""
    import tfgates

    module = sys.modules["tfgates.pruning.prune"]
    examples = getattr(module, "examples", None)
    if examples is not None:
        module.examples = lambda *arguments: itertools.islice(examples(*arguments), 1)
    try:
        return tfgates.prune(gated)
    finally:
        if examples is not None:
            module.examples = examples


def work(only):
    """What a process of one version does: the thing that a line names, again and again."""
    functions = {name: function for name, function in things().items() if re.search(only, name)}
    for function in functions.values():
        function()
    print(json.dumps(list(functions)), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        functions[json.loads(line)]()
        print(json.dumps(time.process_time() - start), flush=True)


def start(root, only):
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--work", f"--only={only}"]
    worker = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return worker, answer(worker)


def answer(worker):
    while True:
        line = worker.stdout.readline()
        if not line:
            raise SystemExit("A worker ended.")
        if line.startswith(("[", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")):
            return json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", help="folder of the other version")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--only", default="", help="a regular expression for the names of what is timed")
    parser.add_argument("--out", help="a file for the result as JSON")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.only)
    from stored import commit, store
    from timing import ratios

    workers = {
        "before": start(arguments.before, arguments.only),
        "after": start(ROOT, arguments.only),
    }
    names = workers["after"][1]
    width, rows = max(map(len, names)), []
    for name in names:
        seconds = {version: [] for version in workers}
        for _ in range(arguments.rounds):
            for version, (worker, _) in workers.items():
                print(json.dumps(name), file=worker.stdin, flush=True)
                seconds[version].append(answer(worker))
        middle, low, high = ratios(seconds, "before")["after"]
        print(f"{name:{width}}  {middle:.3f} ({low:.3f}-{high:.3f})", flush=True)
        rows.append({"name": name, "processor": [middle, low, high]})
    for worker, _ in workers.values():
        worker.stdin.close()
        worker.wait()
    store(arguments.out, rows, before=commit(arguments.before))
    return None


if __name__ == "__main__":
    main()
