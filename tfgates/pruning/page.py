"""A page of its own that shows what became of a network: one HTML file without scripts, read without a server."""

import html
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfgates.files import write_whole
from tfgates.pruning.drawings import draw_lines, draw_network
from tfgates.pruning.report import PruningReport

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a202c;background:#fff}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;font-size:.86rem}
th,td{padding:.2rem .7rem;border-bottom:1px solid #e2e8f0;text-align:right}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2),.words td{text-align:left}tfoot td{font-weight:600}
.sizes{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.sizes div{border:1px solid #e2e8f0;border-radius:6px;padding:.6rem 1rem}
.sizes b{display:block;font-size:1.4rem}.wide{overflow-x:auto}svg{max-width:none}
svg text{font:12px system-ui,sans-serif;fill:#1a202c}svg .small{font-size:11px;fill:#4a5568}svg .title{font-weight:600}
svg path{fill:none;stroke:#718096}svg .grid{stroke:#e2e8f0}svg .gone{opacity:.45}
.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 .8em}
.stays{background:#2b6cb0}.removed{background:#cbd5e0}
"""

# Metrics of the logs, by the picture that they go into.
SHARES = ("open_units", "expected_open_units", "params", "expected_params", "macs", "expected_macs")
HIDDEN = ("phase", "epoch", "structure_loss", "learning_rate", "rebuilds")


def page_of(report: PruningReport, title: str = "Pruned network", facts: Sequence[tuple[str, Any]] = ()) -> str:
    """The page as HTML.

    Args:
        report: a `PruningReport`.
        title: the heading.
        facts: pairs of a name and a value, such as settings and versions, listed at the end.
    """
    plan = report.plan
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<div class="sizes">{"".join(_sizes(plan))}</div>',
        "<h2>The network, before and after</h2>",
        '<p>Each line is a layer, as long as it is wide (by the square root). <span class="key stays"></span>stays '
        '<span class="key removed"></span>was removed. A bow leads to a later line that reads it, too; what is pale is '
        "gone altogether.</p>",
        f'<div class="wide">{draw_network(report.skeleton, plan["layers"])}</div>',
        *_curves(report.history.records()),
        "<h2>Layer by layer</h2>",
        f'<div class="wide">{_layers(plan)}</div>',
        *_remarks(report.remarks()),
        *_facts(facts),
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f"</head><body>{''.join(parts)}</body></html>\n"
    )


def write_page(
    report: PruningReport,
    path: str | pathlib.Path,
    title: str = "Pruned network",
    facts: Sequence[tuple[str, Any]] = (),
) -> None:
    """Writes the page of `page_of` to a file, which appears whole or not at all; the other arguments are as there."""
    text = page_of(report, title, facts)
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _sizes(plan: Mapping[str, Any]) -> Iterator[str]:
    for name, dense, words in (("params", "dense_params", "parameters"), ("macs", "dense_macs", "MACs")):
        if plan[name] is None or not plan[dense]:
            yield f"<div><b>unknown</b>{words}</div>"
            continue
        share = 100 * plan[name] / plan[dense]
        yield f"<div><b>{share:.1f} %</b>of the {words}: {plan[name]:,.0f} of {plan[dense]:,.0f}</div>"


def _curves(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Pictures of the logs: task, size, and one against the other; nothing where there are no logs."""
    if not records:
        return
    series = {
        name: [(record["epoch"], record[name]) for record in records if record.get(name) is not None]
        for name in records[0]
        if name.removeprefix("val_") not in HIDDEN and not (name.startswith("val_") and name[4:] in SHARES)
    }
    series = {name: line for name, line in series.items() if line}
    marks = [
        (after["epoch"] - 0.5, after["phase"])
        for before, after in itertools.pairwise(records)
        if before["phase"] != after["phase"]
    ]
    yield '<h2>Training</h2><div class="wide">'
    sizes = {name: series.pop(name) for name in SHARES if name in series}
    for name in sorted({name.removeprefix("val_") for name in series}):
        both = {key: series[key] for key in (name, f"val_{name}") if key in series}
        yield draw_lines(name.replace("_", " "), both, "epoch", marks)
    if sizes:
        yield draw_lines("what is left, as a share of the dense network", sizes, "epoch", marks)
    size = next((sizes[name] for name in ("expected_macs", "macs", "expected_params", "params") if name in sizes), ())
    measure = next((series[name] for name in ("val_accuracy", "accuracy", "val_loss", "loss") if name in series), ())
    left, right = dict(size), dict(measure)
    path = [(left[epoch], right[epoch]) for epoch in left if epoch in right]
    if len(path) > 1:
        name = next(name for name in ("val_accuracy", "accuracy", "val_loss", "loss") if name in series)
        yield draw_lines(f"{name.replace('_', ' ')} against size, epoch by epoch", {name: path}, "share that is left")
    yield "</div>"


def _layers(plan: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("layer", "kind", "units", "parameters", "MACs", ""))
    rows = "".join(
        f"<tr><td>{html.escape(row['name'])}</td><td>{html.escape(row['kind'])}</td>"
        f"<td>{_of(row['units_left'], row['units'])}</td><td>{_of(row['params_left'], row['params'])}</td>"
        f"<td>{_of(row['macs_left'], row['macs'])}</td><td>{html.escape(row['note'])}</td></tr>"
        for row in plan["layers"]
    )
    total = f"<td>{_of(plan['params'], plan['dense_params'])}</td><td>{_of(plan['macs'], plan['dense_macs'])}</td>"
    foot = f"<tfoot><tr><td>total</td><td></td><td></td>{total}<td></td></tr></tfoot>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>{foot}</table>"


def _of(left: float | None, before: float | None) -> str:
    if before is None or left is None:
        return "not known"
    return f"{left:,.0f} of {before:,.0f}" if before else ""


def _remarks(remarks: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    for title, pairs in remarks.items():
        if pairs:
            items = "".join(f"<li>{html.escape(name)}: {html.escape(text)}</li>" for name, text in pairs)
            yield f"<h2>{html.escape(title[:1].upper() + title[1:])}</h2><ul>{items}</ul>"


def _facts(facts: Sequence[tuple[str, Any]]) -> Iterator[str]:
    if facts:
        rows = "".join(f"<tr><td>{html.escape(n)}</td><td>{html.escape(str(v))}</td></tr>" for n, v in facts)
        yield f'<h2>Settings and versions</h2><table class="words">{rows}</table>'
