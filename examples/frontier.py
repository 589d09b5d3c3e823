"""Accuracy against size: compresses one network to several budgets, and shows them side by side.

python examples/frontier.py --macs=0.5,0.3,0.1                                # bundled digits
python examples/frontier.py --dataset=mnist --data_dir=~/tensorflow_datasets --params=0.5,0.1,0.02

Each finished run is written to OUT/frontier.json at once; started again, the command goes on with
the runs that are missing. OUT/frontier.md has the table and the plot.
"""

import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if __name__ == "__main__":
    print("Starting Keras", flush=True)

import data as datasets
import frontiers
import keras
import write_report
from absl import app, flags
from failure import Failure

import tfgates
from tfgates.callbacks.sparsity_monitor import check_writable
from tfgates.files import write_whole

# Dep-L0: hard concrete with logits from a generator, in this order.
GENERATED = {"dep_hc_forward": "forward", "dep_hc_backward": "backward"}
METHODS = sorted([*tfgates.gates.NAMES, *GENERATED])

FLAGS = flags.FLAGS
flags.DEFINE_enum("model", "lenet5", sorted(tfgates.applications.__all__), "Network.")
flags.DEFINE_string("dataset", "digits", "digits, a name that tensorflow-datasets knows, or NAME of a NAME.npz.")
flags.DEFINE_string("data_dir", None, "Folder of tensorflow-datasets, or of NAME.npz without TensorFlow.")
flags.DEFINE_bool("download", False, "Download a data set that is not in --data_dir into it.")
flags.DEFINE_list("gate", ["hard_concrete"], f"Methods, of {METHODS}.")
flags.DEFINE_list("macs", [], "Budgets: fractions of the dense MACs, or absolute such as 2M.")
flags.DEFINE_list("params", [], "Budgets: fractions of the dense parameters, or absolute such as 12k.")
flags.DEFINE_bool("joint", False, "The first of --params and the first of --macs are one budget, and so on.")
flags.DEFINE_integer("seeds", 1, "Runs for each budget.", lower_bound=1)
flags.DEFINE_integer("epochs", 30, "Epochs of each run, fine-tuning included.", lower_bound=2)
flags.DEFINE_float("fine_tune", 0.4, "Share of the epochs after pruning.")
flags.DEFINE_integer("examples", None, "Use only this many training images.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Images per step.", lower_bound=1)
flags.DEFINE_float("learning_rate", 1e-3, "Of the weights (Adam).")
flags.DEFINE_bool("dense", True, "Train the dense network too, for as many epochs.")
flags.DEFINE_string("out", "runs/frontier", "Folder for results.")
flags.DEFINE_integer("verbose", 1, "0 silent, 1 progress bar, 2 one line per epoch.")


def network(data):
    return getattr(tfgates.applications, FLAGS.model)(input_shape=data.input_shape, classes=data.classes)


