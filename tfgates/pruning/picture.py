"""A picture of what goes and what stays, layer by layer."""

import io
import os
from typing import Any

from tfgates.files import write_whole


def draw_plan(plan: Any, path: str | os.PathLike[str] | None = None, title: str | None = None) -> bytes:
    """Draws a plan: for each layer the share of its units, parameters and MACs that stays.

    Args:
        plan: a `PruningPlan`.
        path: file to write, of a type that matplotlib knows; it appears whole or not at all. None:
            nothing is written.
        title: str, or None for the totals.

    Returns:
        The picture as the bytes of a PNG.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install matplotlib") from error
    rows = [row for row in plan.layers if row.units]
    figure = Figure(figsize=(10, max(2.0, 0.26 * len(rows) + 1.2)))
    axes = figure.subplots(1, 3, sharey=True)
    places = range(len(rows))
    columns = (
        ("units", [row.units for row in rows], [row.units_left for row in rows]),
        ("parameters", [row.params for row in rows], [row.params_left for row in rows]),
        (
            "MACs (of some not known)" if plan.uncounted else "MACs",
            [row.macs for row in rows],
            [row.macs_left for row in rows],
        ),
    )
    for axis, (name, before, after) in zip(axes, columns, strict=True):
        axis.barh(places, before, color="#d9d9d9", label="removed")
        axis.barh(places, after, color="#2b6cb0", label="kept")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
        _few_plain_ticks(axis.xaxis)
    axes[0].set_yticks(list(places), [row.name for row in rows])
    axes[0].invert_yaxis()
    figure.suptitle(title or summary_line(plan), fontsize=10)
    # Beside the title, where no bar is.
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="upper right", ncols=2, frameon=False)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    if path is not None:
        write_whole(path, lambda temporary: figure.savefig(temporary, dpi=120))
    return picture.getvalue()


def summary_line(plan: Any) -> str:
    """The totals in a line."""
    return (
        f"{plan.params:,} of {plan.dense_params:,} parameters "
        f"({100 * plan.params / max(plan.dense_params, 1):.1f} %), "
        + (
            "MACs unknown"
            if plan.uncounted
            else f"{plan.macs:,.0f} of {plan.dense_macs:,.0f} MACs ({100 * plan.macs / max(plan.dense_macs, 1):.1f} %)"
        )
    )


def _few_plain_ticks(axis: Any) -> None:
    """Few ticks, with letters for thousands and millions in place of powers of ten."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_major_formatter(EngFormatter(sep=""))
