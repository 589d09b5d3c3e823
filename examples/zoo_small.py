"""LeNet-5 at the small sizes of benchmarks/lenet5.py, as networks of the zoo: what that benchmark has trained is taken.

    python benchmarks/lenet5.py --data_dir=../shared/data/tfds --epochs=12 --seeds 1 --rows gates magnitude
    python examples/zoo_small.py --runs=runs/lenet5 --seed=1 --sizes 11787 7959 4300

Each file is read, tried on the test images of the runs, which must give the error that was noted, and written without
its optimizer into the zoo, with its figures and those of magnitude. Then `python examples/zoo.py --epochs=12` makes the
dense network, if it is missing, and measures all files.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
import zoo
from cards import widths, write
from failure import Failure

import tfgates
from tfgates.files import write_whole

COMMAND = (
    "python benchmarks/lenet5.py --data_dir=../shared/data/tfds --epochs={epochs} --sizes {size} --seeds {seed} "
    "--rows gates magnitude && python examples/zoo_small.py --seed={seed} --sizes {size}"
)
NAMES = ("conv1", "conv2", "dense1", "predictions")


def entry(row, seed, size, epochs):
    """A result of the benchmark as one of the zoo."""
    return {
        "network": "lenet5",
        "dataset": "mnist",
        "epochs": epochs,
        "examples": None,
        "batch_size": 128,
        "seed": seed,
        "method": row["row"],
        "budget": {"params": size},
        "file": f"lenet5-mnist-params-{size}{'' if row['row'] == 'gates' else '-' + row['row']}.keras",
        "bytes": None,
        "params": row["params"],
        "macs": row["macs"],
        "widths": [[name, kernel[-1]] for name, kernel in zip(NAMES, row["kernels"], strict=True)],
        "validation": 1.0 - row["validation_error"],
        "test": 1.0 - row["test_error"],
        "seconds": round(row["clock"]),
        "command": COMMAND.format(epochs=epochs, size=size, seed=seed),
        "tfgates": row["version"],
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }


def taken(path, noted, images, out):
    """Writes the network at `path` into the zoo; returns what is to be said of its file."""
    model = keras.saving.load_model(path, compile=False)
    x, y = images
    error = 1.0 - float(np.mean(np.argmax(model.predict(x, batch_size=500, verbose=0), -1) == y))
    if abs(error - (1.0 - noted["test"])) > 1e-6 or model.count_params() != noted["params"]:
        raise Failure(f"{path} is not the network that was noted: test error {error}, not {1.0 - noted['test']}")
    write_whole(out / noted["file"], zoo.bare(model).save)
    again = keras.saving.load_model(out / noted["file"], compile=False)
    cost = tfgates.cost(again)
    return {"bytes": (out / noted["file"]).stat().st_size, "macs": int(cost.macs), "widths": widths(again)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/lenet5"))
    parser.add_argument("--sizes", type=int, nargs="+", default=(11_787, 7_959, 4_300))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=pathlib.Path, default=zoo.OUT)
    flags = parser.parse_args()
    rows = json.loads((flags.runs / "lenet5_sizes.json").read_text("utf-8"))
    rows = {
        (row["row"], row["size"]): row for row in rows if (row["seed"], row["epochs"]) == (flags.seed, flags.epochs)
    }
    with np.load(flags.runs / "mnist.npz") as arrays:
        images = arrays["test_x"].astype("float32") / 255.0, arrays["test_y"]
    store = flags.out / "zoo.json"
    results = json.loads(store.read_text("utf-8")) if store.exists() else []
    for size in flags.sizes:
        missing = [name for name in ("gates", "magnitude") if (name, size) not in rows]
        if missing:
            raise Failure(f"--runs has no {missing[0]} at {size} parameters, seed {flags.seed}, {flags.epochs} epochs")
        for name in ("gates", "magnitude"):
            found = entry(rows[name, size], flags.seed, size, flags.epochs)
            if name == "gates":
                path = flags.runs / f"gates-{size}-seed{flags.seed}-epochs{flags.epochs}-55000-0.001.keras"
                found |= taken(path, found, images, flags.out)
            results = [other for other in results if other["file"] != found["file"]] + [found]
    write_whole(store, lambda path: path.write_text(json.dumps(results, indent=1) + "\n", "utf-8"))
    for path in write(flags.out, results):
        print(path)


if __name__ == "__main__":
    main()
