"""The residual network of `benchmarks/choice.py` pruned by Torch-Pruning 1.6, in as many epochs as the controls there.

    python benchmarks/choice.py --data_dir=../shared/data/tfds --images_to=runs/cifar10.npz
    python -m venv .venv-torch && .venv-torch/bin/pip install torch numpy torch-pruning==1.6.1
    .venv-torch/bin/python benchmarks/choice_with_torch_pruning.py --data=runs/cifar10.npz --out=runs/choice_torch

It needs neither tfgates nor Keras. The network is the same (shortcuts padded with channels, normalisations with Keras's
momentum and epsilon, Keras's initial weights), and so are images, crops, batches, optimizer, rates and the split of the
epochs: two thirds dense, one third after pruning, the rate falling to 0 by a cosine in each. Channels inside of blocks
go by magnitude over all layers (`MagnitudePruner`, `global_pruning=True`), at the largest network within the MACs. One
process, one thread; a run that is in OUT/choice_torch_pruning.json is not run again.
"""

import argparse
import copy
import json
import math
import os
import pathlib
import time

import numpy as np
import torch
import torch_pruning as pruning
from torch import nn

DECAY, BATCH, LARGEST = 0.1, 64, 0.95


class Convolution(nn.Sequential):
    """A convolution and its normalisation, as Keras begins and averages them."""

    def __init__(self, before, filters, strides=1):
        convolution = nn.Conv2d(before, filters, 3, strides, 1, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        super().__init__(convolution, nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01))


class Block(nn.Module):
    def __init__(self, before, filters, strides):
        super().__init__()
        self.inner, self.outer = Convolution(before, filters, strides), Convolution(filters, filters)
        self.strides, self.new = strides, filters - before

    def forward(self, x):
        y = self.outer(torch.relu(self.inner(x)))
        if self.new:
            x = x[:, :, :: self.strides, :: self.strides]
            x = nn.functional.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return torch.relu(x + y)


class Network(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, blocks, before = Convolution(3, width), [], width
        for times in (1, 2, 4):
            for block in range(3):
                blocks.append(Block(before, times * width, 2 if times > 1 and not block else 1))
                before = times * width
        self.blocks, self.scores = nn.Sequential(*blocks), nn.Linear(before, 10)
        nn.init.xavier_uniform_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)

    def forward(self, x):
        return self.scores(self.blocks(torch.relu(self.first(x))).mean((2, 3)))


def macs(model, side):
    """Multiply-accumulates of convolutions and the scores for one image."""
    found = []

    def count(layer, _, made):
        places = math.prod(made.shape[2:])
        found.append(places * layer.weight.numel())

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return sum(found)


def load(path):
    with np.load(path) as arrays:
        return {
            name: (torch.tensor(arrays[f"{name}_x"]), torch.tensor(arrays[f"{name}_y"]).long())
            for name in ("train", "held_out", "test")
        }


def batches(data, generator):
    """Images in another order in each epoch, cropped after padding by an eighth of their side, and flipped."""
    x, y = data
    side, more = x.shape[1], x.shape[1] // 8
    padded = nn.functional.pad(x, (0, 0, more, more, more, more))
    for chosen in torch.randperm(len(x), generator=generator).split(BATCH):
        rows, columns = (
            torch.randint(2 * more + 1, (len(chosen), 1), generator=generator) + torch.arange(side) for _ in "ab"
        )
        turned = torch.rand(len(chosen), 1, generator=generator) < 0.5
        columns = torch.where(turned, columns.flip(1), columns)
        images = padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        # In memory channels stay last, which is the quicker way on a processor.
        yield images.permute(0, 3, 1, 2), y[chosen]


def fit(model, data, epochs, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=DECAY, eps=1e-7)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(data[0]) // BATCH))
    model.train()
    for _ in range(epochs):
        for x, y in batches(data, generator):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
    return model


@torch.no_grad()
def accuracy(model, data):
    model.eval()
    right = 0
    for x, y in zip(*(part.split(500) for part in data), strict=True):
        right += int((model(x.permute(0, 3, 1, 2)).argmax(1) == y).sum())
    return right / len(data[0])


def pruned(dense, share, side):
    """The largest network within this share of the MACs, over a grid of ratios."""
    found, most, bound = None, 0, share * macs(dense, side)
    kept = [dense.first, dense.scores, *(block.outer for block in dense.blocks)]
    names = {name for name, module in dense.named_modules() if any(module is each for each in kept)}
    for ratio in np.linspace(0.05, LARGEST, 181):
        model = copy.deepcopy(dense)
        layers = [module for name, module in model.named_modules() if name in names]
        pruning.pruner.MagnitudePruner(
            model, torch.zeros(1, 3, side, side), importance=pruning.importance.MagnitudeImportance(p=2),
            global_pruning=True, pruning_ratio=float(ratio), max_pruning_ratio=LARGEST, ignored_layers=layers,
        ).step()  # fmt: skip
        left = macs(model, side)
        if most < left <= bound:
            found, most = model, left
    if found is None:
        raise SystemExit(f"no ratio up to {LARGEST} leaves {share} of the MACs or fewer")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="what `choice.py --images_to` has written")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/choice_torch"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rate", type=float, default=4e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "choice_torch_pruning.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    data = load(arguments.data)
    side, last = data["train"][0].shape[1], round(arguments.epochs / 3)
    for seed in arguments.seeds:
        wanted = [share for share in arguments.macs if f"torch_pruning {share:g} {seed}" not in results]
        if not wanted:
            continue
        torch.manual_seed(seed)
        began = time.process_time()
        dense = fit(Network(), data["train"], arguments.epochs - last, arguments.rate, seed)
        before = time.process_time() - began
        for share in wanted:
            began = time.process_time()
            model = fit(pruned(dense, share, side), data["train"], last, arguments.rate, seed + 1000)
            found = {"processor": before + time.process_time() - began, "macs": macs(model, side) / macs(dense, side)}
            weights = (sum(w.numel() for w in each.parameters()) for each in (model, dense))
            found["params"] = next(weights) / next(weights)
            found |= {"accuracy": accuracy(model, data["held_out"]), "test": accuracy(model, data["test"])}
            found |= {"dense": accuracy(dense, data["held_out"]), "images": len(data["train"][0]), "side": side}
            found |= {"epochs": arguments.epochs, "rate": arguments.rate}
            found |= {"torch": torch.__version__, "torch_pruning": pruning.__version__}
            results[f"torch_pruning {share:g} {seed}"] = found
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(results, indent=1))
            os.replace(temporary, path)
            print(share, seed, found, flush=True)


if __name__ == "__main__":
    main()
