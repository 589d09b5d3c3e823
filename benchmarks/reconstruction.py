"""How much of the accuracy that pruning loses `tfgates.reconstruct` wins back, without labels; a table in Markdown.

    python benchmarks/reconstruction.py --network=lenet5 --data_dir=../shared/data/tfds --out=runs/reconstruction
    python benchmarks/reconstruction.py --network=resnet20 --data_dir=../shared/data/tfds --out=runs/reconstruction

A dense network is trained first and kept in OUT (`--dense=FILE.keras` takes one that is there), then pruned by
`tfgates.prune_by` to each size and reconstructed on `--examples` images of the validation split, whose labels are not
used. Accuracies are on test images, seconds the processor time of `reconstruct`, of all threads. Results are kept in
OUT/NETWORK.json: rows that are there are not made again.
"""

import argparse
import json
import pathlib
import sys
import time

import keras
import numpy as np

import tfgates

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
import data as images

DATA = {"lenet5": "mnist", "resnet20": "cifar10"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=DATA, default="lenet5")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/reconstruction"))
    parser.add_argument("--dense", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=6, help="of the dense network")
    parser.add_argument("--sizes", default="macs=0.5,macs=0.25,params=0.1", help="budgets")
    parser.add_argument("--importance", default="magnitude,random")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3, help="of the choice of images and of random importance")
    return parser.parse_args()


def trained(chosen, data):
    """The dense network, from its file where there is one."""
    path = chosen.dense or chosen.out / f"{chosen.network}.keras"
    if path.exists():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(0)
    model = getattr(tfgates.applications, chosen.network)(input_shape=data.input_shape, classes=data.classes, gate=None)
    steps = -(-data.train_examples // 128) * chosen.epochs
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - steps // 5, warmup_target=3e-3, warmup_steps=steps // 5)
    model.compile(keras.optimizers.AdamW(rate, 0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.train, epochs=chosen.epochs, validation_data=data.validation, verbose=2, shuffle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model


def row(dense, size, importance, seed, x, test):
    """One pruned network, before and after."""
    name, share = size.split("=")
    keras.utils.set_random_seed(seed)
    budget = tfgates.Budget(**{name: float(share)})
    small = tfgates.prune_by(dense, budget, importance, residual="tied", flattened=True, seed=seed)
    small.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    pruned = small.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    start = time.process_time()
    tfgates.reconstruct(small, dense, (x,))
    seconds = time.process_time() - start
    reconstructed = small.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    cost = tfgates.cost(small)
    return {
        "size": size, "importance": importance, "seed": seed, "params": int(cost.params), "macs": int(cost.macs),
        "pruned": pruned, "reconstructed": reconstructed, "seconds": seconds,
    }  # fmt: skip


def main():
    chosen = arguments()
    data = images.load(DATA[chosen.network], chosen.data_dir, 128, augment=chosen.network == "resnet20")
    dense = trained(chosen, data)
    dense.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    accuracy = dense.evaluate(data.test, verbose=0, return_dict=True)["accuracy"]
    path = chosen.out / f"{chosen.network}.json"
    chosen.out.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else []
    for size in chosen.sizes.split(","):
        for importance in chosen.importance.split(","):
            for seed in range(chosen.seeds):
                wanted = {"size": size, "importance": importance, "seed": seed, "dense": accuracy}
                if any(wanted.items() <= found.items() for found in rows):
                    continue
                x = np.concatenate(
                    [x for x, _ in data.validation.shuffle(99, seed=seed).take(-(-chosen.examples // 128))]
                )
                found = row(dense, size, importance, seed, x[: chosen.examples], data.test)
                rows.append({**found, "dense": accuracy, "examples": chosen.examples})
                print(rows[-1], flush=True)
                path.write_text(json.dumps(rows, indent=1))
    print(f"\nDense test accuracy of {chosen.network}: {100 * accuracy:.2f} %\n")
    print("| size | importance | pruned | reconstructed | of what was lost | seconds |\n|---|---|---|---|---|---|")
    for size, importance in dict.fromkeys((r["size"], r["importance"]) for r in rows):
        group = [r for r in rows if (r["size"], r["importance"]) == (size, importance)]
        before, after = (np.array([100 * r[name] for r in group]) for name in ("pruned", "reconstructed"))
        back = (after.mean() - before.mean()) / max(100 * accuracy - before.mean(), 1e-9)
        cells = (f"{v.mean():.2f} % ({v.min():.2f} to {v.max():.2f})" for v in (before, after))
        seconds = np.mean([r["seconds"] for r in group])
        print(f"| {size} | {importance} | {' | '.join(cells)} | {100 * back:.0f} % | {seconds:.0f} |")


if __name__ == "__main__":
    main()
