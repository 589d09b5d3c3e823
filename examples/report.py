"""What the networks of a run are worth: the dense, the gated and the pruned one side by side."""

import pathlib
import subprocess
import sys

import exports
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import tfgates

# Runs where tfgates cannot be imported: what is exported must not need it.
RELOAD = """
import sys
sys.modules["tfgates"] = None
import numpy as np
import tensorflow as tf
artifact = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], artifact.serve(tf.constant(np.load(sys.argv[2]))).numpy())
"""


def kernel_weights(model):
    """Weights in kernels, which is what the literature counts: no biases, no gates."""
    kernels = [w for w in model.weights if w.path.endswith("/kernel")]
    return sum(int(np.prod(kernel.shape)) for kernel in kernels)


def reload_difference(folder, images, expected, scratch):
    """Largest difference of the SavedModel's outputs, in a process without tfgates, from `expected`."""
    scratch = pathlib.Path(scratch)
    given, made = scratch / "reload_inputs.npy", scratch / "reload_outputs.npy"
    np.save(given, images)
    subprocess.run([sys.executable, "-c", RELOAD, str(folder), str(given), str(made)], check=True)
    difference = float(np.max(np.abs(np.load(made) - expected)))
    given.unlink()
    made.unlink()
    return difference


def folders(out):
    """Where the SavedModels go, by the name of the network."""
    return {name: out / f"{name}_saved_model" for name in ("gated", "pruned")}


def measure(dense, gated, small, plan, data, out):
    """Exports the networks, checks and measures what was exported, and touches the test set.

    Args:
        dense: the network without gates; its weights need not be trained.
        gated: the network that was trained.
        small: what pruning and fine-tuning left of it.
        plan: the `PruningPlan` that was applied.
        data: a `Data`.
        out: folder, a `pathlib.Path`.

    Returns:
        Rows of the table of results; a list of notes on them; the largest difference of what was
        exported; the pruned network's accuracy on the validation images.
    """
    images = next(iter(data.validation))[0].numpy()
    exported, notes = exports.side_by_side(
        {"dense": (dense, None), "gated": (gated, out), "pruned": (small, out)}, images
    )
    expected = keras.ops.convert_to_numpy(small(images, training=False))
    difference = reload_difference(folders(out)["pruned"], images, expected, out)
    if difference > 1e-5:
        raise RuntimeError(f"The exported network differs by {difference:.2e} from the pruned one")

    # All choices are made: the test set is read here for the first time, and only here.
    tested = {name: accuracy(model, data.test) for name, model in (("gated", gated), ("pruned", small))}
    cost = tfgates.cost(dense)

    def percent_left(after, before):
        return f"{after:,.0f} ({100 * after / before:.2f} %)"

    removed = 1.0 - kernel_weights(small) / kernel_weights(dense)
    rows = [
        ("", "dense", "gated", "pruned"),
        ("test accuracy", exports.NOTHING, *(f"{100 * value:.2f} %" for value in tested.values())),
        (
            "parameters",
            f"{cost.params:,}",
            f"{gated.count_params():,}",
            percent_left(small.count_params(), cost.params),
        ),
        ("weights removed", "", "", f"{100 * removed:.2f} %"),
        ("MACs", f"{cost.macs:,.0f}", f"{cost.macs:,.0f}", percent_left(plan.macs, cost.macs)),
        *exported,
    ]
    notes.insert(
        0,
        "dense: the network without gates and with untrained weights, on which sizes and times do not depend "
        "(packed ones hardly). .keras is without an optimizer; times are medians of 50 calls.",
    )
    return rows, notes, difference, accuracy(small, data.validation)


def accuracy(model, images):
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.evaluate(images, return_dict=True, verbose=0)["accuracy"]


def show(rows, title, notes=()):
    """Prints rows of a name and values; the first holds the headings."""
    table = Table(title=title, show_edge=False)
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row)
    # Wide enough for paths also where the output is no terminal.
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)
