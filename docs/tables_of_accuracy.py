"""Tables of what is left of networks, and how right it is: each function makes rows of text of a stored result."""

import statistics

CIFAR10 = {
    "dense": "dense",
    "gates": "gates (hard concrete), from scratch",
    "magnitude": "magnitude, rate annealed before pruning too",
    "magnitudeconstant": "magnitude, rate kept until pruning",
    "uniform": "magnitude, the same share everywhere",
    "random": "random units",
    "narrow": "fewer channels everywhere, from scratch",
}


def grouped(rows, *names):
    """Rows that agree in `names` together, in the order in which they first come."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def mean(rows, name):
    return statistics.fmean(row[name] for row in rows)


def cifar10(rows):
    """ResNet-20 beside every control: means, and test accuracies of the seeds."""
    groups = grouped([row for row in rows if row["settings"]["gates_share"] == 0.6], "row")
    yield "network", "MACs left", "parameters left", "validation accuracy", "test accuracy (seeds)"
    for size in ("", "-0.5", "-0.25"):
        for name, words in CIFAR10.items():
            seeds = groups.get((name + size,))
            if not seeds:
                continue
            shares = (f"{100 * mean(seeds, key):.1f} %" for key in ("macs_share", "params_share"))
            tests = ", ".join(f"{100 * row['test']:.2f}" for row in sorted(seeds, key=lambda row: row["seed"]))
            yield (
                words,
                *shares,
                f"{100 * mean(seeds, 'validation'):.2f} %",
                f"{100 * mean(seeds, 'test'):.2f} % ({tests})",
            )


LENET5 = {
    "gates": "`compress`, gates",
    "joint": "`compress`, MACs of the narrow network too",
    "taught": "`compress`, gates, with a dense network as teacher",
    "temperature=1/3": "`compress`, gates, `temperature=1/3`",
    "magnitude": "magnitude",
    "annealed": "magnitude, rate annealed before pruning too",
    "random": "random units",
    "redrawn": "what the gates chose, drawn anew",
    "narrow": "narrow from the start",
    "dense": "dense",
}


def errors(rows, name):
    """Mean in percent, with the seeds where there are several."""
    values = [100 * row[name] for row in sorted(rows, key=lambda row: row["seed"])]
    seeds = f" ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f} %{seeds}"


def lenet5(rows):
    """LeNet-5 at small sizes beside every control: means over the seeds that were run."""
    groups = grouped(rows, "size", "row")
    yield "asked for", "network", "parameters left", "MACs left", "validation error", "test error"
    for size in sorted({row["size"] or 0 for row in rows}, reverse=True):
        for name, words in LENET5.items():
            some = groups.get((size or None, name))
            if some:
                yield (
                    f"{size:,}" if size else "",
                    words,
                    f"{mean(some, 'params'):,.0f}",
                    f"{100 * mean(some, 'macs_share'):.1f} %",
                    errors(some, "validation_error"),
                    errors(some, "test_error"),
                )


def lenet5_longer(rows):
    """The same of the share of fine-tuning that was chosen."""
    yield from lenet5([row for row in rows if row["fine_tune"] == 0.3])


def torch_pruning(rows):
    """LeNet-5 by Torch-Pruning: means over the seeds that were run."""
    yield "asked for", "parameters left", "MACs left", "channels and units, by seed", "validation error", "test error"
    for (size,), some in grouped(rows, "size").items():
        yield (
            f"{size:,}",
            f"{mean(some, 'params'):,.0f}",
            f"{100 * mean(some, 'macs_share'):.1f} %",
            ", ".join("-".join(map(str, row["widths"])) for row in sorted(some, key=lambda row: row["seed"])),
            errors(some, "validation_error"),
            errors(some, "test_error"),
        )


def generators(rows):
    """Expected MACs after the first epoch, in the midst of the ramp and at the end, and errors, with the seeds."""
    words = {"none": "gates of their own", "forward": "generator, forward", "backward": "generator, backward"}
    yield "version", "logits", "epoch 1 (bound 100 %)", "epoch 9 (55 %)", "epoch 14 (30 %)", "last epoch", "test error"
    for (label, order), some in grouped(rows, "label", "generator").items():
        macs = (statistics.fmean(row["epochs"][at][0] for row in some) for at in (0, 8, 13, -1))
        yield label, words[order], *(f"{100 * value:.0f} %" for value in macs), errors(some, "test_error")


def estimators(rows):
    """Variance of one draw over the squared norm of what it estimates, means over networks; and the distances."""
    probabilities = sorted({row["p"] for row in rows})
    yield (
        "estimator",
        "passes",
        *(f"variance, p = {p:g}" for p in probabilities),
        "distance of the mean (standard error)",
    )
    for (name,), some in grouped(rows, "estimator").items():
        means = [mean([row for row in some if row["p"] == p], "variance") for p in probabilities]
        known = [row for row in some if row["distance"] is not None]
        distance = f"{mean(known, 'distance'):.2f} ({mean(known, 'error'):.2f})" if known else "of its own"
        yield name, str(some[0]["passes"]), *(f"{value:,.1f}" for value in means), distance


def equal_passes(rows):
    """What is left of LeNet-5 by each gate at the same size, at equal passes and, where that was run, equal steps."""
    heads = ("gate", "passes", "epochs with gates", "seeds", "expected parameters at their end", "MACs left")
    yield *heads, "validation error", "test error"
    for (name, epochs), some in grouped(rows, "gate", "epochs").items():
        errors_of = [f"{spread([100 * row[key] for row in some])} %" for key in ("validation_error", "test_error")]
        expected = f"{100 * statistics.fmean(row['expected_params'][-1] for row in some):.1f} %"
        macs = f"{100 * mean(some, 'macs') / 2_293_000:.1f} %"
        yield name.replace("_", " "), str(some[0]["passes"]), str(epochs), str(len(some)), expected, macs, *errors_of


def spread(values):
    """Mean (standard error)."""
    middle = f"{statistics.fmean(values):.2f}"
    return middle if len(values) < 2 else f"{middle} ({statistics.stdev(values) / len(values) ** 0.5:.2f})"


CLAIMS = {
    "dense": "dense",
    "hard_concrete": "hard concrete, channels (L0)",
    "forward": "with a generator, forward (Dep-L0)",
    "backward": "with a generator, backward (Dep-L0)",
    "arm": "ARM (L0-ARM)",
    "disarm": "DisARM",
    "scaling": "scaling factors of channels (SSS)",
    "scaling_blocks": "scaling factors of blocks (SSS)",
    "blocks": "hard concrete, blocks",
    "magnitude": "magnitude, no gates",
    "random": "random units, no gates",
}


def claims(runs):
    """The methods of the papers on one network at equal MACs: means over seeds, and each seed."""
    heads = ("MACs asked for", "chosen by", "accuracy", "beside hard concrete, same seeds", "MACs", "parameters")
    yield *heads, "blocks of 12", "step over dense"
    groups: dict = {}
    for name, run in runs.items():
        row, macs, seed = name.split()
        groups.setdefault((float(macs), row), {})[seed] = run
    for (macs, row), some in sorted(groups.items(), key=lambda pair: (-pair[0][0], list(CLAIMS).index(pair[0][1]))):
        accuracy = {seed: 100 * run["accuracy"] for seed, run in sorted(some.items())}
        base = groups.get((macs, "hard_concrete"), {})
        apart = [accuracy[seed] - 100 * base[seed]["accuracy"] for seed in accuracy if seed in base]
        yield (
            f"{macs:g}",
            CLAIMS[row],
            f"{statistics.fmean(accuracy.values()):.2f} % ({', '.join(f'{value:.2f}' for value in accuracy.values())})",
            spread(apart) if apart and row != "hard_concrete" else "",
            *(f"{100 * mean(some.values(), key):.1f} %" for key in ("macs", "params")),
            ", ".join(str(run["blocks"]) for run in some.values()) if row.endswith("blocks") else "12",
            f"{statistics.fmean(run['step'][0] for run in some.values()):.2f}" if row != "dense" else "1",
        )


CHOICE = {
    "dense": "dense",
    "narrow": "fewer channels everywhere, from scratch",
    "magnitude": "magnitude, rate annealed before and after",
    "uniform": "magnitude, the same share everywhere",
    "random": "random units",
    "gates": "gates, `compress` with its defaults",
    "trained": "gates, from a trained network",
}


def of_seeds(values):
    """Mean in percent, and each."""
    values = [100 * value for value in values]
    return f"{statistics.fmean(values):.2f} % ({', '.join(f'{value:.2f}' for value in values)})"


def fast(runs):
    """The fast network: means over seeds, each seed, and the time of the processor beside the dense run of the seed."""
    yield (
        "chosen by", "MACs", "parameters", "held-out images", "test images (seeds)", "mean of six views (seeds)",
        "processor time over dense",
    )  # fmt: skip
    groups: dict = {}
    for name, run in runs.items():
        row, macs, seed = name.split()
        groups.setdefault((float(macs), row), {})[seed] = run
    dense = groups.get((1.0, "dense"), {})
    for (_, row), some in sorted(groups.items(), key=lambda pair: (-pair[0][0], list(CHOICE).index(pair[0][1]))):
        ratios = [run["processor"] / dense[seed]["processor"] for seed, run in some.items() if seed in dense]
        yield (
            "gates, `initial_open_probability=0.998`" if row == "gates" else CHOICE[row],
            *(f"{100 * mean(some.values(), key):.1f} %" for key in ("macs", "params")),
            f"{100 * mean(some.values(), 'held_out'):.2f} %",
            *(of_seeds(run[key] for run in some.values()) for key in ("test", "test_of_views")),
            f"{statistics.fmean(ratios):.2f}" if ratios else "",
        )


def choice(runs):
    """What was tried for the choice of gates, controls first, by accuracy: means over seeds, and each seed."""
    # The runs at full size have seen test images too, which nothing was chosen by.
    tests = all("test" in run for run in runs.values())
    yield (
        "MACs asked for", "chosen by", "accuracy (seeds)", "compared with the default, same seeds",
        "MACs", "parameters",
        *(["test accuracy (seeds)"] if tests else []),
    )  # fmt: skip
    groups: dict = {}
    for name, run in runs.items():
        row, macs, seed = name.rsplit(" ", 2)
        # At another rate than the others they are a text of the page.
        if " at " not in row:
            groups.setdefault((float(macs), row), {})[seed] = run

    def order(pair):
        (macs, row), some = pair
        return -macs, row not in list(CHOICE)[:5], row != "gates", -mean(some.values(), "accuracy")

    for (macs, row), found in sorted(groups.items(), key=order):
        some = dict(sorted(found.items()))
        accuracy = {seed: 100 * run["accuracy"] for seed, run in some.items()}
        base = groups.get((macs, "gates"), {})
        apart = [accuracy[seed] - 100 * base[seed]["accuracy"] for seed in accuracy if seed in base]
        yield (
            f"{macs:g}",
            CHOICE.get(row, f"gates, `{row}`"),
            of_seeds(run["accuracy"] for run in some.values()),
            spread(apart) if apart and row != "gates" else "",
            *(f"{100 * mean(some.values(), key):.1f} %" for key in ("macs", "params")),
            *([of_seeds(run["test"] for run in some.values())] if tests else []),
        )


def choice_with_torch_pruning(runs):
    """What Torch-Pruning leaves of the same network: means over seeds, and each."""
    yield "MACs asked for", "accuracy (seeds)", "test accuracy (seeds)", "MACs", "parameters"
    groups: dict = {}
    for name, run in runs.items():
        groups.setdefault(float(name.split()[1]), []).append(run)
    for macs, some in sorted(groups.items(), reverse=True):
        scores = (of_seeds(run[key] for run in some) for key in ("accuracy", "test"))
        yield (f"{macs:g}", *scores, *(f"{100 * mean(some, key):.1f} %" for key in ("macs", "params")))


def reconstruction(rows):
    """Means over choices of images, least to largest, and what part of the loss is won back."""
    yield "size", "importance", "pruned", "reconstructed", "of what was lost", "seconds"
    for (size, importance), some in grouped(rows, "size", "importance").items():
        cells = []
        for name in ("pruned", "reconstructed"):
            values = [100 * row[name] for row in some]
            cells.append(f"{statistics.fmean(values):.2f} % ({min(values):.2f} to {max(values):.2f})")
        lost = mean(some, "dense") - mean(some, "pruned")
        won = (mean(some, "reconstructed") - mean(some, "pruned")) / lost
        yield size, importance, *cells, f"{100 * won:.0f} %", f"{mean(some, 'seconds'):.0f}"


NETWORKS = {
    "resnet20": "ResNet-20, half width, padded shortcuts",
    "mobilenet": "MobileNetV2-like, half width",
    "unet": "U-Net of residual blocks",
}


def streams(runs):
    """Gates inside of branches and on streams too, beside each other: means over seeds, and each seed."""
    yield "network", "MACs", "gates", "accuracy", "tied less inner, same seeds", "step over dense"
    groups = {}
    for name, run in runs.items():
        network, macs, place, seed = name.split()
        groups.setdefault((network, float(macs), place), {})[seed] = run
    for (network, macs, place), some in sorted(
        groups.items(), key=lambda pair: (list(NETWORKS).index(pair[0][0]), -pair[0][1])
    ):
        accuracy = {seed: 100 * run["accuracy"] for seed, run in sorted(some.items())}
        inner = {seed: 100 * run["accuracy"] for seed, run in groups.get((network, macs, "inner"), {}).items()}
        both = [accuracy[seed] - inner[seed] for seed in accuracy if seed in inner]
        error = statistics.stdev(both) / len(both) ** 0.5 if len(both) > 1 else 0.0
        yield (
            NETWORKS[network],
            f"{macs:.2f}",
            {"dense": "", "inner": "inner", "tied": "inner and tied"}[place],
            f"{statistics.fmean(accuracy.values()):.2f} % ({', '.join(f'{value:.2f}' for value in accuracy.values())})",
            f"{statistics.fmean(both):+.2f} (standard error {error:.2f})" if place == "tied" else "",
            f"{statistics.fmean(run['step'][0] for run in some.values()):.2f}" if place != "dense" else "1",
        )


def lenet5_in_short(rows):
    """The ways beside each other at each size: errors, the least in bold, and shares of the MACs."""
    groups, dense = grouped(rows, "size", "row"), 431_080
    yield "asked for", "gates", "magnitude", "narrow from scratch"
    for size in sorted({row["size"] for row in rows if row["size"]}, reverse=True):
        some = [groups[size, name] for name in ("gates", "magnitude", "narrow")]
        errors = [f"{100 * mean(each, 'test_error'):.2f} %" for each in some]
        least = min(range(3), key=lambda at: mean(some[at], "test_error"))
        errors[least] = f"**{errors[least]}**"
        shares = [f"{100 * mean(each, 'macs_share'):.0f} % of the MACs" for each in some]
        cells = (f"{error} ({share})" for error, share in zip(errors, shares, strict=True))
        yield f"`params={size}` ({100 * size / dense:.1f} %)", *cells


def cifar10_in_short(rows):
    """ResNet-20: test accuracies, means of the seeds."""
    groups = grouped([row for row in rows if row["settings"]["gates_share"] == 0.6], "row")
    names = {
        "gates": "gates",
        "magnitude": "magnitude",
        "uniform": "same share everywhere",
        "narrow": "narrow from scratch",
    }
    yield "MACs left", *names.values()
    for share in ("0.5", "0.25"):
        yield (
            f"{100 * float(share):g} %",
            *(f"{100 * mean(groups[f'{name}-{share}',], 'test'):.1f} %" for name in names),
        )


def removal(vgg, lenet5, digits):
    """The choice after 60 and after 30 % of the epochs: accuracies, with the seeds, and processor time."""
    yield "", "steps in all", "seeds", "60 % with gates", "30 % with gates", "processor time, 30 over 60 %"
    for words, steps, runs in (
        ("VGG-like on CIFAR-10", "1,600", vgg),
        ("LeNet-5 on MNIST", "1,600", lenet5),
        ("the digits", "480", digits),
    ):
        late, early = (
            [run for name, run in runs.items() if f"kept macs=0.25 fine_tune={share} " in name] for share in (0.4, 0.7)
        )
        cells = []
        for some in (late, early):
            seeds = ", ".join(f"{100 * run['accuracy']:.2f}" for run in some)
            cells.append(f"{100 * mean(some, 'accuracy'):.2f} ({seeds})")
        ratio = f"{mean(early, 'processor') / mean(late, 'processor'):.2f}".lstrip("0")
        yield words, steps, str(len(late)), *cells, ratio


def minilm_seeds(result):
    """The same over seeds: means, and the accuracies of each."""
    rows = [row for row in result["rows"] if row["run"] != "latency"]
    heads = ("run", "test accuracy (seeds)", "of dense", "validation", "parameters", "encoder left", "MACs")
    yield *heads, "processor time"
    runs = {name: some for (name,), some in grouped(rows, "run").items()}
    for name, some in runs.items():
        told = some[0]["settings"]
        after = told["epochs"] - told.get("before", 0)
        words = {
            "dense": f"dense, {told['dense_epochs']} epochs",
            "compress": f"`compress`, {told['epochs']} epochs, {told.get('fine_tune', 0):.0%} of them after pruning",
            "magnitude": f"magnitude: {told.get('before')} of them before pruning, {after} of fine-tuning",
            "layers": f"the layers 1, 3 and 5 alone, {told['epochs']} epochs",
        }
        seeds = ", ".join(f"{row['accuracy']:.4f}".lstrip("0") for row in some)
        yield (
            words[name],
            f"{mean(some, 'accuracy'):.4f} ({seeds})".lstrip("0"),
            "" if name == "dense" else f"{100 * mean(some, 'accuracy') / mean(runs['dense'], 'accuracy'):.1f} %",
            f"{mean(some, 'validation'):.4f}".lstrip("0"),
            f"{mean(some, 'params'):,.0f}",
            f"{100 * mean(some, 'encoder_left'):.1f} %",
            f"{mean(some, 'macs'):,.0f}",
            f"{mean(some, 'processor_seconds'):.0f} s",
        )


def minilm_latency(result):
    """As SavedModels in turns, medians."""
    yield "network", "a batch of 1", "over dense", "a batch of 8", "over dense"
    (row,) = (row for row in result["rows"] if row["run"] == "latency")
    for name, found in row["milliseconds_and_over_dense"].items():
        cells = (found[key] for key in ("batch_1", "batch_8"))
        yield name, *(cell for milliseconds, ratio in cells for cell in (f"{milliseconds:.1f} ms", f"{ratio:.2f}"))


def vit(rows):
    """A vision transformer from scratch, means over the seeds, and their accuracies."""
    yield "run", "accuracy (seeds)", "MACs of dense", "parameters", "branches left", "processor time"
    words = {
        "dense": "dense",
        "compress": "`compress` with heads, units and branches",
        "magnitude": "magnitude, pruned after as many epochs",
    }
    for (name,), some in grouped(rows, "run").items():
        seeds = ", ".join(f"{row['accuracy']:.3f}".lstrip("0") for row in some)
        yield (
            words[name],
            f"{mean(some, 'accuracy'):.4f} ({seeds})".lstrip("0"),
            f"{100 * mean(some, 'macs_share'):.1f} %",
            f"{mean(some, 'params'):,.0f}",
            f"{mean(some, 'branches'):.1f} of 8",
            f"{mean(some, 'seconds'):.0f} s",
        )
