"""Guide 1: gate your own Keras model, train it under a budget, prune it, save it. About a minute.

python examples/gate_your_own_model.py
python examples/gate_your_own_model.py 30 runs/own/small.keras    # epochs, file
"""

import pathlib
import sys

import keras
from sklearn.datasets import load_digits

import tfgates

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
FILE = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "runs/own/small.keras")
FILE.parent.mkdir(parents=True, exist_ok=True)


def own_model():
    """Any Sequential or Functional network will do: this one has a residual branch."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(inputs)
    x = start = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(64, 3, padding="same", use_bias=False, name="inner")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(32, 3, padding="same")(x)
    x = keras.layers.ReLU()(keras.layers.Add()([start, x]))
    x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="own")


keras.utils.set_random_seed(0)
digits = load_digits()
images, labels = digits.images[..., None] / 16.0, digits.target
train, test = (images[:1400], labels[:1400]), (images[1400:], labels[1400:])

# 1. Gates go wherever what they close can be removed exactly. `verbose=1` says where, and where not and why.
gated = tfgates.gate_model(own_model(), gate="hard_concrete", budget=tfgates.Budget(macs=0.3), seed=0, verbose=1)

# 2. Train as always. How fast the gates move and the pull of the budget grows follows from the number of steps of this
# `fit`, so give it all the epochs with gates at once.
loss = "sparse_categorical_crossentropy"
gated.compile("adam", loss=loss, metrics=["accuracy"])
gated.fit(*train, epochs=EPOCHS, batch_size=32, verbose=2, callbacks=[tfgates.callbacks.SparsityMonitor()])

# 3. See what would go, what would stay, and why; then remove it. The outputs are compared before `finish` returns.
print(tfgates.plan_pruning(gated))
small = tfgates.finish(gated, train)

# 4. What is left is a plain Keras model, compiled: train on for a while, evaluate, save.
more = max(1, EPOCHS // 4)
small.fit(*train, epochs=EPOCHS + more, initial_epoch=EPOCHS, batch_size=32, verbose=2)
small.save(FILE)
print(tfgates.cost(small))

# 5. What did that cost? Train the network without gates as long.
dense = own_model()
dense.compile("adam", loss=loss, metrics=["accuracy"])
dense.fit(*train, epochs=EPOCHS + more, batch_size=32, verbose=0)
before, after = (100 * network.evaluate(*test, verbose=0)[1] for network in (dense, small))
print(f"Test accuracy of the pruned network: {after:.1f} %, dense: {before:.1f} %. Saved: {FILE}")
