"""Tables of what things take, and how large they are: each function makes rows of text of stored results."""

METHODS = {
    "hard_concrete": "hard concrete",
    "ar": "AR",
    "arm": "ARM",
    "disarm": "DisARM",
    "reinforce_leave_one_out": "REINFORCE leave-one-out",
    "reinmax": "ReinMax",
    "bitflip": "bitflip-1",
    "double_control_variates": "double control variates",
    "ugc": "UGC",
}


def quartiles(values, digits=2):
    """Median (quartiles)."""
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low}-{high})"


def by_name(result):
    return {row["name"]: row for row in result["rows"]}


def step_time(lenet5, resnet20):
    """A step with each gate over the dense one."""
    first, second = by_name(lenet5), by_name(resnet20)
    yield (
        "",
        "LeNet-5 by clock",
        "LeNet-5 processor time",
        "ResNet-20 by clock",
        "ResNet-20 processor time",
    )
    yield (
        "dense, milliseconds",
        f"{first['dense']['milliseconds']:.1f}",
        "",
        f"{second['dense']['milliseconds']:.0f}",
        "",
    )
    for name, words in METHODS.items():
        yield words, *(quartiles(rows[name][kind]) for rows in (first, second) for kind in ("clock", "processor"))


def step_time_in_short(lenet5, resnet20):
    """The default and the usual choice of gates that are exactly 0 or 1, medians by the clock."""
    yield "", "LeNet-5", "ResNet-20"
    for name, words in (
        ("hard_concrete", "hard concrete, the default"),
        ("disarm", "DisARM, for gates that are exactly 0 or 1 while training"),
    ):
        yield words, *(f"{by_name(result)[name]['clock'][0]:.2f}" for result in (lenet5, resnet20))


ADVICE = {
    "hard_concrete": (
        '"hard_concrete"` (default)', "a number in [0, 1], often exactly 0", 1, "unless there is a reason not to",
    ),
    "disarm": (
        '"disarm"` (= `"bernoulli"`)', "0 or 1, exact", 2, "where the pruned network must be exactly what was trained",
    ),
    "arm": ('"arm"`', "0 or 1", 2, "to compare with its paper; never less noisy than DisARM"),
    "reinforce_leave_one_out": ('"reinforce_leave_one_out"`', "0 or 1", 2, "as a baseline"),
    "ar": ('"ar"`', "0 or 1", 1, "to compare with its paper; its gradient is the noisiest, and it closes the least"),
    "double_control_variates": (
        '"double_control_variates"`', "0 or 1", 2, "less noisy than leave-one-out where gates are mostly open",
    ),
    "bitflip": ('"bitflip"`', "0 or 1", 2, "to compare with its paper ([variances](../results/estimators.md))"),
    "ugc": ('"ugc"`', "0 or 1", 3, "the same"),
    "reinmax": ('"reinmax"`', "0 or 1", 1, "for exact gates at the cost of hard concrete; its gradient is biased"),
}  # fmt: skip


def step_time_of_methods(lenet5, resnet20):
    """What a method is for, and a step with it over the dense one, medians by the clock."""
    yield "`gate=`", "the gate is", "passes", "a training step over the dense one's: LeNet-5, ResNet-20", "use it"
    for name, (word, what, passes, advice) in ADVICE.items():
        ratios = (f"{by_name(result)[name]['clock'][0]:.2f}" for result in (lenet5, resnet20))
        yield f"`{word}", what, f"{passes}", ", ".join(ratios), advice
    scaling = "for whole branches and blocks, with a [budget](budgets.md) or with `SparseScaling`"
    yield '`"scaling"`', "a factor without noise", "1", "not measured", scaling


def versions(result):
    """This version over another, in processor time."""
    names = {
        "gate": "`gate_model` with a budget",
        "monitor's epoch": "an epoch's end of `SparsityMonitor`",
        "prune": "`prune`",
        "prune, compared once": "`prune`, outputs compared in one way of calling alone, as 0.1 does",
        "step hard_concrete": "a step, hard concrete",
        "step disarm": "a step, DisARM",
    }
    rows = by_name(result)
    yield "", "ResNet-20", "plain network of 6 convolutions"
    for name, words in names.items():
        yield words, *(quartiles(rows[f"{name} {network}"]["processor"], 3) for network in ("resnet20", "plain"))


