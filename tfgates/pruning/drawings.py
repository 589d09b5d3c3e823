"""Drawings as SVG, for pages that have to be read without anything else: a network, and lines over epochs."""

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

KEPT, REMOVED, LINE = "#2b6cb0", "#cbd5e0", "#718096"
# Colours that people who see few of them tell apart, too.
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#4a5568")
# Sizes of the drawing of a network.
ROW, BAR, NAMES, WIDEST, LANE = 22, 12, 250, 300, 12


def draw_network(skeleton: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]) -> str:
    """A line for each call: a bar as long as its layer is wide (by the square root), what stays of it in blue.

    A line down leads to the next call, a bow at the right to a later one.

    Args:
        skeleton: what `tfgates.pruning.skeleton.skeleton_of` returns.
        layers: the layers of the plan as data, a dict for each.
    """
    most = max((layer["units"] for layer in layers), default=1) or 1
    bows = [(a, b) for b, item in enumerate(skeleton) for a in item["reads"] if b - a > 1]
    lanes = _lanes(bows)
    right = NAMES + WIDEST + 110
    width = right + LANE * (max(lanes.values(), default=0) + 2)
    parts = []
    for place, item in enumerate(skeleton):
        y = ROW * place + 6
        layer = None if item["row"] is None else layers[item["row"]]
        faded = "" if item["left"] else ' class="gone"'
        parts.append(f"<g{faded}><title>{html.escape(_told(item, layer))}</title>")
        parts.append(
            f'<text x="{NAMES - 12}" y="{y + 10}" text-anchor="end">{html.escape(_short(item["name"]))}</text>'
        )
        if layer is not None and layer["units"]:
            before, after = (WIDEST * math.sqrt(layer[key] / most) for key in ("units", "units_left"))
            parts.append(f'<rect x="{NAMES}" y="{y}" width="{before:.1f}" height="{BAR}" fill="{REMOVED}"/>')
            parts.append(f'<rect x="{NAMES}" y="{y}" width="{after:.1f}" height="{BAR}" fill="{KEPT}"/>')
            parts.append(
                f'<text x="{NAMES + before + 6:.1f}" y="{y + 10}" class="small">'
                f"{layer['units_left']:,} of {layer['units']:,}</text>"
            )
        else:
            parts.append(f'<circle cx="{NAMES + 5}" cy="{y + 6}" r="4" fill="none" stroke="{LINE}"/>')
            parts.append(f'<text x="{NAMES + 16}" y="{y + 10}" class="small">{html.escape(item["kind"])}</text>')
        parts.append("</g>")
    for b, item in enumerate(skeleton):
        if b - 1 in item["reads"]:
            parts.append(f'<path d="M{NAMES + 5} {ROW * b - ROW + 6 + BAR}V{ROW * b + 6}"/>')
    for (a, b), lane in lanes.items():
        x, top, bottom = right + LANE * lane, ROW * a + 12, ROW * b + 12
        parts.append(f'<path d="M{right - 8} {top}H{x}V{bottom}H{right - 8}"/>')
    height = ROW * len(skeleton) + 10
    label = f"Network of {len(skeleton)} layers and joints; what each keeps is in the table below"
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _lanes(bows: Collection[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each bow a lane at the right: no two bows share a lane where they lie beside each other."""
    lanes: dict[tuple[int, int], int] = {}
    for a, b in sorted(bows, key=lambda bow: bow[1] - bow[0]):
        taken = {lane for (c, d), lane in lanes.items() if c <= b and a <= d}
        lanes[a, b] = next(lane for lane in range(len(bows) + 1) if lane not in taken)
    return lanes


def _short(name: str, length: int = 36) -> str:
    return name if len(name) <= length else f"{name[: length // 2 - 1]}...{name[-length // 2 + 2 :]}"


def _told(item: Mapping[str, Any], layer: Mapping[str, Any] | None) -> str:
    if layer is None:
        return f"{item['name']} ({item['kind']})"
    told = f"{item['name']} ({item['kind']}): {layer['params_left']:,} of {layer['params']:,} parameters"
    if layer["macs"]:
        told += f", {layer['macs_left']:,.0f} of {layer['macs']:,.0f} MACs"
    return told + (f"; {layer['note']}" if layer["note"] else "")


def draw_lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    across: str,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over a common axis.

    Args:
        title: what the picture shows.
        series: by name, pairs of numbers in the order in which they are joined.
        across: what the axis at the bottom is.
        marks: pairs `(place, text)` of lines up, such as where pruning was.
    """
    points = [point for line in series.values() for point in line]
    (left, right), (bottom, top) = (_range([point[i] for point in points]) for i in (0, 1))
    x0, x1, y0, y1 = 62, 470, 250, 34

    def place(x: float, y: float) -> tuple[float, float]:
        return x0 + (x1 - x0) * (x - left) / (right - left), y0 + (y1 - y0) * (y - bottom) / (top - bottom)

    parts = [f'<text x="{x0}" y="18" class="title">{html.escape(title)}</text>']
    for value in _ticks(bottom, top):
        _, y = place(left, value)
        parts.append(f'<path d="M{x0} {y:.1f}H{x1}" class="grid"/>')
        parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end" class="small">{_plain(value)}</text>')
    for value in _ticks(left, right):
        x, _ = place(value, bottom)
        parts.append(f'<text x="{x:.1f}" y="{y0 + 16}" text-anchor="middle" class="small">{_plain(value)}</text>')
    parts.append(f'<text x="{x1}" y="{y0 + 34}" text-anchor="end" class="small">{html.escape(across)}</text>')
    for value, text in marks:
        if not left <= value <= right:
            continue
        x, _ = place(value, bottom)
        parts.append(f'<path d="M{x:.1f} {y0}V{y1}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{y1 + 10}" class="small">{html.escape(text)}</text>')
    for i, (name, line) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        joined = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in line)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        for point in line if len(line) <= 200 else ():
            x, y = place(*point)
            told = html.escape(f"{name}: {_plain(point[1])} at {_plain(point[0])}")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"><title>{told}</title></circle>')
        y = y1 + 14 * i + 4
        parts.append(f'<path d="M{x1 + 14} {y}h16" style="stroke:{colour};stroke-width:3"/>')
        parts.append(f'<text x="{x1 + 36}" y="{y + 4}" class="small">{html.escape(name)}</text>')
    return f'<svg viewBox="0 0 640 292" width="530" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    least, most = min(values), max(values)
    if least == most:
        return least - 0.5, most + 0.5
    return least - 0.04 * (most - least), most + 0.04 * (most - least)


def _ticks(least: float, most: float, about: int = 5) -> list[float]:
    """Round numbers between two, about five of them."""
    rough = (most - least) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * i for i in range(math.ceil(least / step), math.floor(most / step) + 1)]


def _plain(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"
