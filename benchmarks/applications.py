"""Every network of keras.applications gated, closed at random, pruned; a table in Markdown.

    python benchmarks/applications.py
    python benchmarks/applications.py ResNet50 MobileNetV2
    python benchmarks/applications.py --closed 0.3
    python benchmarks/applications.py --out=benchmarks/results/applications.json    # goes on with what is missing there

Seconds are processor time, of all threads, of one run each. The figures of parameters and MACs are
at the smallest image that the network takes, with 10 classes.
"""

import argparse
import gc
import json
import pathlib
import time

import keras
import numpy as np

import tfgates

NETWORKS = (
    "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge",
    "DenseNet121", "DenseNet169", "DenseNet201",
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3",
    "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
    "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L",
    "InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small",
    "NASNetLarge", "NASNetMobile", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2",
    "VGG16", "VGG19", "Xception",
)  # fmt: skip

# The smallest images that keras.applications takes; 32 where nothing is said.
SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}


def build(name, size=None):
    """The network with 10 classes, without the softmax behind which differences could hide; `size` of the image."""
    size = size or SIZES.get(name, 32)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )


def randomise(model, generator):
    """Averages, offsets and biases as training leaves them: no constant is 0."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(generator.normal(0.0, 0.5, shape))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, shape))
            if layer.gamma is not None:
                layer.gamma.assign(generator.uniform(0.5, 1.5, shape))
            if layer.beta is not None:
                layer.beta.assign(generator.normal(0.0, 0.5, shape))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(generator.normal(0.0, 0.5, layer.bias.shape))


def open_all(gated):
    """Makes every gate 1 at inference."""
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.logits.shape, 5.0))


def close(gated, fraction, generator):
    """Closes each unit with probability `fraction`; what stays open gets values below and at 1."""
    for gate in gated.gates:
        shape = gate.logits.shape
        gate.logits.assign(np.where(generator.random(shape) < fraction, -4.0, generator.uniform(-1.0, 3.0, shape)))


def channels(plan):
    """Output channels of all layers that multiply, before and after."""
    rows = [row for row in plan.layers if row.macs]
    return sum(row.units for row in rows), sum(row.units_left for row in rows)


def measure(name, fraction, seed=0):
    """What one network shows, as a dict."""
    generator = np.random.default_rng(seed)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    start = time.process_time()
    model = build(name)
    build_seconds = time.process_time() - start
    randomise(model, generator)
    start = time.process_time()
    gated = tfgates.gate_model(model)
    gate_seconds = time.process_time() - start
    close(gated, fraction, generator)
    start = time.process_time()
    plan = tfgates.plan_pruning(gated, min_units=1)
    pruned = tfgates.prune(gated, plan=plan)
    prune_seconds = time.process_time() - start
    before, after = channels(plan)
    assert pruned.count_params() == plan.params
    return {
        "network": name,
        "closed": fraction,
        "seed": seed,
        "gates": len(gated.gates),
        "channels": [before - after, before],
        "params": [int(plan.params), int(plan.dense_params)],
        "macs": [int(plan.macs), int(plan.dense_macs)],
        "seconds": {"build": build_seconds, "gate": gate_seconds, "prune": prune_seconds},
    }


HEAD = ("architecture", "gates", "channels removed", "parameters left", "MACs left", "build s", "gate s", "prune s")


def cells(row):
    """A row of the table as text."""
    (removed, channels), (params, dense_params), (macs, dense_macs) = row["channels"], row["params"], row["macs"]
    return (
        row["network"],
        f"{row['gates']}",
        f"{removed:,} of {channels:,}",
        f"{params:,} of {dense_params:,} ({params / dense_params:.1%})",
        f"{macs / 1e6:,.1f} of {dense_macs / 1e6:,.1f} M ({macs / dense_macs:.1%})",
        *(f"{seconds:.1f}" for seconds in row["seconds"].values()),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", help="all by default")
    parser.add_argument("--closed", type=float, default=0.7, help="share of the units that are closed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="a file for the result as JSON; what it has is not done again")
    arguments = parser.parse_args()
    from stored import store

    print("| " + " | ".join(HEAD) + " |")
    print("| --- " * len(HEAD) + "|")
    rows = json.loads(arguments.out.read_text("utf-8"))["rows"] if arguments.out and arguments.out.exists() else []
    wanted = arguments.networks or NETWORKS
    late = []
    for name in wanted:
        settings = {"network": name, "closed": arguments.closed, "seed": arguments.seed}
        row = next((row for row in rows if all(row[key] == value for key, value in settings.items())), None)
        if row is None:
            row = measure(name, arguments.closed, arguments.seed)
            rows.append(row)
            rows.sort(key=lambda row: NETWORKS.index(row["network"]))
            store(arguments.out, rows)
        print("| " + " | ".join(cells(row)) + " |", flush=True)
        if row["seconds"]["prune"] > row["seconds"]["build"] + 10.0:
            late.append(name)
        gc.collect()
    print(f"\nSlower to prune than to build, plus 10 s: {', '.join(late) or 'none'}")


if __name__ == "__main__":
    main()