def latency(result):
    """Dense and pruned as SavedModels."""
    yield (
        "batch",
        "dense, ms",
        "pruned, ms",
        "clock, median ratio (quartiles)",
        "processor time, median ratio (quartiles)",
    )
    for size in dict.fromkeys(row["batch_size"] for row in result["rows"]):
        rows = by_name({"rows": [row for row in result["rows"] if row["batch_size"] == size]})
        yield (
            str(size),
            *(f"{rows[name]['milliseconds']:.1f}" for name in ("dense", "pruned")),
            *(quartiles(rows["pruned"][kind], 3) for kind in ("clock", "processor")),
        )


def closed_this_step(result):
    """Gathering the channels that are open over multiplying all, in processor time, medians."""
    sizes = list(dict.fromkeys((row["channels"], row["size"]) for row in result["rows"]))
    yield "open in the draw", *(f"{channels} channels, {size} x {size}" for channels, size in sizes)
    found = {(row["channels"], row["size"], row["name"]): row["processor"][0] for row in result["rows"]}
    for share in dict.fromkeys(row["name"].split(", ")[1] for row in result["rows"]):
        yield share, *(f"{found[(*size, f'gathered, {share}')]:.2f}" for size in sizes)


def applications(result):
    """Each network of keras.applications, as benchmarks/applications.py prints it."""
    yield "architecture", "gates", "channels removed", "parameters left", "MACs left", "build s", "gate s", "prune s"
    for row in result["rows"]:
        (removed, channels), (params, dense), (macs, all_macs) = row["channels"], row["params"], row["macs"]
        yield (
            row["network"],
            f"{row['gates']}",
            f"{removed:,} of {channels:,}",
            f"{params:,} of {dense:,} ({params / dense:.1%})",
            f"{macs / 1e6:,.1f} of {all_macs / 1e6:,.1f} M ({macs / all_macs:.1%})",
            *(f"{seconds:.1f}" for seconds in row["seconds"].values()),
        )


OPENING = {
    ("BERT-base, cost of 128 tokens", "cost"): "BERT-base (KerasHub), `cost(length=128)`",
    ("ViT-B/16, cost", "cost"): "ViT-B/16 (KerasHub), `cost`",
    ("BERT-base, gate heads and units, and prune", "gate"): "BERT-base, `gate_model`: gates on all heads and units",
    ("BERT-base, gate heads and units, and prune", "prune"): "BERT-base, `prune` of it, half of all units closed",
    ("ResNet50, gate and prune", "gate"): "ResNet50, `gate_model`",
    ("ResNet50, gate and prune", "prune"): "ResNet50, `prune`, half of all units closed",
    ("ResNet50, prune_by magnitude", "prune_by"): "ResNet50, `prune_by` magnitude, `Budget(macs=0.5)`",
    ("ResNet50, prune_by taylor, 16 images", "prune_by"): "ResNet50, `prune_by` Taylor, 16 images",
    ("MobileNetV2, gate and prune", "gate"): "MobileNetV2, `gate_model`",
    ("MobileNetV2, gate and prune", "prune"): "MobileNetV2, `prune`",
    ("VGG-like, gate and prune", "gate"): "VGG-like (benchmarks/training_time.py), `gate_model`",
    ("VGG-like, gate and prune", "prune"): "VGG-like, `prune`",
    ("VGG-like, shrink", "shrink"): "VGG-like, `shrink`",
}


def opening(result):
    """Seconds, and in brackets how many networks were laid out and how many walks went through them."""
    yield "", "6a9fe20", "now"
    for (case, step), words in OPENING.items():
        runs = result[case][step]
        cells = []
        for version in ("before", "final, alone" if "final, alone" in runs else "after"):
            (run,) = runs[version]
            digits = 2 if run["seconds"] < 1 else 1
            star = " *" if version.startswith("final") else ""
            cells.append(f"{run['seconds']:.{digits}f} s ({run['Network']}, {run['Walk']}){star}")
        yield words, *cells


def deployment(result):
    """Dense and pruned in each format."""
    yield "format", "network", "MACs", "KiB", "test accuracy", "milliseconds"
    for row in result["rows"]:
        yield (
            row["format"],
            row["network"],
            f"{row['macs']:,.0f}",
            f"{row['bytes'] / 1024:,.0f}",
            "not run" if row["accuracy"] is None else f"{100 * row['accuracy']:.1f} %",
            "not run" if row["milliseconds"] is None else f"{row['milliseconds']:.2f}",
        )


