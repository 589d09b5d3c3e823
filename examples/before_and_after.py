"""A network before and after, in one picture: its layers, its accuracy, its size."""

import io
import math

from matplotlib.figure import Figure

from tfgates.files import write_whole
from tfgates.tables import whole

KEPT, GONE = "#2b6cb0", "#d9d9d9"
# A layer's height is the square root of its number of units: 20 beside 500 can be seen, 18 beside 20 too.
LEAST_HEIGHT = 0.6
# Of more layers than this every bar is drawn, and no name or number.
LABELLED = 14


def draw(plan, before, after, path):
    """Draws what a plan leaves of each layer, and writes a PNG, whole or not at all.

    Args:
        plan: a `PruningPlan`.
        before, after: accuracies on the test images in [0, 1]; `before` is None where the dense network was not
            trained.
        path: the file.
    """
    rows = [row for row in plan.layers if row.units]
    figure = Figure(figsize=(10, 3.6))
    axes = figure.subplots(1, 2, sharey=True)
    sides = (
        ("before", before, plan.dense_params, plan.dense_macs, [row.units for row in rows]),
        ("after", after, plan.params, plan.macs, [row.units_left for row in rows]),
    )
    for axis, (name, accuracy, params, macs, left) in zip(axes, sides, strict=True):
        for place, (row, units) in enumerate(zip(rows, left, strict=True)):
            if units < row.units:
                axis.bar(place, height(row.units), 0.7, -height(row.units) / 2, color=GONE)
            if units:
                axis.bar(place, height(units), 0.7, -height(units) / 2, color=KEPT)
            if len(rows) <= LABELLED:
                axis.text(place, height(row.units) / 2 + 0.4, f"{units}", ha="center", va="bottom", fontsize=9)
        words = [f"{whole(params)} parameters", f"{whole(macs)} MACs"]
        if accuracy is not None:
            words.insert(0, f"{100 * accuracy:.2f} % accuracy")
        axis.set_title(f"{name}: " + ", ".join(words), fontsize=10)
        axis.set_xticks(range(len(rows)), [row.name for row in rows] if len(rows) <= LABELLED else [""] * len(rows))
        axis.tick_params(length=0, labelsize=9)
        axis.set_yticks([])
        axis.set_frame_on(False)
        axis.margins(y=0.15)
    figure.supxlabel("units of each layer: blue stays, grey is removed (heights: square root)", fontsize=8)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_whole(path, lambda temporary: temporary.write_bytes(picture.getvalue()))


def height(units):
    """How tall a layer is drawn."""
    return max(LEAST_HEIGHT, math.sqrt(units))
