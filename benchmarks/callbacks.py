"""What callbacks of everyday training scripts make of a budget: one row for each, on the digits of scikit-learn.

    python benchmarks/callbacks.py
    python benchmarks/callbacks.py --seeds=0 --epochs=10 --result=callbacks.json
    python benchmarks/callbacks.py --compress

A small convolutional network is trained with gates under `Budget(macs=0.25)` and pruned by `tfgates.finish`. MACs are
those that training left open, before pruning chooses (what the gates leave open, and expected over their draws), as
shares of the dense network; accuracies are those on images that neither training nor a callback has seen, with gates
and after `finish`. With `--compress` it is trained, pruned and fine-tuned by `tfgates.compress` in as many epochs:
MACs are expected ones at the last epoch with gates, and accuracies those of the last epoch with gates, on the
validation data, and of what is returned, on the test data. A row fails if it is more than 10 % above the budget
before the choice, or ends more than .02 below the first; the program ends with status 1 then.
"""

import argparse
import json
import statistics
import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

import tfgates

BUDGET, ABOVE, LOSS = 0.25, 1.1, 0.02


def early_stopping():
    return keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)


def constant(epoch, rate):
    return 1e-3


ROWS = {
    "none": lambda: [],
    "EarlyStopping(val_loss, patience=3, restore_best_weights=True)": lambda: [early_stopping()],
    "ReduceLROnPlateau": lambda: [keras.callbacks.ReduceLROnPlateau()],
    "LearningRateScheduler, constant": lambda: [keras.callbacks.LearningRateScheduler(constant)],
    "ReduceLROnPlateau(patience=2), EarlyStopping as above": lambda: [
        keras.callbacks.ReduceLROnPlateau(patience=2),
        early_stopping(),
    ],
}


def digits():
    """Training, validation and test data, each a pair of images in [0, 1] and labels."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16.0).reshape(-1, 8, 8, 1).astype("float32"), y[order]
    return (x[:1200], y[:1200]), (x[1200:1437], y[1200:1437]), (x[1437:], y[1437:])


def network():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(12, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(24, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(48, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def measure(callbacks, seed, epochs, batch_size):
    """One run, as a dictionary of numbers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    train, validation, test = digits()
    gated = tfgates.gate_model(network(), budget=tfgates.Budget(macs=BUDGET), seed=seed)
    gated.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = gated.fit(
        *train, batch_size=batch_size, epochs=epochs, validation_data=validation, verbose=0, callbacks=callbacks
    )
    cost = tfgates.cost(gated, chosen=False)
    small = tfgates.finish(gated, train)
    return {
        "epochs": len(history.epoch),
        "open_macs": cost.macs / cost.dense_macs,
        "expected_macs": cost.expected_macs / cost.dense_macs,
        "left_macs": tfgates.cost(small).macs / cost.dense_macs,
        "gated_accuracy": gated.evaluate(*test, verbose=0, return_dict=True)["accuracy"],
        "pruned_accuracy": small.evaluate(*test, verbose=0, return_dict=True)["accuracy"],
        "learning_rate": float(gated.optimizer.learning_rate),
    }


def measure_compress(callbacks, seed, epochs, batch_size):
    """As `measure`, for `tfgates.compress`."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    train, validation, test = digits()
    model = network()
    small = tfgates.compress(
        model, train, tfgates.Budget(macs=BUDGET), "sparse_categorical_crossentropy", epochs=epochs, seed=seed,
        batch_size=batch_size, validation_data=validation, metrics=["accuracy"], callbacks=callbacks, verbose=0,
    )  # fmt: skip
    records = tfgates.report_of(small).history.records()
    last = [record for record in records if record["phase"] == "gated"][-1]
    return {
        "epochs": len(records),
        "open_macs": last["expected_macs"],
        "expected_macs": last["expected_macs"],
        "left_macs": tfgates.cost(small).macs / tfgates.cost(model).macs,
        "gated_accuracy": last["val_accuracy"],
        "pruned_accuracy": small.evaluate(*test, verbose=0, return_dict=True)["accuracy"],
        "learning_rate": float(small.optimizer.learning_rate),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="numbers with commas between")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--compress", action="store_true", help="tfgates.compress in place of fit and finish")
    parser.add_argument("--result", help="a file for the result as JSON")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    print(
        "| callbacks | epochs | MACs open | expected MACs | accuracy gated -> pruned | least seed | |\n"
        + "|---" * 7
        + "|"
    )
    rows, first = [], None
    for name, callbacks in ROWS.items():
        run = measure_compress if arguments.compress else measure
        runs = [run(callbacks(), seed, arguments.epochs, arguments.batch_size) for seed in seeds]
        mean = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        first = mean["pruned_accuracy"] if first is None else first
        most = max(max(run["open_macs"], run["expected_macs"]) for run in runs)
        passed = most <= BUDGET * ABOVE and mean["pruned_accuracy"] >= first - LOSS
        rows.append({"callbacks": name, "passed": passed, "mean": mean, "runs": runs})
        least = min(run["pruned_accuracy"] for run in runs)
        columns = (
            name,
            f"{mean['epochs']:.0f}",
            f"{mean['open_macs']:.3f}",
            f"{mean['expected_macs']:.3f} (at most {most:.3f})",
            f"{mean['gated_accuracy']:.3f} -> {mean['pruned_accuracy']:.3f}",
            f"{least:.3f}",
            "passed" if passed else "FAILED",
        )
        print(f"| {' | '.join(columns)} |", flush=True)
    if arguments.result:
        with open(arguments.result, "w") as file:
            json.dump({"budget": BUDGET, "seeds": seeds, "epochs": arguments.epochs, "rows": rows}, file, indent=1)
    sys.exit(not all(row["passed"] for row in rows))


if __name__ == "__main__":
    main()
