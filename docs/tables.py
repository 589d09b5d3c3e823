"""The tables of results that are kept as data: `python docs/remake.py --tables` puts them into the pages that ask.

A page asks by `<!-- table: NAME.json -->`, up to `<!-- end of table -->`; NAME.json is in benchmarks/results.
"""

import json
import pathlib
import re
import statistics

DOCS = pathlib.Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.S)

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


TABLES = {
    "cifar10_resnet20.json": cifar10,
    "deployment_digits.json": deployment,
    "estimators.json": estimators,
    "generators.json": generators,
    "lenet5_sizes.json": lenet5,
    "reconstruction_lenet5.json": reconstruction,
}


def table(name):
    """The table of a file in benchmarks/results, as Markdown."""
    head, *rows = TABLES[name](json.loads((RESULTS / name).read_text("utf-8")))
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    return "".join([lines[0], "|" + "---|" * len(head) + "\n", *lines[1:]])


def filled(text):
    """A page with its tables made anew."""
    return PLACE.sub(lambda place: f"{place[1]}{table(place[2])}{place[3]}", text)


def pages():
    """The pages that ask for tables."""
    documents = (path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts)
    return [path for path in documents if PLACE.search(path.read_text("utf-8"))]


def remake():
    """Makes the tables of all pages anew."""
    for path in pages():
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
