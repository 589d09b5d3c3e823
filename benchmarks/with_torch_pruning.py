"""LeNet-5 on MNIST pruned by Torch-Pruning 1.6, in as many epochs as the rows of `benchmarks/lenet5.py`.

    python -m venv .venv-torch && .venv-torch/bin/pip install torch numpy torch-pruning==1.6.1
    .venv-torch/bin/python benchmarks/with_torch_pruning.py --data=runs/lenet5/mnist.npz --out=runs/torch_pruning

It needs neither tfgates nor Keras; `mnist.npz` is what `benchmarks/lenet5.py` has written. Two thirds of the epochs
train the dense network, then channels go by magnitude over all layers (`MagnitudePruner`, `global_pruning=True`),
at the ratio that fits the parameters best, and one third is fine-tuning: AdamW, decay .1, batches of 128, the rate
 constant before pruning and falling to 0 by a cosine after it, or, with `--annealed`, by one in each. Runs that are
in OUT/torch_pruning.json are not done again.
"""

import argparse
import copy
import json
import os
import pathlib

import numpy as np
import torch
import torch_pruning as pruning

DECAY, BATCH = 0.1, 128
# Of a layer; one that would lose all of its channels loses none.
LARGEST = 0.95


def network():
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(1, 20, 5), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(20, 50, 5), layers.ReLU(), layers.MaxPool2d(2),
        layers.Flatten(), layers.Linear(800, 500), layers.ReLU(), layers.Linear(500, 10),
    )  # fmt: skip


def load(path, device):
    with np.load(path) as arrays:
        return {
            name: (
                torch.tensor(arrays[f"{name}_x"][..., 0][:, None] / np.float32(255), device=device),
                torch.tensor(arrays[f"{name}_y"], device=device),
            )
            for name in ("train", "validation", "test")
        }


def fit(model, data, epochs, annealed, seed, rate):
    x, y = data
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=DECAY)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if annealed else None
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x), generator=generator).to(x.device).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    return model


@torch.no_grad()
def error(model, data):
    model.eval()
    wrong = sum(int((model(x).argmax(1) != y).sum()) for x, y in zip(*(part.split(500) for part in data), strict=True))
    return wrong / len(data[0])


def pruned(dense, size):
    """The largest network with at most `size` parameters, over a grid of ratios: sizes do not fall with them evenly."""
    found, most, device = None, 0, dense[0].weight.device
    for ratio in np.linspace(0.5, LARGEST, 91):
        model = copy.deepcopy(dense)
        pruning.pruner.MagnitudePruner(
            model, torch.zeros(1, 1, 28, 28, device=device), importance=pruning.importance.MagnitudeImportance(p=2),
            global_pruning=True, pruning_ratio=float(ratio), max_pruning_ratio=LARGEST, ignored_layers=[model[-1]],
        ).step()  # fmt: skip
        left = sum(each.numel() for each in model.parameters())
        if most < left <= size:
            found, most = model, left
    if found is None:
        raise SystemExit(f"no ratio up to {LARGEST} leaves {size} parameters or fewer")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/torch_pruning"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", default=[11_787, 7_959])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--annealed", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "torch_pruning.json"
    results = json.loads(path.read_text()) if path.exists() else []
    data, last = load(arguments.data, arguments.device), round(arguments.epochs / 3)
    for seed in arguments.seeds:
        settings = {"seed": seed, "epochs": arguments.epochs, "annealed": arguments.annealed, "rate": arguments.rate}
        wanted = [{"size": size, **settings} for size in arguments.sizes]
        wanted = [each for each in wanted if not any(each.items() <= found.items() for found in results)]
        if not wanted:
            continue
        torch.manual_seed(seed)
        first = arguments.epochs - last
        dense = fit(network().to(arguments.device), data["train"], first, arguments.annealed, seed, arguments.rate)
        for each in wanted:
            model = pruned(dense, each["size"])
            fit(model, data["train"], last, True, seed + 1000, arguments.rate)
            errors = {f"{name}_error": error(model, data[name]) for name in ("validation", "test")}
            model = model.cpu()
            macs, params = pruning.utils.count_ops_and_params(model, torch.zeros(1, 1, 28, 28))
            whole, _ = pruning.utils.count_ops_and_params(network(), torch.zeros(1, 1, 28, 28))
            widths = [model[0].out_channels, model[3].out_channels, model[7].out_features]
            versions = {"torch": torch.__version__, "torch_pruning": pruning.__version__}
            row = {**each, "params": int(params), "macs_share": macs / whole, "widths": widths, **errors, **versions}
            results.append({"row": "torch_pruning", **row})
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(results, indent=1))
            os.replace(temporary, path)
            print(results[-1], flush=True)


if __name__ == "__main__":
    main()
