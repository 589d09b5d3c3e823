"""From training to files: accuracy, size and latency of dense, pruned, int8 and pruned int8.

    python benchmarks/deployment.py --out=benchmarks/results/deployment_digits.json
    python benchmarks/deployment.py --network=mobilenet_v2 --epochs=40

The digits of scikit-learn at 32 x 32, from scratch: three convolutions, or MobileNetV2 of width 0.35. Test images are
read once, at the end.
"""

import argparse
import json
import pathlib
import platform
import tempfile
import timeit
import warnings

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfgates

LOSS = "sparse_categorical_crossentropy"


def digits():
    """Images in [-1, 1] at 32 x 32 with three equal channels; 1,200 for training, 597 for test."""
    data = load_digits()
    images = np.kron(data.images / 8 - 1, np.ones((1, 4, 4)))[..., None].repeat(3, -1).astype("float32")
    return (images[:1200], data.target[:1200]), (images[1200:], data.target[1200:])


def small_network():
    """Three convolutions and two dense layers."""
    convolutions = [
        keras.layers.Conv2D(filters, 3, strides=strides, padding="same", activation="relu")
        for filters, strides in ((32, 1), (64, 2), (64, 2))
    ]
    head = [
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((32, 32, 3)), *convolutions, keras.layers.MaxPooling2D(), *head])


def mobilenet_v2():
    return keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=10)


NETWORKS = {"small": small_network, "mobilenet_v2": mobilenet_v2}


def saved_model(model, path, _):
    model.export(str(path), verbose=False)
    # A function of it alone would not keep its variables alive.
    served = tf.saved_model.load(str(path))
    return lambda x: served.serve(tf.constant(x)).numpy()


def litert(model, path, _):
    model.export(str(path), format="litert", verbose=False)
    return interpreted(path)


def litert_int8(model, path, images):
    """Weights and activations in int8, with ranges from training images; inputs and outputs stay float."""
    examples = [[image[None]] for image in images[:200]]
    model.export(
        str(path),
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: iter(examples),
    )
    return interpreted(path)


def interpreted(path):
    with warnings.catch_warnings():
        # TensorFlow advertises another package of the same interpreter.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(path), num_threads=1)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    shape = None

    def call(x):
        nonlocal shape
        if shape != x.shape:
            interpreter.resize_tensor_input(source, x.shape)
            interpreter.allocate_tensors()
            shape = x.shape
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return call


def onnx(model, path, _):
    model.export(str(path), format="onnx", verbose=False)


FORMATS = {
    "SavedModel": (saved_model, ""),
    "LiteRT": (litert, ".tflite"),
    "LiteRT int8": (litert_int8, ".int8.tflite"),
    "ONNX": (onnx, ".onnx"),
}


def milliseconds(calls, image, rounds):
    """Medians over rounds in which each is timed once, so that what else the machine does meets all alike."""
    for call in calls.values():
        timeit.timeit(lambda call=call: call(image), number=20)
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(1000 * timeit.timeit(lambda call=call: call(image), number=5) / 5)
    return {name: float(np.median(values)) for name, values in times.items()}


def size(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--epochs", type=int, default=20, help="in all, for each of the two")
    parser.add_argument("--macs", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="JSON file to write")
    flags = parser.parse_args()

    keras.utils.set_random_seed(flags.seed)
    train, test = digits()
    start = NETWORKS[flags.network]()
    budget = tfgates.Budget(macs=flags.macs)
    common = {"epochs": flags.epochs, "batch_size": 32, "verbose": 2}
    small = tfgates.compress(start, train, budget, LOSS, metrics=["accuracy"], round_to=8, **common)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, flags.epochs * (len(train[0]) // 32 + 1))
    start.compile(keras.optimizers.AdamW(rate, weight_decay=0.1), loss=LOSS, metrics=["accuracy"])
    start.fit(*train, **common)

    rows, calls = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (export, ending) in FORMATS.items():
            for name, model in (("dense", start), ("pruned", small)):
                path = pathlib.Path(folder) / f"{name}{ending}"
                row = {"format": kind, "network": name, "bytes": 0, "accuracy": None, "milliseconds": None}
                call = export(model, path, train[0])
                row["bytes"] = size(path)
                row["macs"], row["params"] = tfgates.cost(model).macs, model.count_params()
                if call is not None:
                    row["accuracy"] = float(np.mean(np.argmax(call(test[0]), -1) == test[1]))
                    calls[kind, name] = call
                rows.append(row)
        times = milliseconds(calls, test[0][:1], flags.rounds)
    for row in rows:
        row["milliseconds"] = times.get((row["format"], row["network"]))
        print(row)
    if flags.out:
        settings = {name: value for name, value in vars(flags).items() if name != "out"}
        versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "machine": platform.machine()}
        flags.out.write_text(json.dumps({"settings": settings, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
