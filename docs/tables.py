"""The tables of results that are kept as data: `python docs/remake.py --tables` puts them into the pages that ask.

A page asks by `<!-- table: NAME -->`, up to `<!-- end of table -->`. NAME is a file of benchmarks/results, or a table
made of several. A file of benchmarks/results/printed is a table as it stands: what a program printed that writes no
data, copied with its command.
"""

import json
import pathlib
import re

import tables_of_accuracy as accuracy
import tables_of_removal as removal
import tables_of_time as times

DOCS = pathlib.Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"^( *)(<!-- table: (\S+) -->\n).*?^( *<!-- end of table -->)", re.M | re.S)

# What makes a table, and of which files.
TABLES = {
    "applications.json": (times.applications,),
    "cifar10_resnet20.json": (accuracy.cifar10,),
    "cifar10_resnet20_again.json": (accuracy.cifar10,),
    "cifar10_in_short": (accuracy.cifar10_in_short, "cifar10_resnet20.json"),
    "choice.json": (accuracy.choice,),
    "choice_full_size.json": (accuracy.choice,),
    "choice_torch_pruning.json": (accuracy.choice_with_torch_pruning,),
    "choice_vgg.json": (accuracy.choice,),
    "claims.json": (accuracy.claims,),
    "closed_this_step.json": (times.closed_this_step,),
    "deployment_digits.json": (times.deployment,),
    "equal_passes.json": (accuracy.equal_passes,),
    "estimators.json": (accuracy.estimators,),
    "fast.json": (accuracy.fast,),
    "generators.json": (accuracy.generators,),
    "minilm.json": (accuracy.minilm_seeds,),
    "minilm_all_texts.json": (accuracy.minilm_seeds,),
    "minilm_latency": (accuracy.minilm_latency, "minilm.json"),
    "latency_resnet50.json": (times.latency,),
    "lenet5_sizes.json": (accuracy.lenet5,),
    "lenet5_sizes_33_epochs.json": (accuracy.lenet5_longer,),
    "lenet5_in_short": (accuracy.lenet5_in_short, "lenet5_sizes.json"),
    "opening.json": (times.opening,),
    "reconstruction_lenet5.json": (accuracy.reconstruction,),
    "reconstruction_resnet20.json": (accuracy.reconstruction,),
    "removal": (accuracy.removal, "removal_vgg.json", "removal_lenet5.json", "removal_digits.json"),
    "removal_tried": (removal.tried, "removal_vgg_held_out.json", "training_time_vgg_5120_default.json"),
    "removal_more_images": (
        removal.more_images,
        "removal_vgg_held_out_20480.json",
        "training_time_vgg_5120_default.json",
        "training_time_vgg_5120_half.json",
    ),
    "sizes.json": (times.sizes,),
    "step_time": (times.step_time, "step_time_lenet5.json", "step_time_resnet20.json"),
    "step_time_in_short": (times.step_time_in_short, "step_time_lenet5.json", "step_time_resnet20.json"),
    "step_time_of_methods": (times.step_time_of_methods, "step_time_lenet5.json", "step_time_resnet20.json"),
    "streams.json": (accuracy.streams,),
    "torch_pruning.json": (accuracy.torch_pruning,),
    "training_time": (
        times.training_time,
        "training_time_vgg_5120_default.json",
        "training_time_vgg_5120_early.json",
        "training_time_vgg_5120.json",
        "training_time_vgg_5120_half.json",
        "training_time_resnet20_5120.json",
        "training_time_mobilenet_5120.json",
    ),
    "training_time_more_images": (
        times.more_images,
        "training_time_vgg_20480_half.json",
        "training_time_vgg_20480.json",
        "training_time_vgg_20480_again.json",
        "training_time_resnet20_20480.json",
        "training_time_mobilenet_20480.json",
    ),
    "versions.json": (times.versions,),
    "vit.json": (accuracy.vit,),
}


def printed(result):
    """A table that a program printed, as it stands."""
    yield result["columns"]
    yield from result["rows"]


def sources(name):
    """The files that a table is made of."""
    return list(TABLES[name][1:]) or [name] if name in TABLES else [name]


def table(name):
    """A table as Markdown."""
    make = TABLES[name][0] if name in TABLES else printed
    head, *rows = make(*(json.loads((RESULTS / file).read_text("utf-8")) for file in sources(name)))
    lines = [f"| {' | '.join(row)} |\n".replace("|  |", "| |").replace("|  |", "| |") for row in (head, *rows)]
    return "".join([lines[0], "|" + "---|" * len(head) + "\n", *lines[1:]])


def filled(text):
    """A page with its tables made anew."""

    def made(place):
        margin, start, name, end = place.groups()
        return f"{margin}{start}{''.join(margin + line for line in table(name).splitlines(True))}{end}"

    return PLACE.sub(made, text)


def pages():
    """The pages that ask for tables."""
    documents = [ROOT / "README.md", *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts)]
    return [path for path in documents if PLACE.search(path.read_text("utf-8"))]


def remake():
    """Makes the tables of all pages anew."""
    for path in pages():
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
