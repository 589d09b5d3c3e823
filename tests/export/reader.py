"""Loads exported models in a process where tfgates cannot be imported.

Usage: reader.py FOLDER. For each folder of a network in it reads `given.npz`, arrays of several
batch sizes, and writes `FORMAT.npz` with the outputs of each format that is there.
"""

import pathlib
import sys

# With None in its place, any import of the package fails.
sys.modules["tfgates"] = None

import keras  # noqa: E402 (Keras must come after tfgates is barred)
import numpy as np  # noqa: E402 (as above)
import tensorflow as tf  # noqa: E402 (as above)


def saved_model(path):
    artifact = tf.saved_model.load(str(path))
    signature = artifact.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]

    def run(x):
        # The signature does not keep its variables alive.
        assert artifact is not None
        (output,) = signature(**{name: tf.constant(x)}).values()
        return output.numpy()

    return run


def keras_file(path):
    model = keras.saving.load_model(path)
    return lambda x: np.asarray(model(x, training=False))


def litert(path):
    interpreter = tf.lite.Interpreter(str(path))

    def run(x):
        (given,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(given["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        (made,) = interpreter.get_output_details()
        return interpreter.get_tensor(made["index"])

    return run


def onnx(path):
    from onnx import load
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(load(path))
    (name,) = session.input_names
    return lambda x: session.run(None, {name: x})[0]


FORMATS = {"saved_model": saved_model, "model.keras": keras_file, "model.tflite": litert, "model.onnx": onnx}

for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    with np.load(folder / "given.npz") as given:
        inputs = [given[name] for name in given.files]
    for name, load_one in FORMATS.items():
        if (folder / name).exists():
            run = load_one(folder / name)
            np.savez(folder / f"{name.split('.')[-1]}.npz", *[run(x) for x in inputs])
