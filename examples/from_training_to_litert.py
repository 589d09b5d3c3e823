"""Guide 3: from training to SavedModel and LiteRT, and what they cost in bytes and time. About a minute.

python examples/from_training_to_litert.py
python examples/from_training_to_litert.py 30 runs/litert    # epochs, folder
"""

import pathlib
import sys
import timeit
import warnings

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfgates

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
OUT = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "runs/litert")

keras.utils.set_random_seed(0)
digits = load_digits()
images, labels = np.float32(digits.images[..., None] / 16.0), digits.target
train, test = (images[:1400], labels[:1400]), (images[1400:], labels[1400:])
dense = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        *(keras.layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in (32, 64)),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)

# One call: train with gates under the budget, prune, fine-tune. Widths in multiples of 8 suit most hardware.
loss = "sparse_categorical_crossentropy"
budget = tfgates.Budget(macs=0.25)
small = tfgates.compress(dense, train, budget, loss, EPOCHS, metrics=["accuracy"], batch_size=32, round_to=8, verbose=2)

# What it is measured against: the dense network, trained as long. `compress` has left it untouched.
dense.compile("adam", loss=loss, metrics=["accuracy"])
dense.fit(*train, epochs=EPOCHS, batch_size=32, verbose=0)


def milliseconds(call, x):
    """Median time of a call; the first calls allocate."""
    return 1000 * np.median(timeit.repeat(lambda: call(x), number=1, repeat=105)[5:])


def saved_model(model, folder):
    model.export(str(folder), verbose=False)
    artifact = tf.saved_model.load(str(folder))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return lambda x: artifact.serve(tf.constant(x)).numpy(), size


def litert(model, file):
    model.export(str(file), format="litert", verbose=False)
    with warnings.catch_warnings():
        # TensorFlow advertises another package of the same interpreter.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(file))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(x):
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return call, file.stat().st_size


OUT.mkdir(parents=True, exist_ok=True)
print("format      network        KiB  milliseconds  difference")
for kind, export, ending in (("SavedModel", saved_model, ""), ("LiteRT", litert, ".tflite")):
    for name, model in (("dense", dense), ("pruned", small)):
        call, size = export(model, OUT / f"{name}{ending}")
        one = images[:1]
        difference = np.max(np.abs(call(one) - keras.ops.convert_to_numpy(model(one, training=False))))
        print(f"{kind:10}  {name:7}  {size / 1024:9.1f}  {milliseconds(call, one):12.3f}  {difference:10.1e}")
before, after = (100 * model.evaluate(*test, verbose=0)[1] for model in (dense, small))
print(f"Test accuracy of the pruned network: {after:.1f} %, dense: {before:.1f} %. Files: {OUT}")
