"""What a network costs once exported, measured, and the table of results."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

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


def show(rows, title):
    """Prints rows of (name, before, after); the first holds the headings."""
    table = Table(title=title, show_edge=False)
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row)
    # Wide enough for paths also where the output is no terminal.
    Console(width=None if sys.stdout.isatty() else 110).print(table)
