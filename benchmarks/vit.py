"""A vision transformer from scratch under a budget of half of its MACs, on digits, beside the dense one and magnitude.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/vit.py --out=runs/vit

Patches of 2 x 2 pixels, 16 of them, places with weights of their own, 4 layers of 4 heads and an MLP of 64, width 32,
normalisation in front of the branches; the digits of scikit-learn, 1,200 for training and 597 for test, another split
for each seed. Runs, each of as many epochs and of the same rates (`tfgates.compress`: constant with gates, then a
cosine to 0):

    dense       the network itself
    compress    `compress` with heads, units and whole branches
    magnitude   `compress(importance="magnitude")`: the same units and heads, pruned after as many epochs

Runs that are in OUT/vit.json are not done again.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np
from sklearn.datasets import load_digits

import tfgates
from tfgates.files import write_whole

RUNS = ("dense", "compress", "magnitude")
DEPTH, WIDTH, HEADS, HIDDEN, PATCH, BATCH, TRAIN = 4, 32, 4, 64, 2, 32, 1200
RATE, DECAY, FINE_TUNE = 1e-3, 0.1, 0.4
LOSS = "sparse_categorical_crossentropy"


@keras.saving.register_keras_serializable("benchmarks")
class Places(keras.layers.Layer):
    """Adds a vector of its own to each place."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.02))

    def call(self, x):
        return x + self.table


def network():
    layers = keras.layers
    images = keras.Input((8, 8, 1))
    x = layers.Conv2D(WIDTH, PATCH, PATCH, name="patches")(images)
    x = Places(name="places")(layers.Reshape((-1, WIDTH))(x))
    for i in range(DEPTH):
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"attention_{i}")(y, y)
        x = layers.Add(name=f"add_{i}")([x, y])
        y = layers.Dense(HIDDEN, activation="gelu", name=f"hidden_{i}")(layers.LayerNormalization()(x))
        x = layers.Add(name=f"sum_{i}")([x, layers.Dense(WIDTH, name=f"out_{i}")(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(images, layers.Dense(10, activation="softmax", name="head")(x), name="vit")


def run(name, macs, epochs, seed):
    keras.utils.set_random_seed(seed)
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = (digits.images[order, ..., None] / 16).astype("float32"), digits.target[order]
    train, test = (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])
    model = dense = network()
    start = time.process_time()
    if name == "dense":
        last = round(FINE_TUNE * epochs)

        def rate(epoch, _):
            after = max(0.0, (epoch - epochs + last) / last)
            return RATE * 0.5 * (1.0 + np.cos(np.pi * after))

        model.compile(keras.optimizers.AdamW(RATE, DECAY), loss=LOSS)
        callbacks = [keras.callbacks.LearningRateScheduler(rate)]
        model.fit(*train, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    else:
        kind = {"residual": ("inner", "block")} if name == "compress" else {"importance": "magnitude"}
        model = tfgates.compress(
            dense,
            train,
            tfgates.Budget(macs=macs),
            LOSS,
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=DECAY,
            fine_tune=FINE_TUNE,
            verbose=0,
            **kind,
        )
    accuracy = float(np.mean(np.argmax(model.predict(test[0], verbose=0, batch_size=256), axis=-1) == test[1]))
    cost, whole = tfgates.cost(model), tfgates.cost(dense)
    left = [layer.name for layer in model.layers]
    return {
        "accuracy": accuracy,
        "macs": cost.macs,
        "macs_share": cost.macs / whole.macs,
        "params": cost.params,
        "branches": sum(f"attention_{i}" in left for i in range(DEPTH)) + sum(f"out_{i}" in left for i in range(DEPTH)),
        "seconds": time.process_time() - start,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/vit"))
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "vit.json"
    results = json.loads(path.read_text()) if path.exists() else []
    for seed in arguments.seeds:
        for name in arguments.runs:
            wanted = {"run": name, "target": arguments.macs, "epochs": arguments.epochs, "seed": seed}
            if any(wanted.items() <= found.items() for found in results):
                continue
            keras.utils.clear_session()
            results.append(wanted | run(name, arguments.macs, arguments.epochs, seed))
            text = json.dumps(results)
            write_whole(path, lambda temporary, text=text: temporary.write_text(text))
            print(results[-1], flush=True)


if __name__ == "__main__":
    main()
