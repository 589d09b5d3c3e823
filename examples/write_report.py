"""OUT/report.md with its pictures: results, what was kept, how it came about, settings and versions."""

import io
import platform
from importlib import metadata

from tfgates.pruning.picture import draw_plan, summary_line
from tfgates.pruning.whole import write_whole

PACKAGES = ("tfgates", "keras", "tensorflow", "tensorflow-datasets", "numpy")
FOLLOWED = ("open_units", "expected_open_units", "params", "expected_params", "macs", "expected_macs")


def write(out, title, rows, plan, history, settings):
    """Writes the report; each file appears whole or not at all, report.md last.

    Args:
        out: folder, a `pathlib.Path`.
        title: str.
        rows: rows of the table of results; the first holds the headings.
        plan: the `PruningPlan` that was applied.
        history: dict from names to values per epoch, of the training with gates.
        settings: dict of flags.
    """
    draw_plan(plan, out / "layers.png")
    draw_history(history, out / "sparsity.png")
    text = "\n\n".join(
        (
            f"# {title}",
            "\n".join(table(rows)),
            f"## What is left\n\n{summary_line(plan)}.\n\n![Kept and removed, layer by layer](layers.png)",
            "\n".join(table(layer_rows(plan))),
            *notes(plan),
            "## Training with gates\n\n![Sparsity and accuracy over the epochs](sparsity.png)",
            "## Settings",
            "\n".join(table([("flag", "value"), *setting_rows(settings)])),
            "\n".join(table([("package", "version"), *versions()])),
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


def notes(plan):
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


def draw_history(history, path):
    """Draws the totals of `SparsityMonitor` and the accuracy over the epochs."""
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
    for axis, label in ((left, "% of the dense network"), (right, "accuracy, %")):
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, lambda temporary: temporary.write_bytes(picture.getvalue()))
