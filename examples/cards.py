"""The cards of the zoo: what each network is for, what it was made from, and what it can do."""

import collections

from tfgates.files import write_whole

TASKS = {
    "mnist": "handwritten digits, grey images of 28 x 28 in [0, 1], classes 0 to 9",
    "digits": "handwritten digits of scikit-learn, grey images scaled to 28 x 28 in [0, 1], classes 0 to 9",
    "cifar10": "photographs of 32 x 32 in ten classes, each channel at mean 0 and deviation 1 over the training set",
}
TITLES = {"lenet5": "LeNet-5", "resnet20": "ResNet-20", "mnist": "MNIST", "digits": "digits", "cifar10": "CIFAR-10"}
COSTS = {"params": "parameters", "macs": "MACs"}
METHODS = {"gates": "this network, by gates", "magnitude": "as large, by magnitude", "dense": "dense"}


# Networks that are too large for the repository, or take too long on two cores: what makes each, where it is then, and
# where its like was measured.
BY_COMMAND = (
    (
        "ResNet-20 on CIFAR-10, 50 % and 25 % of the MACs",
        "python examples/zoo.py --data_dir=../shared/data/tfds --network=resnet20",
        "`docs/zoo/resnet20-cifar10-macs-0.5.keras` and `-0.25.keras`, each with a card",
        "60 epochs, hours on two cores; such ones in 33 epochs of another recipe: [CIFAR-10](../results/cifar10.md)",
    ),
    (
        "MiniLM with 40 % of its encoder, 20 sections of Debian's packages",
        "python benchmarks/minilm.py --prepared=minilm.npz --examples=3000 --runs dense compress",
        "`runs/minilm/compress_0.keras`, 95 MiB",
        "20 minutes of one core, and first `benchmarks/minilm_data.py`: [Transformers](../results/transformers.md)",
    ),
)


def widths(model):
    """Units of each layer with a kernel, `[["conv1", 8], ...]`."""
    return [[layer.name, layer.output.shape[-1]] for layer in model.layers if hasattr(layer, "kernel")]


def title(result):
    budget = " and ".join(
        f"{100 * value:g} % of the {COSTS[name]}" if value <= 1 else f"{value:,} {COSTS[name]}"
        for name, value in result["budget"].items()
    )
    return f"{TITLES.get(result['network'])} on {TITLES.get(result['dataset'])}, {budget}"


def beside(results, result):
    """A network of the zoo, the one by magnitude, and the dense one, these with the same settings.

    Of dense ones that with the same seed, if there is one.
    """
    keys = ("network", "dataset", "epochs", "examples", "batch_size")
    alike = [other for other in results if all(other[key] == result[key] for key in keys)]
    own = [other for other in alike if other["seed"] == result["seed"]]
    found = [other for method in ("gates", "magnitude") for other in own if is_by(other, method, result["budget"])]
    return found + [other for other in (*own, *alike) if is_by(other, "dense", {})][:1]


def is_by(result, method, budget):
    return result["method"] == method and result["budget"] == budget


def row(result, dense, name):
    """The figures of a network as cells of a table."""
    milliseconds = result.get("milliseconds")
    return (
        name,
        f"{result['params']:,} ({100 * result['params'] / dense['params']:.2f} %)",
        f"{result['macs']:,.0f} ({100 * result['macs'] / dense['macs']:.1f} %)",
        "not kept" if result["bytes"] is None else f"{result['bytes'] / 1024:,.0f} KiB",
        "not measured" if milliseconds is None else f"{milliseconds:.3f} ms",
        f"{100 * (1 - result['test']):.2f} %",
    )


HEAD = ("network", "parameters", "MACs", "`.keras` file", "one image, LiteRT", "test error")


def table(rows):
    lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, ("---",) * len(HEAD), *rows)]
    return "\n".join(lines)


