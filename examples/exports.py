"""A network in each format that Keras exports: how many bytes it takes, and how many milliseconds."""

import contextlib
import importlib.util
import io
import pathlib
import tempfile
import time
import warnings

import keras
import numpy as np

from tfgates.files import export_whole, write_whole
from tfgates.pruning import compressed_bytes

BACKEND = keras.backend.backend()
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
# TensorFlow follows its own operations and those of JAX.
HAS_SAVED_MODEL = HAS_TENSORFLOW and BACKEND != "torch"
CONVERTER = {"torch": "onnxscript", "jax": "jax2onnx"}.get(BACKEND, "tf2onnx")
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", CONVERTER))
NOTHING = "-"
NO_SAVED_MODEL = "No SavedModel and no LiteRT: they need TensorFlow, installed beside JAX or as the backend of Keras"
NO_ONNX = (
    f"No ONNX: it needs the packages onnx and {CONVERTER}, "
    f'pip install "tfgates[{"onnx-jax" if BACKEND == "jax" else "onnx"}]"'
)


def figures(model, folder, name, images):
    """Exports a network and measures what was written.

    Args:
        model: a `keras.Model`.
        folder: where to write NAME_saved_model, NAME.keras, NAME.tflite, and NAME.onnx where its
            packages are installed; a `pathlib.Path`.
        name: str.
        images: the largest batch to time, an array.

    Returns:
        A dict from what was measured to text, and a list of what did not work, with the reason.
    """
    cells, notes, times = {}, [], {}
    write_whole(folder / f"{name}.keras", model.save)
    if HAS_SAVED_MODEL:
        saved = folder / f"{name}_saved_model"
        export_whole(model, saved)
        cells["SavedModel"] = kib(size(saved))
        cells["SavedModel, packed"] = kib(compressed_bytes(saved))
        serve = saved_model(saved)
        for count in sorted({1, len(images)}):
            times[f"SavedModel latency, {count} image{'s' * (count > 1)}"] = ms(latency(serve, images[:count]))
        try:
            cells["LiteRT"] = kib(export_as("litert", model, folder / f"{name}.tflite"))
            times["LiteRT latency, 1 image"] = ms(latency(litert(folder / f"{name}.tflite"), images[:1]))
        # A converter may raise anything; the other formats are no worse for it.
        except Exception as error:
            notes.append(f"No LiteRT of the {name} network: {first_line(error)}")
    else:
        notes.append(NO_SAVED_MODEL)
    cells[".keras"] = kib(bytes_without_optimizer(folder / f"{name}.keras"))
    if HAS_ONNX:
        try:
            # Keras asks for a call, of data and not of symbols; PyTorch's exporter prints the graph where it fails.
            model(images[:1])
            with contextlib.redirect_stdout(io.StringIO()):
                cells["ONNX"] = kib(export_as("onnx", model, folder / f"{name}.onnx"))
        except Exception as error:
            notes.append(f"No ONNX of the {name} network: {first_line(error)}")
    else:
        notes.append(NO_ONNX)
    return cells | times, notes


def side_by_side(networks, images):
    """The figures of several networks.

    Args:
        networks: dict from names to pairs of a model and the folder for its files, or None for files
            that nobody needs afterwards.
        images: the largest batch to time, an array.

    Returns:
        Rows of a table, each a name and a text for each network, and a list of what did not work.
    """
    columns, notes = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (model, folder) in networks.items():
            cells, missing = figures(model, pathlib.Path(scratch) if folder is None else folder, name, images)
            columns.append(cells)
            notes.extend(note for note in missing if note not in notes)
    # In the order of the longest column: what did not work is missing in the others.
    names = dict.fromkeys(label for cells in sorted(columns, key=len, reverse=True) for label in cells)
    return [(label, *(cells.get(label, NOTHING) for cells in columns)) for label in names], notes


def export_as(form, model, path):
    """Writes a model as one file; returns its bytes."""
    with warnings.catch_warnings():
        # The converters meet a newer NumPy and TensorFlow than they were made for.
        warnings.simplefilter("ignore")
        write_whole(path, lambda temporary: model.export(str(temporary), format=form, verbose=False))
    return size(path)


def bytes_without_optimizer(path):
    """The bytes of a .keras file without the moments of an optimizer, which only training needs."""
    with tempfile.TemporaryDirectory() as scratch:
        bare = pathlib.Path(scratch) / "bare.keras"
        keras.saving.load_model(path, compile=False).save(bare)
        return size(bare)


def size(path):
    files = [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def saved_model(folder):
    """A function that calls the SavedModel in `folder`."""
    import tensorflow as tf

    artifact = tf.saved_model.load(str(folder))
    return lambda images: artifact.serve(tf.constant(images)).numpy()


def litert(file):
    """A function that calls the LiteRT model in `file`, which takes batches of one example."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow advertises another package of the same interpreter.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(file))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(images):
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return call


def latency(call, images, repeats=50):
    """Median time in milliseconds of one call."""
    times = []
    for step in range(repeats + 5):
        start = time.perf_counter()
        call(images)
        # The first calls trace and allocate.
        if step >= 5:
            times.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(times))


def kib(count):
    return f"{count / 1024:,.0f} KiB"


def ms(value):
    return f"{value:.2f} ms"


def first_line(error):
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
