"""The gates and estimators at equal passes and at equal steps: what `compress` leaves of LeNet-5 at the same size.

    export TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1
    python benchmarks/equal_passes.py --data_dir=../shared/data/tfds --out=runs/equal_passes

LeNet-5 on the first `--images` images of MNIST, `--params` left, everything else the defaults of `compress`. A pass is
one through the network and its loss: an estimator that compares two states takes two for a step, UGC three. At equal
passes the time with gates is `--passes` epochs of one pass, so 24 epochs of hard concrete, 12 of DisARM, 8 of UGC; at
equal steps (`--steps`) it is that many epochs for each. `--after` epochs of fine-tuning follow in both. Nothing is
tuned. Errors of the last epoch on the 5,000 held-out and the 10,000 test images. Runs that are in
OUT/equal_passes.json are not done again.
"""

import argparse
import json
import pathlib
import time

import keras
from estimators import NAMES, passes
from lenet5 import LOSS, load, network, prepare

import tfgates
from tfgates.files import write_whole


def run(name, epochs, arguments, seed, data):
    """What is left of one run: errors and size, and how far the gates had decided before units were chosen."""
    train, validation, test = data
    began = time.process_time()
    small = tfgates.compress(
        network(),
        train,
        tfgates.Budget(params=arguments.params),
        LOSS,
        epochs=epochs + arguments.after,
        fine_tune=arguments.after / (epochs + arguments.after),
        metrics=["accuracy"],
        gate=name,
        seed=seed,
        verbose=0,
    )
    seconds = time.process_time() - began
    records = tfgates.report_of(small).history.records()
    followed = [each["expected_params"] for each in records if each.get("expected_params") is not None]
    cost = tfgates.cost(small)
    errors = [1.0 - small.evaluate(*part, verbose=0, return_dict=True)["accuracy"] for part in (validation, test)]
    kernels = [list(layer.kernel.shape) for layer in small.layers if hasattr(layer, "kernel")]
    return {
        "params": int(cost.params), "macs": int(cost.macs), "kernels": kernels,
        "expected_params": [round(float(share), 4) for share in followed],
        "validation_error": errors[0], "test_error": errors[1], "seconds": round(seconds, 1),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data_dir", help="folder of tensorflow-datasets, with mnist in it; not if OUT has mnist.npz")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/equal_passes"))
    parser.add_argument("--images", type=int, default=5_120, help="train on so many")
    parser.add_argument("--params", type=int, default=43_108, help="parameters that may be left: a tenth")
    parser.add_argument("--passes", type=int, default=24, help="epochs with gates of what takes one pass for a step")
    parser.add_argument("--after", type=int, default=8, help="epochs of fine-tuning")
    parser.add_argument("--steps", action="store_true", help="as many steps with gates for each, not as many passes")
    parser.add_argument("--gates", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (arguments.out / "mnist.npz").exists():
        prepare(arguments.data_dir, arguments.out / "mnist.npz")
    data = load(arguments.out / "mnist.npz", arguments.images)
    path = arguments.out / "equal_passes.json"
    results = json.loads(path.read_text()) if path.exists() else []
    for seed in arguments.seeds:
        for name in arguments.gates:
            epochs = arguments.passes if arguments.steps else round(arguments.passes / passes(name))
            wanted = {"gate": name, "epochs": epochs, "after": arguments.after, "images": arguments.images}
            wanted |= {"asked_for": arguments.params, "seed": seed}
            if any(wanted.items() <= found.items() for found in results):
                continue
            keras.utils.clear_session()
            keras.utils.set_random_seed(seed)
            results.append(wanted | {"passes": passes(name)} | run(name, epochs, arguments, seed, data))
            text = json.dumps(results, indent=1)
            write_whole(path, lambda temporary, text=text: temporary.write_text(text))
            last = results[-1]
            print(
                f"{name} {epochs} epochs seed {seed}: {last['params']} parameters, validation error "
                f"{100 * last['validation_error']:.2f} %, test error {100 * last['test_error']:.2f} %, "
                f"{last['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
