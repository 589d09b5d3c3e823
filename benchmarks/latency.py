"""Latency of a ResNet50 with half of its inner channels removed, beside its MACs.

    python benchmarks/latency.py
    python benchmarks/latency.py --batch_sizes 1 8 --rounds 20 --out=benchmarks/results/latency_resnet50.json

The networks run in turns as SavedModels at 224 x 224, so that what else the machine does hits all
alike; the ratio is the median over the rounds, with quartiles. The proportion to compare with is
that of the MACs.
"""

import argparse
import tempfile

import keras
import numpy as np
import tensorflow as tf
from stored import store
from timing import interleaved, summary, table

import tfgates


def half_closed(model, seed=0):
    """The model pruned with half of the units of each gate closed."""
    gated = tfgates.gate_model(model)
    generator = np.random.default_rng(seed)
    for gate in gated.gates:
        closed = generator.permutation(gate.units) < gate.units // 2
        gate.logits.assign(np.where(closed, -5.0, 5.0))
    return tfgates.prune(gated)


def served(model):
    """The model's SavedModel, loaded."""
    folder = tempfile.mkdtemp()
    model.export(folder, verbose=False)
    return tf.saved_model.load(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", default="ResNet50", help="a network of keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", help="a file for the result as JSON")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    shape = (arguments.size, arguments.size, 3)
    model = getattr(keras.applications, arguments.network)(weights=None, input_shape=shape)
    pruned = half_closed(model)
    before, after = tfgates.cost(model), tfgates.cost(pruned)
    print(f"{arguments.network}, {arguments.size} x {arguments.size}, half of the gated channels removed")
    print(
        f"parameters {after.dense_params:,} of {before.dense_params:,}: {after.dense_params / before.dense_params:.3f}"
    )
    print(f"MACs {after.dense_macs:,} of {before.dense_macs:,}: {after.dense_macs / before.dense_macs:.3f}")
    rows = []
    artifacts = {"dense": served(model), "pruned": served(pruned)}
    for batch_size in arguments.batch_sizes:
        x = tf.constant(np.random.default_rng(0).normal(size=(batch_size, *shape)).astype("float32"))
        functions = {name: (lambda a=a, x=x: a.serve(x).numpy()) for name, a in artifacts.items()}
        print(f"batch {batch_size}, {arguments.rounds} rounds")
        some = summary(*interleaved(functions, arguments.rounds), "dense")
        print(table(some))
        rows += [{"batch_size": batch_size, **row} for row in some]
    sizes = {
        name: {"params": float(cost.dense_params), "macs": float(cost.dense_macs)}
        for name, cost in (("dense", before), ("pruned", after))
    }
    store(arguments.out, rows, sizes=sizes)


if __name__ == "__main__":
    main()
