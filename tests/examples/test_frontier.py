"""examples/frontier.py as a user runs it: the table, going on after an interruption, mistakes."""

import importlib
import json
import pathlib
import runpy
import sys

import pytest
from matplotlib.figure import Figure

from tests import forked

PROGRAM = pathlib.Path(__file__).parents[2] / "examples" / "frontier.py"

# What one run of the command below is known by, and figures that no run would give.
FINISHED = {
    "model": "lenet5", "dataset": "digits", "epochs": 2, "fine_tune": 0.4, "examples": 256, "batch_size": 64,
    "learning_rate": 0.001, "gate": "dep_hc_forward", "budget": {"macs": 0.5}, "seed": 0,
    "params": 1234, "macs": 5678, "params_left": 0.5, "macs_left": 0.4321, "validation_error": 0.25,
    "test_error": 0.125, "seconds": 1.0,
}  # fmt: skip


def run(*flags):
    return forked.run([PROGRAM, *flags])


def test_goes_on_with_the_runs_that_are_missing(tmp_path):
    store = tmp_path / "frontier.json"
    store.write_text(json.dumps([FINISHED]))
    done = run(
        "--gate=dep_hc_forward", "--macs=0.5", "--params=50000", "--epochs=2", "--examples=256",
        "--batch_size=64", "--nodense", "--verbose=0", f"--out={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nRun ") == 1
    results = json.loads(store.read_text())
    assert results[0] == FINISHED and [r["budget"] for r in results[1:]] == [{"params": 50000}]
    assert 0.9 * 50_000 < results[1]["params"] <= 50_000
    assert 0.0 <= results[1]["test_error"] < 1.0
    rows = [line for line in done.stdout.splitlines() if line.startswith("| dep_hc_forward")]
    assert len(rows) == 2 and "5,678 (43.21 %)" in done.stdout and "12.50 %" in done.stdout
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "frontier.md").read_text()
    for text in (*rows, "# lenet5 on digits, 2 epochs", "](frontier.png)", "| `--params` | 50000 |", "| keras |"):
        assert text in report


def test_means_over_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    frontiers = importlib.import_module("frontiers")
    other = {**FINISHED, "seed": 1, "test_error": 0.25}
    assert frontiers.means([FINISHED]) == []
    assert frontiers.means([FINISHED, other])[1:] == [
        ("dep_hc_forward", "macs 0.5", "2", "50.00 % (50.00-50.00)", "43.21 % (43.21-43.21)", "18.75 % (12.50-25.00)")
    ]


def test_the_dense_network_is_a_line_and_per_cents_are_plain_numbers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    frontiers = importlib.import_module("frontiers")
    figures = []
    monkeypatch.setattr(frontiers, "Figure", lambda **arguments: figures.append(Figure(**arguments)) or figures[-1])
    whole = {**FINISHED, "gate": "dense", "budget": {}, "macs_left": 1.0, "params_left": 1.0, "test_error": 0.0625}
    results = [FINISHED, {**FINISHED, "macs_left": 0.03}]
    for given in ([*results, whole, {**whole, "seed": 1, "test_error": 0.1875}], results):
        frontiers.plot(given, tmp_path / "plot.png", "title")
    with_dense, without = (figure.axes[0] for figure in figures)
    assert [list(line.get_ydata()) for line in with_dense.lines if line.get_label() == "dense, mean"] == [[12.5] * 2]
    assert not [line for line in without.lines if "dense" in line.get_label()]
    labels = [label.get_text() for label in with_dense.get_xticklabels()]
    assert {"5", "10", "50", "100"} <= set(labels) and all(float(label) > 0 for label in labels)


@pytest.mark.parametrize("text", ["", "[1]", "[{}]", '{"model": "lenet5"}'])
def test_a_file_that_is_not_its_own(text, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    (tmp_path / "frontier.json").write_text(text)
    with pytest.raises(ValueError, match="frontier.json must be results of frontier.py"):
        importlib.import_module("frontiers").read(tmp_path)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--gate=disarm,magic", "--macs=0.5"], "--gate must name methods of .*Received: magic"),
        (
            ["--joint", "--macs=0.5,0.3", "--params=0.2"],
            "--joint needs as many --macs as --params. Received: 2 and 1",
        ),
    ],
)
def test_mistakes(flags, message, tmp_path, monkeypatch):
    """A program that ends by `SystemExit` with a text prints that, without a traceback, and fails."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *flags, f"--out={tmp_path}"])
    with pytest.raises(SystemExit, match=f"^frontier.py: {message}"):
        runpy.run_path(str(PROGRAM), run_name="__main__")
    assert not (tmp_path / "frontier.json").exists()
