"""The table of what was tried to make `compress` cheaper."""

import statistics

TRIED = {
    "kept macs=0.25 fine_tune=0.4": ("20 %, 50 %", "nothing"),
    "shrink macs=0.25 fine_tune=0.4 rebuild=50 spare=1": ("20 %, 50 %", "as by default"),
    "kept macs=0.25 fine_tune=0.4 pace=0.1+0.4": ("10 %, 40 %", "nothing"),
    "kept macs=0.25 fine_tune=0.4 pace=0.1+0.2": ("10 %, 20 %", "nothing"),
    "shrink macs=0.25 fine_tune=0.4 pace=0.1+0.2 rebuild=40 spare=1": ("10 %, 20 %", "`rebuild=40`"),
    "kept macs=0.25 fine_tune=0.4 pace=0.05+0.5": ("5 %, 50 %", "nothing"),
    "shrink macs=0.25 fine_tune=0.4 pace=0.05+0.5 rebuild=25 spare=1": ("5 %, 50 %", "`rebuild=25`"),
    "shrink macs=0.25 fine_tune=0.4 pace=0.05+0.5 rebuild=50 spare=1": ("5 %, 50 %", "as by default"),
    "shrink macs=0.25 fine_tune=0.4 pace=0.05+0.5 rebuild=25 spare=2": ("5 %, 50 %", "`rebuild=25, spare=2`"),
}

# Setting: the budget, what it is in words, and its epochs with gates and after. The first of a budget is compared with.
MORE_IMAGES = {
    "kept macs=0.25 fine_tune=0.4": (0.25, "nothing", "12 and 8"),
    "shrink macs=0.25 fine_tune=0.4 rebuild=50 spare=1": (0.25, "as by default", "12 and 8"),
    "shrink macs=0.25 fine_tune=0.4 pace=0.05+0.5 rebuild=50 spare=1": (
        0.25, "as by default, warm-up 5 %, ramp 50 %", "12 and 8",
    ),
    "kept macs=0.25 fine_tune=0.7": (0.25, "nothing", "6 and 14"),
    "first macs=0.25": (0.25, "all that goes, after the first epoch", "1 and 19"),
    "kept macs=0.5 fine_tune=0.4": (0.5, "nothing", "12 and 8"),
    "shrink macs=0.5 fine_tune=0.4 rebuild=50 spare=1": (0.5, "as by default", "12 and 8"),
    "shrink macs=0.5 fine_tune=0.4 pace=0.2+0.25 rebuild=50 spare=1": (
        0.5, "as by default, warm-up 20 %, ramp 25 %", "12 and 8",
    ),
    "magnitude macs=0.5 fine_tune=0.4": (0.5, "no gates: by magnitude, after 12 epochs", "0 and 8"),
}  # fmt: skip


def tried(runs, time):
    """What was tried to make `compress` cheaper: held-out accuracies, beside the default pace without removal."""
    yield (
        "warm-up, ramp",
        "removal in training",
        "accuracy (seeds)",
        "beside the first row, same seeds",
        "rebuilt after epoch",
        "steps alone, computed",
        "were rebuilds free",
    )
    grouped_runs = {name: {} for name in TRIED}
    for name, run in runs.items():
        setting, _, seed = name.rpartition(" ")
        grouped_runs[setting][seed] = run
    base = grouped_runs[next(iter(TRIED))]
    for name, (pace, removed) in TRIED.items():
        some = dict(sorted(grouped_runs[name].items()))
        if not some:
            continue
        cells = ", ".join(f"{100 * run['accuracy']:.2f}" for run in some.values())
        less = 100 * statistics.fmean(run["accuracy"] - base[seed]["accuracy"] for seed, run in some.items())
        rebuilt = "; ".join(dict.fromkeys(", ".join(map(str, run["rebuilds"])) for run in some.values()))
        r = time["compress-0.25"]["r"]
        steps, least = (statistics.fmean(steps_alone(run, r, free) for run in some.values()) for free in (False, True))
        yield (
            pace,
            removed,
            f"{100 * statistics.fmean(run['accuracy'] for run in some.values()):.2f} ({cells})",
            "" if some == base else f"{less:+.2f}",
            rebuilt,
            f"{steps:.2f}".lstrip("0"),
            f"{least:.2f}".lstrip("0") if removed == "nothing" else "",
        )


def more_images(runs, quarter, half):
    """Removal in training with more images, beside the same seeds without it."""
    yield (
        "MACs",
        "removal in training",
        "epochs with gates and after",
        "accuracy (seeds)",
        "difference",
        "rebuilt after epoch",
        "steps alone, computed",
    )
    steps_left = {0.25: quarter["compress-0.25"]["r"], 0.5: half["compress-0.5"]["r"]}
    grouped_runs: dict = {}
    for name, run in sorted(runs.items()):
        setting, _, seed = name.rpartition(" ")
        grouped_runs.setdefault(setting, {})[seed] = run
    bases: dict = {}
    for setting, (budget, words, epochs) in MORE_IMAGES.items():
        some = grouped_runs[setting]
        base = bases.setdefault(budget, some)
        cells = ", ".join(f"{100 * run['accuracy']:.2f}" for run in some.values())
        mean = statistics.fmean(100 * run["accuracy"] for run in some.values())
        difference = ""
        if base is not some:
            apart = [100 * (run["accuracy"] - base[seed]["accuracy"]) for seed, run in some.items()]
            difference = f"{statistics.fmean(apart):+.2f}"
        rebuilt = "; ".join(dict.fromkeys(", ".join(map(str, run["rebuilds"])) for run in some.values()))
        steps = ""
        if not words.startswith("no gates"):
            each = (steps_alone(run, steps_left[budget], budget=budget) for run in some.values())
            steps = f"{statistics.fmean(each):.2f}".lstrip("0")
        yield f"{budget:g}", words, epochs, f"{mean:.2f} ({cells})", difference, rebuilt, steps


def steps_alone(run, r, free=False, epochs=20, budget=0.25):
    """The steps of a run over those of a dense one, were a step linear in the MACs between 1 and `r` at the budget.

    With `free` the network is made again after each epoch in which something closes.
    """
    width, taken = 1.0, 0.0
    for epoch in range(len(run["left"])):
        if epoch in run["rebuilds"] or (free and epoch):
            width = min(width, run["left"][epoch - 1][0])
        taken += r + (width - budget) * (1.0 - r) / (1.0 - budget)
    return (taken + (epochs - len(run["left"])) * r) / epochs
