"""Parameters and multiply-accumulates of the networks in `tfgates.applications`; no weights are drawn.

python benchmarks/sizes.py --out=benchmarks/results/sizes.json
"""

import argparse
import math

import keras
from stored import store

import tfgates

NETWORKS = (
    "mlp", "lenet5", "vgg16", "resnet20", "resnet32", "resnet56", "resnet110", "resnet164",
    "wrn28_10", "resnext20", "resnext164", "resnet50", "resnext50",
)  # fmt: skip


def measure(name):
    """A row: the size of the network as it is made without arguments."""
    keras.utils.clear_session()
    with keras.StatelessScope():
        model = getattr(tfgates.applications, name)()
    params = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return {"network": name, "params": params, "macs": int(tfgates.cost(model).macs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", help="a file for the result as JSON")
    arguments = parser.parse_args()
    rows = []
    for name in NETWORKS:
        rows.append(measure(name))
        print(f"{name:12} {rows[-1]['params']:>12,} {rows[-1]['macs']:>16,}", flush=True)
    store(arguments.out, rows)


if __name__ == "__main__":
    main()
