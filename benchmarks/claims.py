"""What the four papers say of themselves, on one residual network with bottlenecks at equal MACs and epochs.

    python benchmarks/claims.py --data_dir=../shared/data/tfds --out=runs/claims

A ResNet of twelve bottlenecks in three stages (8-16-32 channels, blocks 4 times as wide outside), images of CIFAR-10 at
16 x 16: 24 gates inside of the blocks, 12 on whole blocks. `compress` from scratch with its defaults but for what the
row names; the dense network trains as long. Accuracies are of 10,000 held-out training images at the last epoch of
what is left, whose training step is timed in turns with that of the dense network. One process, one thread; a run that
is in OUT/claims.json is not run again; `python docs/remake.py --tables` makes the table. Rows:

    hard_concrete    gates of their own (L0)
    forward          their logits from a generator, and its other order (Dep-L0): do gates that depend on each other
    backward         choose better?
    arm, disarm      exact binary gates (L0-ARM): do they keep more at the same size?
    scaling          scaling factors of channels by accelerated proximal gradient (SSS)
    scaling_blocks   of whole blocks: can they be chosen in one run?
    blocks           whole blocks by hard concrete gates
    magnitude        trained and pruned by magnitude, no gates, the same shares of epochs
    random           random units in the place of the smallest
    dense            nothing removed
"""

import argparse
import os
import pathlib
import time

import dense
from streams import BATCH, compiled, convolution, data, loss_of, step_ratio

ROWS = {
    "hard_concrete": {},
    "forward": {"generator": "forward"},
    "backward": {"generator": "backward"},
    "arm": {"gate": "arm"},
    "disarm": {"gate": "disarm"},
    "scaling": {"gate": "scaling"},
    "scaling_blocks": {"gate": "scaling", "residual": "block"},
    "blocks": {"residual": "block"},
    "magnitude": {"importance": "magnitude"},
    "random": {"importance": "random"},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets with cifar10 in it")
    parser.add_argument("--rows", nargs="*", choices=(*ROWS, "dense"), default=(*ROWS, "dense"))
    parser.add_argument("--macs", type=float, nargs="*", default=[0.5])
    parser.add_argument("--images", type=int, default=5_120, help="so many of the training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=12, help="of the steps that are timed")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/claims"))
    return parser.parse_args()


def bottleneck(x, filters, strides=1):
    import keras

    y = convolution(convolution(x, filters, 1, strides), filters, 3)
    y = convolution(y, 4 * filters, 1, active=False)
    if x.shape[-1] != 4 * filters:
        x = convolution(x, 4 * filters, 1, strides, active=False)
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def network(blocks=4):
    import keras

    inputs = keras.Input((16, 16, 3))
    x = convolution(inputs, 16, 3)
    for filters, strides in ((8, 1), (16, 2), (32, 2)):
        for block in range(blocks):
            x = bottleneck(x, filters, 1 if block else strides)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def run(name, macs, seed, parts, chosen):
    import keras

    import tfgates

    keras.utils.set_random_seed(seed)
    model, (train, held_out) = network(), parts
    began = time.process_time()
    if name == "dense":
        small = dense.train(model, train, loss_of("claims"), chosen.epochs, BATCH)
    else:
        small = tfgates.compress(
            model,
            train,
            tfgates.Budget(macs=macs),
            loss_of("claims"),
            chosen.epochs,
            metrics=["accuracy"],
            batch_size=BATCH,
            verbose=0,
            **ROWS[name],
        )
    cost, whole = tfgates.cost(small), tfgates.cost(network())
    found = {"processor": time.process_time() - began, "macs": cost.macs / whole.macs}
    found["params"] = cost.params / whole.params
    found["blocks"] = sum(isinstance(layer, keras.layers.Add) for layer in small.layers)
    found["accuracy"] = float(compiled(small, "claims").evaluate(*held_out, verbose=0, batch_size=500)[1])
    if name != "dense":
        found["step"] = step_ratio(small, network(), "claims", train, chosen.rounds)
        records = tfgates.report_of(small).history.records()
        found["expected_macs"] = [each["expected_macs"] for each in records if each.get("expected_macs")]
    return found


def main():
    chosen = arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    import keras
    import tensorflow as tf
    from stored import Kept

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kept = Kept(chosen.out / "claims.json")
    parts = data("claims", chosen.data_dir, chosen.images)
    for seed in chosen.seeds:
        for macs in chosen.macs:
            for name in chosen.rows:
                share = 1.0 if name == "dense" else macs
                key = f"{name} {share:g} {seed}"
                if key not in kept.runs():
                    kept.keep(key, run(name, share, seed, parts, chosen))
                    keras.backend.clear_session()


if __name__ == "__main__":
    main()
