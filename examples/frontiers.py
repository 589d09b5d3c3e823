"""Results of `frontier.py`: the file that they are in, as tables and as a plot."""

import json

from matplotlib.figure import Figure

from tfgates.files import write_whole

FILE = "frontier.json"


def read(folder):
    """The results in a folder, a list of dicts; none where there is no file of them.

    Raises:
        ValueError: if the file is something else.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        results = json.loads(path.read_text())
        # All that the tables and the programs read of them.
        rows([r for r in results if r["model"] and r["dataset"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be results of frontier.py; move what it is elsewhere. Received: {error!r}"
        ) from error
    return results


def label(result):
    """The budget of a result in words."""
    return ", ".join(f"{name} {value}" for name, value in result["budget"].items()) or "none"


def rows(results):
    """The rows of a table, the headings first."""
    head = ("gate", "budget", "seed", "parameters left", "MACs left", "validation error", "test error", "seconds")
    return [head] + [
        (
            r["gate"],
            label(r),
            str(r["seed"]),
            f"{r['params']:,} ({100 * r['params_left']:.2f} %)",
            f"{r['macs']:,} ({100 * r['macs_left']:.2f} %)",
            f"{100 * r['validation_error']:.2f} %",
            f"{100 * r['test_error']:.2f} %",
            f"{r['seconds']:.0f}",
        )
        for r in results
    ]


def means(results):
    """The rows of a table with one row for all seeds of a gate and budget; none for a single seed."""
    if len({r["seed"] for r in results}) < 2:
        return []
    groups = {}
    for r in results:
        groups.setdefault((r["gate"], label(r)), []).append(r)
    table = [("gate", "budget", "seeds", "parameters left", "MACs left", "test error")]
    for (gate, budget), group in groups.items():
        cells = []
        for name in ("params_left", "macs_left", "test_error"):
            values = [100 * r[name] for r in group]
            cells.append(f"{sum(values) / len(values):.2f} % ({min(values):.2f}-{max(values):.2f})")
        table.append((gate, budget, str(len(group)), *cells))
    return table


def plot(results, path, title):
    """Draws test error against MACs and parameters left, a line for each method."""
    figure = Figure(figsize=(11, 4.5))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, cost in zip(axes, ("macs", "params"), strict=True):
        for gate in dict.fromkeys(r["gate"] for r in results):
            points = sorted((100 * r[f"{cost}_left"], 100 * r["test_error"]) for r in results if r["gate"] == gate)
            axis.plot(*zip(*points, strict=True), "o-" if gate != "dense" else "k*", label=gate)
        dense = [100 * r["test_error"] for r in results if r["gate"] == "dense"]
        if dense:
            axis.axhline(sum(dense) / len(dense), color="k", linestyle="--", linewidth=0.8, label="dense, mean")
        percent_axis(axis)
        axis.set_xlabel({"macs": "MACs left, %", "params": "parameters left, %"}[cost])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test error, %")
    axes[0].legend()
    figure.suptitle(title)
    figure.tight_layout()
    write_whole(path, lambda temporary: figure.savefig(temporary, dpi=120))


def percent_axis(axis):
    """A logarithmic axis of per cent whose ticks are plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    steps = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    axis.xaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
