"""The zoo: pruned networks as .keras files, each with a card that says what it was made from and what it can do.

python examples/zoo.py --data_dir=../shared/data/tfds                       # LeNet-5 on MNIST, a quarter of an hour
python examples/zoo.py --data_dir=../shared/data/tfds --network=resnet20    # ResNet-20 on CIFAR-10, hours
python examples/zoo.py --cards                                              # cards and index alone, from OUT/zoo.json

Each size is made twice with the same number of epochs, by gates and by magnitude; the dense network is trained as
long. A finished run is written to OUT/zoo.json at once; started again, the command goes on with the runs that are
missing, and measures all files again.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cards
import data as datasets
import exports
import keras
import numpy as np
from failure import Failure

import tfgates
from tfgates.files import write_whole

LOSS = "sparse_categorical_crossentropy"
NETWORKS = {
    "lenet5": {
        "dataset": "mnist",
        "epochs": 12,
        "augment": False,
        # Smaller ones: zoo_small.py.
        "budgets": [{"params": 0.1}],
    },
    "resnet20": {"dataset": "cifar10", "epochs": 60, "augment": True, "budgets": [{"macs": 0.5}, {"macs": 0.25}]},
}
OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "zoo"
METHODS = {"gates": None, "magnitude": "magnitude"}


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="lenet5")
    parser.add_argument("--dataset", help="another data set of the same kind, such as digits")
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets")
    parser.add_argument("--epochs", type=int, help="of each run; defaults to what the list of networks says")
    parser.add_argument("--examples", type=int, help="use only so many training images")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=200, help="of the clock, each network once in a round")
    parser.add_argument("--out", type=pathlib.Path, default=OUT, help="folder of files and cards")
    parser.add_argument("--cards", action="store_true", help="write the cards and the index alone")
    parser.add_argument("--verbose", type=int, default=2)
    return parser.parse_args(arguments)


def runs(flags):
    """All runs asked for, as dicts that say what makes each."""
    entry = NETWORKS[flags.network]
    common = {
        "network": flags.network,
        "dataset": flags.dataset or entry["dataset"],
        "epochs": flags.epochs or entry["epochs"],
        "examples": flags.examples,
        "batch_size": flags.batch_size,
        "seed": flags.seed,
    }
    yield {**common, "method": "dense", "budget": {}}
    for budget in entry["budgets"]:
        yield from ({**common, "method": method, "budget": budget} for method in METHODS)


def network(name, data):
    return getattr(tfgates.applications, name)(input_shape=data.input_shape, classes=data.classes)


def trained(run, data, verbose):
    """The network of a run."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(run["seed"])
    model = network(run["network"], data)
    common = {"epochs": run["epochs"], "validation_data": data.validation, "verbose": verbose}
    if run["method"] != "dense":
        budget, importance = tfgates.Budget(**run["budget"]), METHODS[run["method"]]
        # A control by magnitude takes no seed of gates.
        seed = {} if importance else {"seed": run["seed"]}
        return tfgates.compress(
            model, data.train, budget, LOSS, metrics=["accuracy"], importance=importance, **seed, **common
        )
    # As `compress` trains what is left: AdamW, the rate falling to 0.
    rate = keras.optimizers.schedules.CosineDecay(1e-3, run["epochs"] * int(data.train.cardinality()))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.1), LOSS, metrics=["accuracy"])
    model.fit(data.train, shuffle=False, **common)
    return model


def accuracy(model, images):
    """Share of images whose class is the likeliest one; the network needs not be compiled."""
    right = [np.argmax(model.predict_on_batch(x), -1) == y for x, y in images.as_numpy_iterator()]
    return float(np.mean(np.concatenate(right)))


def bare(model):
    """The network without its optimizer, whose moments only training needs."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def finish(run, data, path, verbose):
    """Trains a run, writes its file, and returns its figures, which are those of the file read again."""
    start = time.perf_counter()
    model = trained(run, data, verbose)
    seconds = time.perf_counter() - start
    write_whole(path, bare(model).save)
    again = keras.saving.load_model(path, compile=False)
    cost = tfgates.cost(again)
    return {
        **run,
        "file": path.name,
        "bytes": path.stat().st_size,
        "params": cost.params,
        "macs": cost.macs,
        "widths": cards.widths(again),
        "validation": accuracy(again, data.validation),
        "test": accuracy(again, data.test),
        "seconds": round(seconds),
        "tfgates": tfgates.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }


def latencies(paths, rounds):
    """Milliseconds of each network as a LiteRT file, one image at a time: medians of rounds in which each runs once."""
    calls, times = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            model = keras.saving.load_model(path, compile=False)
            file = pathlib.Path(folder) / f"{path.stem}.tflite"
            exports.export_as("litert", model, file)
            calls[path.name] = exports.litert(file)
            image = np.zeros((1, *model.input_shape[1:]), "float32")
        for number in range(rounds + 20):
            for name, call in calls.items():
                start = time.perf_counter()
                call(image)
                # The first calls allocate.
                if number >= 20:
                    times.setdefault(name, []).append(1000.0 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def name_of(run):
    bounds = "-".join(f"{name}-{value:g}" for name, value in run["budget"].items())
    return "-".join(part for part in (run["network"], run["dataset"], bounds or "dense") if part)


def main():
    flags = parse()
    flags.out.mkdir(parents=True, exist_ok=True)
    # Networks that are a measure, not part of the zoo.
    others = pathlib.Path("runs") / "zoo" if flags.out == OUT else flags.out / "others"
    others.mkdir(parents=True, exist_ok=True)
    store = flags.out / "zoo.json"
    results = json.loads(store.read_text("utf-8")) if store.exists() else []

    def write():
        write_whole(store, lambda path: path.write_text(json.dumps(results, indent=1) + "\n", "utf-8"))

    if not flags.cards:
        wanted = list(runs(flags))
        data = datasets.load(
            wanted[0]["dataset"],
            flags.data_dir,
            flags.batch_size,
            augment=NETWORKS[flags.network]["augment"],
            examples=flags.examples,
        )
        for number, run in enumerate(wanted, start=1):
            if any(all(result.get(key) == value for key, value in run.items()) for result in results):
                continue
            print(f"Run {number} of {len(wanted)}: {run['method']}, {run['budget'] or 'no budget'}", flush=True)
            in_zoo = run["method"] == "gates"
            path = (flags.out if in_zoo else others) / f"{name_of(run)}{'' if in_zoo else '-' + run['method']}.keras"
            results.append(finish(run, data, path, flags.verbose))
            write()
        measured = {
            result["file"]: result
            for result in results
            if result["network"] == flags.network and result["bytes"] is not None
        }
        paths = [folder / name for name in measured for folder in (flags.out, others) if (folder / name).exists()]
        # Of one machine at one time, or those of before.
        if len(paths) == len(measured):
            for name, milliseconds in latencies(paths, flags.rounds).items():
                measured[name]["milliseconds"] = milliseconds
        write()
    if not results:
        raise Failure(f"--cards needs results. Received: {store}, where there are none")
    for path in cards.write(flags.out, results):
        print(path)


if __name__ == "__main__":
    main()