def command(result):
    if "command" in result:
        return result["command"]
    parts = ["python examples/zoo.py", "--data_dir=../shared/data/tfds", f"--network={result['network']}"]
    parts += [
        f"--{name}={result[name]}"
        for name in ("dataset", "epochs", "batch_size", "examples", "seed")
        if result[name] is not None
    ]
    return " ".join(parts)


def card(result, results):
    """The card of a network of the zoo, as Markdown."""
    alike = beside(results, result)
    dense = alike[-1]
    budget = ", ".join(f"{name}={value}" for name, value in result["budget"].items())
    other = "" if dense["seed"] == result["seed"] else f" ({dense['seed']} for the dense network)"
    seeds = f"one seed, {result['seed']}{other}"
    layers = ", ".join(
        f"{name} {units} of {before}"
        for (name, units), (_, before) in zip(result["widths"], dense["widths"], strict=True)
    )
    facts = {
        "task": TASKS.get(result["dataset"], result["dataset"]),
        "data": f"{TITLES.get(result['dataset'])}: a twelfth of the training images held out and not trained on, "
        "test images read once, at the last epoch",
        "training": f"`tfgates.compress` from scratch, `Budget({budget})`, {result['epochs']} epochs in all, "
        f"batches of {result['batch_size']}, seed {result['seed']}, one run",
        "units": layers,
        "made with": f"tfgates {result['tfgates']}, Keras {result['keras']}, {result['backend']}",
        "command": f"`{command(result)}`",
        "licence": "Apache 2.0, as tfgates; the images it was trained on have terms of their own",
        "not for": "anything but images like those it was trained on: it knows no other, and says a class for each",
    }
    return "\n".join(
        [
            f"# {title(result)}",
            "",
            "```python",
            "import keras",
            "",
            f'model = keras.saving.load_model("docs/zoo/{result["file"]}")  # a plain keras.Model',
            "```",
            "",
            f"[The file]({result['file']}), which loads without tfgates. Beside it:",
            "",
            table(row(other, dense, METHODS[other["method"]]) for other in alike),
            "",
            f"All three were trained for as many epochs; errors are of {seeds}. Times are medians of rounds in which "
            "each file ran once, one image, on the machine of the run: read their ratios.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in facts.items()),
            "",
        ]
    )


def index(results):
    """The table of all networks of the zoo, those of one training together."""
    groups = collections.defaultdict(list)
    for result in results:
        if result["method"] == "gates":
            groups[beside(results, result)[-1]["file"]].append(result)
    for file, some in groups.items():
        dense = next(result for result in results if result["file"] == file)
        yield row(dense, dense, f"dense {TITLES.get(dense['network'])}, {TITLES.get(dense['dataset'])}")
        for result in some:
            others = beside(results, result)
            yield row(result, dense, f"[{title(result)}]({result['file'].removesuffix('.keras')}.md)")
            yield from (row(other, dense, METHODS["magnitude"]) for other in others if other["method"] == "magnitude")


def pages(results):
    """From names to texts: the cards of the networks whose comparison is complete, and the index."""
    complete = [result for result in results if result["method"] == "gates" and len(beside(results, result)) == 3]
    found = {result["file"].removesuffix(".keras") + ".md": card(result, results) for result in complete}
    found["README.md"] = "\n".join(
        [
            "# Zoo",
            "",
            "Networks that tfgates has pruned, as `.keras` files that load without it. Each has a card; "
            "the command in it makes both, `python examples/zoo.py --cards` this page ([results](zoo.json)).",
            "",
            table(index([result for result in results if result["method"] != "gates" or result in complete])),
            "",
            "Others are not stored; one command makes each:",
            "",
            "| network | command | files | |",
            "|---|---|---|---|",
            *(f"| {what} | `{command}` | {files} | {measured} |" for what, command, files, measured in BY_COMMAND),
            "",
        ]
    )
    return found


def write(folder, results):
    """Writes the pages; returns their paths."""
    written = pages(results)
    for name, text in written.items():
        write_whole(folder / name, lambda path, text=text: path.write_text(text, "utf-8"))
    return [folder / name for name in written]
