"""Guide 2: the methods side by side on one network, one budget and one length of training. About a minute.

python examples/choose_a_method.py
python examples/choose_a_method.py 30 0.2    # epochs, share of the parameters

What to choose:

* `hard_concrete`, the default. One pass, little noise, works on everything. Its gates are between 0 and 1; pruning
  folds them into the weights.
* `disarm`. Gates are exactly 0 or 1 while training, so that what is trained is what is left, at the price of a second
  forward pass (about a third more time). `arm` and `ar` are there to compare with their papers.
* a generator (`generator="forward"`) ties the gates of neighbouring layers: for deep networks trained long.
* `scaling` with `SparseScaling` draws nothing, has no noise and no second pass, and closes groups and whole blocks
  well; SparseScaling knows no budget, only a number of units to stop at, and a strength found by trial.

One run on a small data set decides nothing: compare on your own, with several seeds (examples/frontier.py).
"""

import sys
import time

import keras
from sklearn.datasets import load_digits

import tfgates

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
SHARE = float(sys.argv[2]) if len(sys.argv) > 2 else 0.2
METHODS = {
    "hard_concrete": {},
    "disarm": {"sampling": "example"},
    "ar": {"sampling": "example"},
    "scaling": {},
}

LOSS = "sparse_categorical_crossentropy"
# Epochs of fine-tuning.
MORE = max(1, EPOCHS // 4)

digits = load_digits()
images, labels = digits.images.reshape(-1, 64) / 16.0, digits.target
train, test = (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def network():
    hidden = [keras.layers.Dense(units, activation="relu") for units in (128, 64)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])


def gated_model(method, arguments):
    if method == "scaling":
        return tfgates.gate_model(network(), gate=method)
    return tfgates.gate_model(network(), gate=method, budget=tfgates.Budget(params=SHARE), seed=0, **arguments)


def train_dense():
    """The network without gates, trained as long: what the others are measured against."""
    keras.utils.set_random_seed(0)
    print("Training without gates", flush=True)
    model = network()
    model.compile(keras.optimizers.Adam(2e-3), loss=LOSS, metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(*train, epochs=EPOCHS + MORE, batch_size=32, verbose=0)
    return "dense", 1.0, model.evaluate(*test, verbose=0)[1], time.perf_counter() - start


results = [train_dense()]
for method, arguments in METHODS.items():
    keras.utils.set_random_seed(0)
    print(f"Training with {method} gates", flush=True)
    model = gated_model(method, arguments)
    # The pace of the gates follows from the number of steps; factors of SparseScaling move by an optimizer of theirs.
    model.compile(keras.optimizers.Adam(2e-3), loss=LOSS, metrics=["accuracy"])
    # It stops at a number of units, here at three of eight, whatever their parameters are.
    callbacks = [tfgates.callbacks.SparseScaling(0.3, stop_at=72)] if method == "scaling" else []
    start = time.perf_counter()
    model.fit(*train, epochs=EPOCHS, batch_size=32, verbose=0, callbacks=callbacks)
    seconds = time.perf_counter() - start
    small = tfgates.prune(model, plan=tfgates.plan_pruning(model, min_units=1))
    small.compile("adam", loss=LOSS, metrics=["accuracy"])
    small.fit(*train, epochs=MORE, batch_size=32, verbose=0)
    left = tfgates.cost(small).params / tfgates.cost(model).dense_params
    results.append((method, left, small.evaluate(*test, verbose=0)[1], seconds))

print("method           parameters left  test accuracy  seconds before pruning")
for method, left, accuracy, seconds in results:
    print(f"{method:15}  {100 * left:13.1f} %  {100 * accuracy:11.1f} %  {seconds:22.1f}")
