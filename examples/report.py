"""What the networks of a run are worth: the dense, the gated and the pruned one side by side."""

import dataclasses
import pathlib
import subprocess
import sys

import exports
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import tfgates

COLUMNS = ("dense", "gated", "pruned")

# Runs where tfgates cannot be imported: what is exported must not need it.
RELOAD_SAVED_MODEL = """
import sys
sys.modules["tfgates"] = None
import numpy as np
import tensorflow as tf
artifact = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], artifact.serve(tf.constant(np.load(sys.argv[2]))).numpy())
"""
RELOAD_FILE = """
import sys
sys.modules["tfgates"] = None
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1], compile=False)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def kernel_weights(model):
    """Weights in kernels, which is what the literature counts: no biases, no gates."""
    kernels = [w for w in model.weights if w.path.endswith("/kernel")]
    return sum(int(np.prod(kernel.shape)) for kernel in kernels)


def reload_difference(path, images, expected, scratch):
    """Largest difference from `expected` of what a SavedModel or a .keras file gives in a process without tfgates."""
    scratch = pathlib.Path(scratch)
    given, made = scratch / "reload_inputs.npy", scratch / "reload_outputs.npy"
    np.save(given, images)
    code = RELOAD_FILE if path.suffix == ".keras" else RELOAD_SAVED_MODEL
    subprocess.run([sys.executable, "-c", code, str(path), str(given), str(made)], check=True)
    difference = float(np.max(np.abs(np.load(made) - expected)))
    given.unlink()
    made.unlink()
    return difference


def folders(out):
    """Where the SavedModels go, by the name of the network."""
    return {name: out / f"{name}_saved_model" for name in ("gated", "pruned")}


@dataclasses.dataclass
class Found:
    """What was measured.

    Attributes:
        rows: rows of the table of results; the first holds the headings.
        notes: list of sentences on them.
        difference: the largest difference of what was exported.
        tested: dict from `"dense"`, if it was trained, `"gated"` and `"pruned"` to accuracies on the test images.
        validated: the same on the validation images.
    """

    rows: list
    notes: list
    difference: float
    tested: dict
    validated: dict


def measure(dense, gated, small, plan, data, out, dense_is_trained):
    """Exports the networks, checks and measures what was exported, and touches the test set.

    Args:
        dense: the network without gates.
        gated: the network that was trained.
        small: what pruning and fine-tuning left of it.
        plan: the `PruningPlan` that was applied.
        data: a `Data`.
        out: folder, a `pathlib.Path`.
        dense_is_trained: bool, whether the weights of `dense` are worth an accuracy.

    Returns:
        `Found`.
    """
    images = np.asarray(next(iter(data.validation))[0])
    exported, notes = exports.side_by_side(
        {"dense": (dense, None), "gated": (gated, out), "pruned": (small, out)}, images
    )
    expected = keras.ops.convert_to_numpy(small(images, training=False))
    kept = folders(out)["pruned"] if exports.HAS_SAVED_MODEL else out / "pruned.keras"
    difference = reload_difference(kept, images, expected, out)
    if difference > 1e-5:
        raise RuntimeError(f"The exported network differs by {difference:.2e} from the pruned one")

    # All choices are made: the test set is read here for the first time, and only here.
    networks = {"dense": dense, "gated": gated, "pruned": small}
    if not dense_is_trained:
        del networks["dense"]
    tested = {name: accuracy(model, data.test) for name, model in networks.items()}
    cost = tfgates.cost(dense)

    def percent_left(after, before):
        return f"{after:,.0f} ({100 * after / before:.2f} %)"

    removed = 1.0 - kernel_weights(small) / kernel_weights(dense)
    rows = [
        ("", *COLUMNS),
        (
            "test accuracy",
            *(f"{100 * tested[name]:.2f} %" if name in tested else exports.NOTHING for name in COLUMNS),
        ),
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
    what = (
        "trained as long as the other two together took"
        if dense_is_trained
        else "with untrained weights, on which sizes and times do not depend (packed ones hardly)"
    )
    notes.insert(
        0,
        f"dense: the network without gates, {what}. .keras is without an optimizer; times are medians of 50 calls.",
    )
    validated = {name: accuracy(model, data.validation) for name, model in networks.items()}
    return Found(rows, notes, difference, tested, validated)


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
