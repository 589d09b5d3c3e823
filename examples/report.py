"""What a network costs once exported, measured, and the table of results."""

import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from tfgates.pruning import compressed_bytes
from tfgates.pruning.whole import export_whole, write_whole

# Runs where tfgates cannot be imported: what is exported must not need it.
RELOAD = """
import sys
sys.modules["tfgates"] = None
import numpy as np
import tensorflow as tf
artifact = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[3], artifact.serve(tf.constant(np.load(sys.argv[2]))).numpy())
"""


def folder_bytes(folder):
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())


def kernel_weights(model):
    """Weights in kernels, which is what the literature counts: no biases, no gates."""
    kernels = [w for w in model.weights if w.path.endswith("/kernel")]
    return sum(int(np.prod(kernel.shape)) for kernel in kernels)


def latency(folder, images, repeats=50):
    """Median time in milliseconds of one call of the SavedModel in `folder`."""
    artifact = tf.saved_model.load(str(folder))
    images = tf.constant(images)
    times = []
    for step in range(repeats + 5):
        start = time.perf_counter()
        artifact.serve(images).numpy()
        # The first calls trace and allocate.
        if step >= 5:
            times.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(times))


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


def measure(gated, small, plan, data, out):
    """Exports both networks, checks and measures what was exported, and touches the test set.

    Returns:
        Rows of the table of results, the folders of the SavedModels by name, and the largest difference
        of what was exported.
    """
    images = next(iter(data.validation))[0].numpy()
    folders = {}
    for name, model in (("gated", gated), ("pruned", small)):
        folders[name] = out / f"{name}_saved_model"
        export_whole(model, folders[name])
        write_whole(out / f"{name}.keras", model.save)
    expected = keras.ops.convert_to_numpy(small(images, training=False))
    difference = reload_difference(folders["pruned"], images, expected, out)
    if difference > 1e-5:
        raise RuntimeError(f"The exported network differs by {difference:.2e} from the pruned one")

    # All choices are made: the test set is read here for the first time, and only here.
    accuracy = {name: accuracy_on_test(model, data) for name, model in (("gated", gated), ("pruned", small))}

    def percent_left(after, before):
        return f"{after:,.0f} ({100 * after / before:.2f} %)"

    removed = 1.0 - kernel_weights(small) / kernel_weights(gated)
    rows = [
        ("", "gated", "pruned"),
        ("test accuracy", *(f"{100 * accuracy[name]:.2f} %" for name in folders)),
        ("parameters", f"{plan.dense_params:,}", percent_left(small.count_params(), plan.dense_params)),
        ("weights removed", "", f"{100 * removed:.2f} %"),
        ("MACs", f"{plan.dense_macs:,.0f}", percent_left(plan.macs, plan.dense_macs)),
        ("SavedModel", *(f"{folder_bytes(folder) / 1024:,.0f} KiB" for folder in folders.values())),
        ("SavedModel, packed", *(f"{compressed_bytes(folder) / 1024:,.0f} KiB" for folder in folders.values())),
    ]
    for size in (1, len(images)):
        times = [latency(folder, images[:size]) for folder in folders.values()]
        rows.append((f"latency, {size} image{'s' * (size > 1)}", *(f"{ms:.2f} ms" for ms in times)))
    return rows, folders, difference


def accuracy_on_test(model, data):
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.evaluate(data.test, return_dict=True, verbose=0)["accuracy"]


def show(rows, title):
    """Prints rows of (name, before, after); the first holds the headings."""
    table = Table(title=title, show_edge=False)
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row)
    # Wide enough for paths also where the output is no terminal.
    Console(width=None if sys.stdout.isatty() else 110).print(table)
