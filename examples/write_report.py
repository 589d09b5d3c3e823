"""OUT/report.md with its pictures: results, what was kept, how it came about, settings and versions."""

import io
import platform
from importlib import metadata

import before_and_after
import frontiers

from tfgates.files import write_whole
from tfgates.pruning import PruningReport, write_page
from tfgates.pruning.picture import draw_plan, summary_line

PACKAGES = ("tfgates", "keras", "tensorflow", "jax", "torch", "tensorflow-datasets", "numpy")
FOLLOWED = ("open_units", "expected_open_units", "params", "expected_params", "macs", "expected_macs")


def write(out, title, found, plan, history, dense_history, settings, runs=(), later=None):
    """Writes the report; each file appears whole or not at all, report.md last.

    Args:
        out: folder, a `pathlib.Path`.
        title: str.
        found: a `Found` of `report.measure`.
        plan: the `PruningPlan` that was applied.
        history: dict from names to values per epoch, of the training with gates.
        dense_history: the same of the network without gates, empty where it was not trained.
        settings: dict of flags.
        runs: results of `frontier.py` for the same network and data.
        later: the history of fine-tuning, None or empty without it.
    """
    page = PruningReport(plan)
    page.history.add("with gates", history)
    page.history.add("fine-tuning", later or {})
    accuracies = [(f"test accuracy, {name}", f"{100 * value:.2f} %") for name, value in found.tested.items()]
    given = [(name.strip("`"), value) for name, value in setting_rows(settings)]
    write_page(page, out / "report.html", title, [*accuracies, *given, *versions()])
    draw_plan(plan, out / "layers.png")
    before_and_after.draw(plan, found.tested.get("dense"), found.tested["pruned"], out / "before_and_after.png")
    draw_history(history, dense_history, out / "sparsity.png")
    draw_path(history, plan, found.validated, out / "path.png")
    if runs:
        frontiers.plot(runs, out / "report_frontier.png", "frontier.py, the same network and data")
    text = "\n\n".join(
        (
            f"# {title}",
            "![The network before and after](before_and_after.png)",
            "\n".join(table(found.rows)),
            *found.notes,
            f"## What is left\n\n{summary_line(plan)}.\n\n![Kept and removed, layer by layer](layers.png)",
            "\n".join(table(layer_rows(plan))),
            *reasons(plan),
            "## Training with gates\n\n![Sparsity and accuracy over the epochs](sparsity.png)",
            "![Accuracy against size, epoch by epoch](path.png)",
            *(("## Accuracy against size", *frontier_parts(runs, "report_frontier.png")) if runs else ()),
            *closing(settings),
        )
    )
    write_whole(out / "report.md", lambda temporary: temporary.write_text(text + "\n"))


def table(rows):
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in body:
        yield f"| {' | '.join(row)} |"


def layer_rows(plan):
    yield "layer", "kind", "units", "parameters", "MACs"
    for row in plan.layers:
        yield (
            row.name,
            row.kind,
            f"{row.units_left} of {row.units}" if row.units else "",
            f"{row.params_left:,} of {row.params:,}",
            f"{row.macs_left:,.0f} of {row.macs:,.0f}" if row.macs else "",
        )


def reasons(plan):
    """What stays although it is closed, and what was left as it is."""
    for title, pairs in (("Stays although closed", plan.kept), ("Left as it is", plan.alone)):
        if pairs:
            yield "\n".join([f"{title}:", "", *(f"* {name}: {reason}" for name, reason in pairs)])


def setting_rows(settings):
    for name, value in settings.items():
        if value is not None:
            yield f"`--{name}`", ",".join(map(str, value)) if isinstance(value, list) else str(value)


def versions():
    yield "Python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def write_frontier(out, title, runs, settings):
    """Writes OUT/frontier.md and OUT/frontier.png for results of `frontier.py`; `settings` is a dict of flags."""
    frontiers.plot(runs, out / "frontier.png", title)
    parts = (f"# {title}", *frontier_parts(runs, "frontier.png"), *closing(settings))
    write_whole(out / "frontier.md", lambda temporary: temporary.write_text("\n\n".join(parts) + "\n"))


def frontier_parts(runs, picture):
    yield f"![Test error against MACs and parameters left]({picture})"
    yield from frontier_tables(runs)


def frontier_tables(runs):
    yield "\n".join(table(frontiers.rows(runs)))
    means = frontiers.means(runs)
    if means:
        yield "Means over seeds (least to largest):"
        yield "\n".join(table(means))


def closing(settings):
    """With what it was made: flags and versions."""
    yield "## Settings"
    yield "\n".join(table([("flag", "value"), *setting_rows(settings)]))
    yield "\n".join(table([("package", "version"), *versions()]))


def draw_path(history, plan, validated, path):
    """Draws validation accuracy against what is left, epoch by epoch, with the pruned and the dense network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5))
    ends = {"macs": plan.macs / max(plan.dense_macs, 1), "params": plan.params / max(plan.dense_params, 1)}
    for axis, (name, end) in zip(figure.subplots(1, 2, sharey=True), ends.items(), strict=True):
        if name in history and "val_accuracy" in history:
            left, right = ([100 * value for value in history[key]] for key in (name, "val_accuracy"))
            axis.plot(left, right, "-", color="#a0a0a0", linewidth=0.8)
            points = axis.scatter(left, right, c=range(1, len(left) + 1), s=14, zorder=2)
            figure.colorbar(points, ax=axis, label="epoch with gates")
        axis.plot(
            100 * end,
            100 * validated["pruned"],
            "r*",
            markersize=11,
            label="pruned, after fine-tuning if any",
            zorder=3,
        )
        if "dense" in validated:
            axis.axhline(
                100 * validated["dense"], color="k", linestyle="--", linewidth=0.8, label="dense, trained as long"
            )
        axis.set_xlabel({"macs": "MACs left, %", "params": "parameters left, %"}[name])
        axis.set_ylabel("validation accuracy, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    save(figure, path)


def save(figure, path):
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, lambda temporary: temporary.write_bytes(picture.getvalue()))


def draw_history(history, dense_history, path):
    """Draws the totals of `SparsityMonitor` and the accuracy over the epochs, and that of the dense network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5))
    left, right = figure.subplots(1, 2)
    for name in FOLLOWED:
        if name in history:
            values = [100 * value for value in history[name]]
            left.plot(range(1, len(values) + 1), values, "--" if "expected" in name else "-", label=name)
    for name in ("accuracy", "val_accuracy"):
        if name in history:
            values = [100 * value for value in history[name]]
            right.plot(range(1, len(values) + 1), values, label=name)
    if "val_accuracy" in dense_history:
        values = [100 * value for value in dense_history["val_accuracy"]]
        right.plot(range(1, len(values) + 1), values, "k--", linewidth=0.8, label="val_accuracy, dense network")
    for axis, label in ((left, "% of the dense network"), (right, "accuracy, %")):
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    save(figure, path)
