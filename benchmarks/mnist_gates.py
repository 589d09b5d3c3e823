"""LeNet-5 on MNIST with each gate and estimator under equal settings: size and error of what is left.

    python benchmarks/mnist_gates.py --data_dir=~/tensorflow_datasets --gates=disarm --seeds=0 --out=mnist_gates.json

55,000 images train, 5,000 are held out, and the test set is touched once per run, at the end, on the
pruned network. "Removed" is the share of the 430,500 weights that is gone, biases aside.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow_datasets as tfds
from stored import store

import tfgates
from tfgates.gates import NAMES

# The papers' lambda is the loss per weight times the number of training images.
IMAGES = 60_000
DENSE_WEIGHTS = 430_500


def load(data_dir):
    """Training, validation and test images with their labels."""
    parts = []
    for split in ("train[:55000]", "train[55000:]", "test"):
        images, labels = tfds.as_numpy(
            tfds.load("mnist", split=split, data_dir=data_dir, download=False, batch_size=-1, as_supervised=True)
        )
        parts.append((images.astype("float32") / 255.0, labels))
    return parts


def compile_model(model, arguments, epochs, images, gate_learning_rate=None):
    steps = epochs * -(-images // arguments.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(arguments.learning_rate, steps)
    optimizer = keras.optimizers.Adam(schedule)
    gates = {}
    if isinstance(model, tfgates.GatedModel):
        # Without a rate of their own the gates learn as the weights do.
        gates["gate_optimizer"] = None if gate_learning_rate is None else keras.optimizers.Adam(gate_learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], steps_per_execution=43, **gates)


def shape_of(network):
    """The widths of a pruned LeNet-5, as the papers write them, and the number of its weights."""
    kernels = [layer.kernel for layer in network.layers if hasattr(layer, "kernel")]
    widths = [kernels[0].shape[-1], kernels[1].shape[-1], kernels[2].shape[0], kernels[3].shape[0]]
    return "-".join(map(str, widths)), sum(int(np.prod(kernel.shape)) for kernel in kernels)


def run(name, seed, arguments, data):
    """Trains, prunes and fine-tunes one network; returns what is left of it."""
    train, validation, test = data
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    gate = tfgates.gates.get(
        name,
        initial_open_probability=arguments.initial_open_probability,
        sampling=arguments.sampling,
        seed=seed,
    )
    penalties = [value / IMAGES for value in arguments.l0]
    model = tfgates.applications.lenet5(gate=gate, l0=penalties)
    rate = arguments.gate_learning_rate
    compile_model(model, arguments, arguments.epochs, len(train[1]), rate)
    for epoch in range(arguments.epochs):
        history = model.fit(
            *train, batch_size=arguments.batch_size, initial_epoch=epoch, epochs=epoch + 1, verbose=0
        ).history
        counts = [int(np.sum(made.open_units())) for made in model.gates]
        expected = [float(np.sum(made.open_probability())) for made in model.gates]
        if arguments.verbose:
            print(
                f"  {name} seed {seed} epoch {epoch + 1}: accuracy {history['accuracy'][0]:.4f}, "
                f"open {counts}, "
                f"expected {[round(e) for e in expected]}, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    gated = model.evaluate(*validation, batch_size=500, verbose=0, return_dict=True)["accuracy"]
    network = tfgates.prune(model, min_units=1)
    if arguments.finetune_epochs:
        compile_model(network, arguments, arguments.finetune_epochs, len(train[1]))
        network.fit(*train, batch_size=arguments.batch_size, epochs=arguments.finetune_epochs, verbose=0)
    held_out = network.evaluate(*validation, batch_size=500, verbose=0, return_dict=True)["accuracy"]
    tested = network.evaluate(*test, batch_size=500, verbose=0, return_dict=True)["accuracy"]
    shape, weights = shape_of(network)
    result = {
        "kept": shape,
        "removed": 100.0 * (1.0 - weights / DENSE_WEIGHTS),
        "gated": 100.0 * (1.0 - gated),
        "validation": 100.0 * (1.0 - held_out),
        "test": 100.0 * (1.0 - tested),
        "seconds": time.perf_counter() - start,
    }
    print(
        f"{name} seed {seed}: kept {shape}, {result['removed']:.2f} % of the weights removed, error in %: "
        f"validation gated {result['gated']:.2f}, validation {result['validation']:.2f}, "
        f"test {result['test']:.2f}; {result['seconds']:.0f} s",
        flush=True,
    )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets, with mnist in it")
    parser.add_argument("--gates", nargs="+", choices=sorted(NAMES), default=["disarm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=20, help="with gates")
    parser.add_argument("--finetune_epochs", type=int, default=10, help="of the pruned network")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="of the weights, decayed to 0")
    parser.add_argument("--gate_learning_rate", type=float, default=0.01)
    parser.add_argument("--initial_open_probability", type=float, default=0.832)
    parser.add_argument("--sampling", choices=("batch", "example"), default="example")
    parser.add_argument("--l0", nargs=4, type=float, default=[10.0, 0.5, 0.1, 10.0], metavar="LAMBDA")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--out", help="a file for the result as JSON")
    arguments = parser.parse_args()
    data = load(arguments.data_dir)
    print(arguments)
    found = {name: [run(name, seed, arguments, data) for seed in arguments.seeds] for name in arguments.gates}
    runs = [
        {"gate": name, "seed": seed, **result}
        for name, results in found.items()
        for seed, result in zip(arguments.seeds, results, strict=True)
    ]
    store(arguments.out, runs)
    print(f"\n{'gate':24} {'removed %':>20} {'test error %':>20}   kept, by seed")
    for name, results in found.items():
        columns = []
        for column in ("removed", "test"):
            values = [result[column] for result in results]
            columns.append(f"{np.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})")
        print(f"{name:24} {columns[0]:>20} {columns[1]:>20}   {', '.join(r['kept'] for r in results)}")


if __name__ == "__main__":
    main()