def training_time(default, early, before, half, resnet20, mobilenet):
    """Whole runs of `compress`, in processor time of a dense training of as many epochs."""
    heads = ("network", "asked for", "run", "epochs with gates and after", "rebuilt after epoch", "MACs")
    yield *heads, "processor time", "r", "realised", "accuracy of 2,000 test images"
    dense = before["dense"]
    yield "VGG-like", "", "dense", "", "", f"{dense['macs']:,}", "1", "", "", short(dense["test_accuracy"], 4)
    for network, share, words, epochs, result in (
        ("VGG-like", "0.5", "the default", "12 and 8", half),
        ("VGG-like", "0.25", "the default", "12 and 8", default),
        ("VGG-like", "0.25", "`fine_tune=0.7`", "6 and 14", early),
        ("VGG-like", "0.25", "the default as it was, all images compared before the training", "12 and 8", before),
        ("ResNet-20", "0.5", "the default", "12 and 8", resnet20),
        ("ResNet-20", "0.25", "the default", "12 and 8", resnet20),
        ("MobileNetV2-like", "0.5", "the default", "12 and 8", mobilenet),
        ("MobileNetV2-like", "0.25", "the default", "12 and 8", mobilenet),
    ):
        yield network, short(float(share), 2), words, epochs, *whole_run(result[f"compress-{share}"])


def whole_run(run):
    """After which epochs it was rebuilt, what is left, its time, and how right it is."""
    ratio = sum(run["processor"]) / run["dense_seconds"]["processor"]
    rebuilds = ", ".join(str(epoch) for epoch, count in enumerate(run["removals"]) if count)
    yield from (rebuilds, f"{run['macs']:,}", short(ratio), short(run["r"]))
    yield from (short((1 - ratio) / (1 - run["r"]), 2), short(run["test_accuracy"], 4))


def more_images(half, vgg, again, resnet20, mobilenet):
    """The same with more images."""
    heads = ("network", "asked for", "rebuilt after epoch", "MACs", "processor time", "r", "realised")
    yield *heads, "accuracy of 2,000 test images"
    for network, share, result in (
        ("VGG-like", "0.5", half),
        ("VGG-like", "0.25", vgg),
        ("VGG-like, once more", "0.25", again),
        ("ResNet-20", "0.5", resnet20),
        ("ResNet-20", "0.25", resnet20),
        ("MobileNetV2-like", "0.5", mobilenet),
        ("MobileNetV2-like", "0.25", mobilenet),
    ):
        yield network, short(float(share), 2), *whole_run(result[f"compress-{share}"])


def short(share, digits=3):
    """A share without the zero in front."""
    return f"{share:.{digits}f}".lstrip("0")


PUBLISHED = {
    "mlp": ("MLP 784-300-100", ""),
    "lenet5": ("LeNet-5-Caffe", "431,080"),
    "vgg16": ("VGG16, CIFAR", "1.5e7, 3.13e8 (arXiv 1608.08710)"),
    "resnet20": ("ResNet-20", "0.27 M (1512.03385)"),
    "resnet32": ("ResNet-32", "0.46 M (1512.03385)"),
    "resnet56": ("ResNet-56", "0.85 M, 1.25e8 (1512.03385, 1608.08710)"),
    "resnet110": ("ResNet-110", "1.7 M, 2.53e8 (the same)"),
    "resnet164": ("ResNet-164", "1.70 M (1708.06519)"),
    "wrn28_10": ("WRN-28-10", "36.5 M (1605.07146)"),
    "resnext20": ("ResNeXt-20, CIFAR", ""),
    "resnext164": ("ResNeXt-164, CIFAR", ""),
    "resnet50": ("ResNet-50", "25.5e6, 4.1e9 (1611.05431)"),
    "resnext50": ("ResNeXt-50 32x4d", "25.0e6, 4.2e9 (1611.05431)"),
}


def sizes(result):
    """Parameters and MACs of the papers' networks."""
    yield "network", "parameters", "MACs", "published"
    for row in result["rows"]:
        words, published = PUBLISHED[row["network"]]
        yield words, f"{row['params']:,}", f"{row['macs']:,}", published
