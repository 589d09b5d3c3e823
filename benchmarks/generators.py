"""Gates with logits from a generator (Dep-L0) beside gates of their own, on digits: how well the budget is followed.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/generators.py --out=runs/generators

A network of two convolutions and a dense layer (32-64-128) on the digits of scikit-learn, 1,400 for training and 397
for test, macs .3, hard concrete, 20 epochs with gates and 10 of fine-tuning, defaults. Of each run the expected cost
and the bound are written down after each epoch, with the share of gates that are decided, and the error of what is left
at the end. Runs that are in OUT/generators.json are not done again. `--label` names the version in it.
`--network=deep` is a residual network of 24 blocks of two convolutions (16 channels, batch normalisation), with a gate
in each block, 40 epochs with gates and 20 of fine-tuning: what depends on the gate before has 23 of them before it.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
from sklearn.datasets import load_digits

import tfgates
from tfgates.constraints.budget import RAMP, WARM_UP
from tfgates.files import write_whole

BATCH, TRAIN = 128, 1400
EPOCHS = {"plain": (20, 10), "deep": (40, 20)}
LOSS = "sparse_categorical_crossentropy"


def plain():
    x = inputs = keras.Input((8, 8, 1))
    for filters in (32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dense(128, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def deep(blocks=24, filters=16):
    def convolution(x):
        return keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)

    x = inputs = keras.Input((8, 8, 1))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(convolution(x)))
    for _ in range(blocks):
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(convolution(x)))
        y = keras.layers.BatchNormalization()(convolution(y))
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


NETWORKS = {"plain": plain, "deep": deep}


class Followed(keras.callbacks.Callback):
    """Notes the expected MACs after each epoch, the bound at that step, and how many gates are decided."""

    def __init__(self, target, epochs, steps):
        super().__init__()
        self.target, self.whole, self.steps, self.epochs = target, epochs, steps, []

    def on_epoch_end(self, epoch, logs=None):
        done = (epoch + 1) * self.steps / self.whole
        passed = min(1.0, max(0.0, (done - WARM_UP * self.steps) / (RAMP * self.steps)))
        p = np.concatenate([np.asarray(keras.ops.convert_to_numpy(g.open_probability())) for g in self.model.gates])
        decided = float(np.mean((p < 0.1) | (p > 0.9)))
        self.epochs.append([float(tfgates.cost(self.model).expected_macs), self.target**passed, decided])


def run(name, order, target, seed):
    keras.utils.set_random_seed(seed)
    digits = load_digits()
    x, y = (digits.images[..., None] / 16).astype("float32"), digits.target
    train, test = (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])
    dense, (gated_epochs, fine_tuning) = NETWORKS[name](), EPOCHS[name]
    whole = tfgates.cost(dense).macs
    model = tfgates.gate_model(dense, generator=order, budget=tfgates.Budget(macs=target), seed=seed)
    model.compile(keras.optimizers.AdamW(1e-3, 0.1), loss=LOSS, metrics=["accuracy"])
    followed = Followed(target, gated_epochs, gated_epochs * -(-TRAIN // BATCH))
    model.fit(*train, batch_size=BATCH, epochs=gated_epochs, verbose=0, callbacks=[followed])
    small = tfgates.finish(model, train)
    small.fit(*train, batch_size=BATCH, epochs=fine_tuning, verbose=0)
    epochs = [[round(macs / whole, 4), round(bound, 4), round(decided, 3)] for macs, bound, decided in followed.epochs]
    return {
        "macs": tfgates.cost(small).macs / whole,
        "gates": len(model.gates),
        "test_error": 1.0 - small.evaluate(*test, verbose=0, return_dict=True)["accuracy"],
        "epochs": epochs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/generators"))
    parser.add_argument("--network", choices=sorted(NETWORKS), default="plain")
    parser.add_argument("--label", default="now")
    parser.add_argument("--orders", nargs="+", default=["none", "forward", "backward"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--macs", type=float, default=0.3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "generators.json"
    results = json.loads(path.read_text()) if path.exists() else []
    for seed in arguments.seeds:
        for order in arguments.orders:
            wanted = {"label": arguments.label, "generator": order, "target": arguments.macs, "seed": seed}
            if arguments.network != "plain":
                wanted["network"] = arguments.network
            if any(wanted.items() <= found.items() for found in results):
                continue
            keras.utils.clear_session()
            results.append(wanted | run(arguments.network, None if order == "none" else order, arguments.macs, seed))
            text = json.dumps(results)
            write_whole(path, lambda temporary, text=text: temporary.write_text(text))
            last = results[-1]
            print(
                f"{arguments.label} {order} seed {seed}: after the first epoch {last['epochs'][0]}, at the end "
                f"{last['epochs'][-1]}, left {last['macs']:.3f}, test error {100 * last['test_error']:.2f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
