"""Whole runs of `tfgates.compress` beside a dense training of as many epochs, in turns by epoch on the same cores.

    python benchmarks/training_time.py --data_dir=../shared/data/tfds --model=vgg --images=1280
    python benchmarks/training_time.py --data_dir=../shared/data/tfds --model=resnet20 --images=2560 --macs=0.5
    python benchmarks/training_time.py --out=runs/training_time --table

Each run is a process of its own with one thread, and one of them computes at a time: after each epoch it is the next
one's turn. What a run takes is counted from the call of `compress` (of `fit` for the dense network) to its end:
gating, tracing, making the network again in the midst of training, pruning, fine-tuning. `r` is the training step
of the network that is left over the dense network's, interleaved; `realised` is the share of the possible saving,
`(1 - run / dense run) / (1 - r)`. All epochs of a dense network take the same, so `--dense_epochs` trains some of them
alone, spread over the run, and counts the others as the mean of these (but for the first, which traces). Runs:

    dense       the network itself
    compress    `compress` as it is: what is closed for good is removed while it trains
    kept        the same with `shrink=False`
    first       the control: the units are chosen after the first epoch with gates, and the rest is fine-tuning

Results are kept in OUT, a file for each model, number of images, of epochs and seed; what is there is not run again,
and `--table` prints what is there. Accuracies are those of the network that is left on 2,000 test images.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import dense

RUNS = ("dense", "compress", "kept", "first")
BATCH, TEST = 64, 2000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 in it")
    parser.add_argument("--model", choices=("vgg", "resnet20", "mobilenet"), default="vgg")
    parser.add_argument("--macs", type=float, nargs="*", default=[0.25, 0.5])
    parser.add_argument("--images", type=int, default=1280, help="so many of the training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fine_tune", type=float, default=0.4, help="share of the epochs after pruning")
    parser.add_argument(
        "--pace", type=float, nargs=2, metavar=("WARM_UP", "RAMP"), help="shares of the steps with gates"
    )
    parser.add_argument("--rebuild", type=float, help="what a rebuild is taken for, in steps")
    parser.add_argument("--spare", type=float, help="how many times the budget is to stay, to choose from")
    parser.add_argument("--dense_epochs", type=int, help="train the dense network in so many of the turns alone")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=["dense", "compress"])
    parser.add_argument("--rounds", type=int, default=12, help="of training steps, for r")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/training_time"))
    parser.add_argument("--table", action="store_true", help="print the results that are there, run nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


# The networks.


def vgg():
    """Six convolutions with batch normalisation and a hidden dense layer, a third of the width of VGG."""
    import keras

    inputs = x = keras.Input((32, 32, 3))
    for filters in (32, 64, 128):
        for _ in range(2):
            x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="vgg")


def mobilenet():
    """Inverted residuals with expansion 6 at 32 x 32, 16 x 16 and 8 x 8, a third of the depth of MobileNetV2."""
    import keras

    def normalised(x, active=True):
        x = keras.layers.BatchNormalization()(x)
        return keras.layers.ReLU(6.0)(x) if active else x

    inputs = keras.Input((32, 32, 3))
    x = normalised(keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (40, 2), (40, 1)):
        y = normalised(keras.layers.Conv2D(6 * x.shape[-1], 1, use_bias=False)(x))
        y = normalised(keras.layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(y))
        y = normalised(keras.layers.Conv2D(filters, 1, use_bias=False)(y), active=False)
        x = keras.layers.Add()([x, y]) if x.shape == y.shape else y
    x = normalised(keras.layers.Conv2D(160, 1, use_bias=False)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="mobilenet")


def network(name):
    import tfgates

    if name == "resnet20":
        return tfgates.applications.resnet20(input_shape=(32, 32, 3), classes=10, gate=None)
    return {"vgg": vgg, "mobilenet": mobilenet}[name]()


# A run, in a process of its own.


def images(folder, split):
    import numpy as np
    import tensorflow_datasets as tfds

    data = tfds.load("cifar10", split=split, data_dir=folder, download=False, batch_size=-1, as_supervised=True)
    x, y = tfds.as_numpy(data)
    return (x / 255.0).astype("float32"), np.asarray(y)


def turns(record):
    """A callback that waits for its turn at the begin of each epoch, and notes what the turn before took."""
    import keras

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            wait(record)

        def on_epoch_end(self, epoch, logs=None):
            share = logs.get("expected_macs", 0.0)
            left = getattr(self.model, "removals", [])
            record["logs"].append({"accuracy": logs["accuracy"], "rebuilds": len(left), "expected_macs": float(share)})

    return Turns()


def wait(record):
    """Hands the turn over, and notes the seconds that it took: by the clock and of processor time."""
    if record["began"] is not None:
        clock, processor = record["began"]
        record["clock"].append(time.perf_counter() - clock)
        record["processor"].append(time.process_time() - processor)
    print("ready", flush=True)
    sys.stdin.readline()
    record["began"] = (time.perf_counter(), time.process_time())


def child(chosen):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras
    import numpy as np

    import tfgates

    answers, sys.stdout = sys.stdout, sys.stderr
    run, _, share = chosen.child.partition("-")
    x, y = images(chosen.data_dir, f"train[:{chosen.images}]")
    test = images(chosen.data_dir, f"test[:{TEST}]")
    (seed,) = chosen.seeds
    keras.utils.set_random_seed(seed)
    model = network(chosen.model)
    record = {"began": None, "clock": [], "processor": [], "logs": []}
    sys.stdout = answers
    wait(record)
    settings = {"batch_size": BATCH, "verbose": 0}
    loss, metrics = "sparse_categorical_crossentropy", ["accuracy"]
    if run == "dense":
        told = [turns(record)]
        trained = dense.train(
            model, (x, y), loss, chosen.epochs, BATCH, chosen.fine_tune, chosen.dense_epochs, callbacks=told
        )
    else:
        fine_tune = (chosen.epochs - 1) / chosen.epochs if run == "first" else chosen.fine_tune
        pace = {} if chosen.pace is None else dict(zip(("warm_up", "ramp"), chosen.pace, strict=True))
        budget = tfgates.Budget(macs=float(share), **pace)
        given = {name: getattr(chosen, name) for name in ("rebuild", "spare") if getattr(chosen, name) is not None}
        shrinking = tfgates.shrinking.Shrinking(**given)
        trained = tfgates.compress(
            model,
            (x, y),
            budget,
            loss,
            chosen.epochs,
            metrics=metrics,
            fine_tune=fine_tune,
            shrink=shrinking if run == "compress" else False,
            callbacks=[turns(record)],
            **settings,
        )
    wait(record)
    sys.stdout = sys.stderr
    del record["began"]
    record["test_accuracy"] = float(trained.evaluate(*test, verbose=0)[1])
    record["macs"] = tfgates.cost(trained).macs
    path = chosen.out / f"{os.getpid()}.keras"
    trained.save(path)
    record["r"] = step_ratio(network(chosen.model), keras.models.load_model(path), x, y, chosen.rounds)
    path.unlink()
    record["removals"] = np.diff([0, *(each["rebuilds"] for each in record["logs"])]).clip(0).tolist()
    sys.stdout = answers
    print(json.dumps(record), flush=True)


def step_ratio(dense, small, x, y, rounds):
    """The training step of a network over that of the dense one, processor time, median of interleaved rounds."""
    import keras
    import tensorflow as tf
    from timing import interleaved, ratios

    def steps_of(model):
        model.compile(keras.optimizers.AdamW(1e-3, 0.1), "sparse_categorical_crossentropy")
        batches = iter(tf.data.Dataset.from_tensors((x[:BATCH], y[:BATCH])).repeat())
        model.make_train_function()
        return lambda: float(model.train_function(batches)["loss"])

    _, processor = interleaved({"dense": steps_of(dense), "small": steps_of(small)}, rounds)
    return ratios(processor, "dense")["small"][0]


# All runs of a seed, in turns.


def seed_of_runs(chosen, seed, path):
    done = json.loads(path.read_text()) if path.exists() else {}
    wanted = [run if run == "dense" else f"{run}-{share:g}" for run in chosen.runs for share in chosen.macs]
    missing = [name for name in dict.fromkeys(wanted) if name not in done]
    if not missing:
        return
    # Seconds are compared with those of a dense run in the same turns.
    names = list(dict.fromkeys(["dense", *missing]))
    settings = ["--data_dir", chosen.data_dir, "--model", chosen.model, "--images", chosen.images]
    settings += ["--epochs", chosen.epochs, "--seeds", seed, "--rounds", chosen.rounds, "--out", chosen.out]
    for option in ("fine_tune", "dense_epochs", "rebuild", "spare"):
        if getattr(chosen, option) is not None:
            settings += [f"--{option}", getattr(chosen, option)]
    settings += [] if chosen.pace is None else ["--pace", *chosen.pace]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--child", name, *map(str, settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in names
    }
    running, found = list(names), {}
    for name in names:
        answer(processes[name], name)
    turn, dense_turns = 0, round(chosen.epochs / (chosen.dense_epochs or chosen.epochs))
    while running:
        for name in list(running):
            if name == "dense" and turn % dense_turns and len(running) > 1:
                continue
            processes[name].stdin.write("go\n")
            processes[name].stdin.flush()
            said = answer(processes[name], name)
            if said != "ready":
                found[name] = json.loads(said)
                running.remove(name)
        turn += 1
        print(f"turn {turn}: {', '.join(running)}", flush=True)
    for name, process in processes.items():
        process.wait()
        found[name]["dense_seconds"] = {
            key: whole(found["dense"][key], chosen.epochs) for key in ("clock", "processor")
        }
    path.write_text(json.dumps({**done, **{name: found[name] for name in missing}}, indent=1))


def whole(seconds, epochs):
    """What a dense run takes, for the seconds before it and of each epoch: those it left out count as the mean."""
    begin, first, *others = seconds
    return begin + first + (epochs - 1) * sum(others) / len(others)


def answer(process, name):
    said = process.stdout.readline().strip()
    if not said:
        raise SystemExit(f"The run {name!r} has ended without a result, see above.")
    return said


def table(folder):
    """What is in a folder, as a table in Markdown."""
    heads = ("model, images, epochs, fine-tuning, seed", "run", "MACs", "processor", "clock", "r", "realised")
    heads += ("accuracy", "rebuilds")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for path in sorted(folder.glob("*.json")):
        for name, row in json.loads(path.read_text()).items():
            processor, clock = (sum(row[key]) / row["dense_seconds"][key] for key in ("processor", "clock"))
            realised = "" if row["r"] > 0.98 else f"{(1 - processor) / (1 - row['r']):.2f}"
            rebuilds = [epoch for epoch, count in enumerate(row["removals"]) if count]
            lines.append(
                f"| {path.stem} | {name} | {row['macs']:,} | {processor:.3f} | {clock:.3f} | {row['r']:.3f} | "
                f"{realised} | {row['test_accuracy']:.4f} | {rebuilds} |"
            )
    return "\n".join(lines)


def main():
    chosen = arguments()
    if chosen.child:
        return child(chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not chosen.table:
        for seed in chosen.seeds:
            name = f"{chosen.model}-{chosen.images}-{chosen.epochs}-{chosen.fine_tune:g}"
            name += "" if chosen.pace is None else "-{:g}+{:g}".format(*chosen.pace)
            for option in ("rebuild", "spare"):
                name += "" if getattr(chosen, option) is None else f"-{option}{getattr(chosen, option):g}"
            name += f"-{seed}.json"
            seed_of_runs(chosen, seed, chosen.out / name)
    print(table(chosen.out))


if __name__ == "__main__":
    main()