def budget_of(text):
    """A fraction, an absolute number, or one with its unit as a string."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def runs():
    """All runs asked for, as dicts that say what makes each."""
    settings = {
        name: getattr(FLAGS, name)
        for name in ("model", "dataset", "epochs", "fine_tune", "examples", "batch_size", "learning_rate")
    }
    wanted = []
    for seed in range(FLAGS.seeds):
        if FLAGS.dense:
            wanted.append({**settings, "gate": "dense", "budget": {}, "seed": seed})
        for gate in FLAGS.gate:
            wanted.extend({**settings, "gate": gate, "budget": budget, "seed": seed} for budget in budgets())
    return wanted


def budgets():
    """The bounds of each budget asked for, a dict."""
    params, macs = ([{name: budget_of(text)} for text in getattr(FLAGS, name)] for name in ("params", "macs"))
    return [{**a, **b} for a, b in zip(params, macs, strict=True)] if FLAGS.joint else params + macs


def is_of(result, run):
    """Whether a result is that of a run."""
    return all(result.get(name) == value for name, value in run.items())


def train_dense(data):
    model = network(data)
    steps = FLAGS.epochs * int(data.train.cardinality())
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.learning_rate, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=FLAGS.epochs,
        shuffle=False,  # The pipeline shuffles.
        verbose=FLAGS.verbose,
    )
    return model


def finish(run, data):
    """Trains one run and returns its figures."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(run["seed"])
    start = time.perf_counter()
    if run["gate"] == "dense":
        model = train_dense(data)
    else:
        model = tfgates.compress(
            network(data),
            data.train,
            tfgates.Budget(**run["budget"]),
            "sparse_categorical_crossentropy",
            epochs=run["epochs"],
            fine_tune=run["fine_tune"],
            learning_rate=run["learning_rate"],
            validation_data=data.validation,
            metrics=["accuracy"],
            gate="hard_concrete" if run["gate"] in GENERATED else run["gate"],
            generator=GENERATED.get(run["gate"]),
            seed=run["seed"],
            verbose=FLAGS.verbose,
        )
    seconds = time.perf_counter() - start
    dense, left = tfgates.cost(network(data)), tfgates.cost(model)
    return {
        **run,
        "params": left.params,
        "macs": left.macs,
        "params_left": left.params / dense.params,
        "macs_left": left.macs / dense.macs,
        "validation_error": 1.0 - model.evaluate(data.validation, return_dict=True, verbose=0)["accuracy"],
        # Nothing is chosen by it: the last epoch of the pruned network, whatever it is.
        "test_error": 1.0 - model.evaluate(data.test, return_dict=True, verbose=0)["accuracy"],
        "seconds": seconds,
    }


def main(argv):
    if len(argv) > 1:
        raise Failure(f"Flags start with --. Received: {' '.join(argv[1:])}")
    if not FLAGS.macs and not FLAGS.params:
        raise Failure("Give at least one budget by --macs or --params, such as --macs=0.5,0.2")
    if FLAGS.joint and len(FLAGS.macs) != len(FLAGS.params):
        raise Failure(f"--joint needs as many --macs as --params. Received: {len(FLAGS.macs)} and {len(FLAGS.params)}")
    for name in ("macs", "params"):
        for text in getattr(FLAGS, name):
            try:
                tfgates.Budget(**{name: budget_of(text)})
            except ValueError as error:
                raise Failure(f"--{name}: {error}") from error
    unknown = sorted(set(FLAGS.gate) - set(METHODS))
    if unknown:
        raise Failure(f"--gate must name methods of {METHODS}. Received: {','.join(unknown)}")
    out = pathlib.Path(FLAGS.out).expanduser()
    try:
        check_writable("out", str(out))
        results = frontiers.read(out)
    except ValueError as error:
        raise Failure(error) from error
    store = out / frontiers.FILE
    data_dir = None if FLAGS.data_dir is None else os.path.expanduser(FLAGS.data_dir)
    data = datasets.load(FLAGS.dataset, data_dir, FLAGS.batch_size, download=FLAGS.download, examples=FLAGS.examples)
    wanted = runs()
    for number, run in enumerate(wanted, start=1):
        if any(is_of(r, run) for r in results):
            continue
        what = f"{run['gate']}, {run['budget'] or 'no budget'}, seed {run['seed']}"
        print(f"Run {number} of {len(wanted)}: {what}", flush=True)
        results.append(finish(run, data))
        write_whole(store, lambda temporary: temporary.write_text(json.dumps(results, indent=1)))
    shown = [r for r in results if any(is_of(r, run) for run in wanted)]
    title = f"{FLAGS.model} on {FLAGS.dataset}, {FLAGS.epochs} epochs"
    flags = FLAGS.flags_by_module_dict()[FLAGS.find_module_defining_flag("joint")]
    write_report.write_frontier(out, title, shown, {flag.name: flag.value for flag in flags})
    print("\n\n".join(write_report.frontier_tables(shown)))
    print(f"Results: {store}, report: {out / 'frontier.md'}, plot: {out / 'frontier.png'}")


if __name__ == "__main__":
    app.run(main)
