"""The picture of the page *Training that gets cheaper*: a whole run beside the dense one, from a stored result."""

import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
PATH = HERE / "images" / "cheaper_training.svg"
RESULTS = HERE.parent / "benchmarks" / "results"
# The run that is drawn, and that which has every epoch of the dense network, of the same images and seed.
RUN, DENSE = ("training_time_vgg_5120_early.json", "compress-0.25"), ("training_time_vgg_5120.json", "dense")
COLOURS = {"compress": "#2b6cb0", "dense": "#a0aec0"}
WIDTH, HEIGHT, LEFT, GAP = 520, 120, 70, 44


def series():
    """For each panel its title and, by run, a value for each epoch."""
    run, dense = (json.loads((RESULTS / file).read_text("utf-8"))[name] for file, name in (RUN, DENSE))
    share = run["macs"] / dense["macs"]
    # Behind pruning nothing is expected: the network costs what it costs.
    cost = [each["expected_macs"] or share for each in run["logs"]]
    # The first entry is what came before the first epoch. Dense epochs are those in turns with the run that is drawn.
    _, first, *others = json.loads((RESULTS / RUN[0]).read_text("utf-8"))["dense"]["processor"]
    plain = [first, *[sum(others) / len(others)] * (len(cost) - 1)]
    seconds = {"compress": run["processor"][1:], "dense": plain}
    return {
        "processor seconds of an epoch": seconds,
        "expected MACs, share of the dense network's": {"compress": cost, "dense": [1.0] * len(cost)},
        "accuracy of the training images": {
            name: [each["accuracy"] for each in found["logs"]] for name, found in (("compress", run), ("dense", dense))
        },
    }


def panel(top, title, runs):
    """A panel of the picture: a line for each run over the epochs."""
    most = max(1.0, *(max(values) for values in runs.values()))
    parts = [f'<text x="{LEFT}" y="{top - 8}">{title}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + HEIGHT * (1 - share)
        parts.append(f'<path d="M{LEFT} {y:g} h{WIDTH}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:g}" text-anchor="end">{share * most:.3g}</text>')
    for name, values in runs.items():
        points = (
            f"{LEFT + WIDTH * (i + 0.5) / len(values):.1f} {top + HEIGHT * (1 - value / most):.1f}"
            for i, value in enumerate(values)
        )
        parts.append(
            f'<path d="M{" L".join(points)}" class="line" stroke="{COLOURS[name]}"><title>{name}</title></path>'
        )
    return parts


def draw():
    """The picture as SVG."""
    panels = series()
    parts, top, epochs = [], 50, 0
    for title, runs in panels.items():
        parts += panel(top, title, runs)
        top, epochs = top + HEIGHT + GAP, len(runs["compress"])
    for epoch in (1, *range(5, epochs + 1, 5)):
        x = LEFT + WIDTH * (epoch - 0.5) / epochs
        parts.append(f'<text x="{x:.1f}" y="{top - GAP + 18}" text-anchor="middle">{epoch}</text>')
    for i, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<path d="M{LEFT + 110 * i} 16 h24" class="line" stroke="{colour}"/>')
        parts.append(f'<text x="{LEFT + 30 + 110 * i}" y="20">{name}</text>')
    style = (
        "text{font:13px sans-serif;fill:#1a202c}.grid{stroke:#e2e8f0;stroke-width:1}"
        ".line{fill:none;stroke-width:2.5;stroke-linejoin:round}"
    )
    size = f'width="{LEFT + WIDTH + 20}" height="{top}" viewBox="0 0 {LEFT + WIDTH + 20} {top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def remake():
    """Writes the picture."""
    PATH.write_text(draw(), "utf-8")
