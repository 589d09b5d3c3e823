"""Where figures come from: each part of the results, and of README, that shows some says by what they were made."""

import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", ROOT / "docs" / "coverage.md", *sorted((ROOT / "docs" / "results").glob("*.md"))]
FIGURE = re.compile(r"\d %|\d\.\d\d|\d ms|\d milliseconds|\d s\b")
# A command, the file that a table is made from, or a link to where the command stands.
SOURCE = re.compile(
    r"`[^`]*\b(?:python|pytest|sphinx|tensorboard)\b[^`]*`|\.ci/run|<!-- table: |^\.venv\S+|\(docs/results/", re.M
)


def without_source(text):
    """Headings of the parts that have figures, in tables or not, and no source; code is not looked into for figures.

    What stands in front of the first heading but one holds for the page.
    """
    parts = re.split(r"^(?=## )", text, flags=re.M)
    general = SOURCE.search(parts[0])
    for part in parts:
        shown = re.sub(r"^```.*?^```$", "", part, flags=re.M | re.S)
        if FIGURE.search(shown) and not general and not SOURCE.search(part):
            yield part.splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=[path.stem for path in PAGES])
def test_figures_have_a_source(page):
    assert list(without_source(page.read_text("utf-8"))) == []


def test_figures_without_a_source_are_found():
    text = "# Page\n\n## A\n\n| 1.25 % |\n\n## B\n\n`python b.py`: 1.25\n\n## C\n\n3 networks\n"
    assert list(without_source(text)) == ["## A"]


# Written as a whole by a program, with a test of its own; and formulas, whose numbers follow from them.
OTHERWISE = {"docs/coverage.md", "docs/supported_layers.md", "docs/methods.md"}
MADE = re.compile(r"^ *<!-- table: \S+ -->\n.*?<!-- end of table -->|^```.*?^```", re.M | re.S)
# Shares, decimals, times: not a count, a year, a version or a size that somebody asked for.
MEASURED = re.compile(r"\d ?%|(?<![\d.])\d*\.\d\d|\d,\d{3}|\d (?:s|ms|KiB)\b")
# Code, addresses, numbers of papers.
NO_FIGURE = re.compile(r"`[^`]*`|\]\([^)]*\)|\d{4}\.\d{5}")
TABLE = re.compile(r"(?:^ *\|.*\n){3,}", re.M)


def tables_by_hand(text):
    """Heads of the tables that show measured figures and are not made of stored results."""
    for table in TABLE.findall(MADE.sub("", text)):
        head, _, *rows = table.splitlines()
        cells = [NO_FIGURE.sub("", cell) for row in rows for cell in row.split("|")[2:]]
        if sum(bool(MEASURED.search(cell)) for cell in cells) >= 2:
            yield head


def pages_of_the_site():
    documents = [ROOT / "README.md", ROOT / "BUILD_NOTES.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in documents:
        name = path.relative_to(ROOT)
        if "_build" not in name.parts and name.parts[:2] != ("docs", "zoo") and str(name) not in OTHERWISE:
            yield name


def test_tables_with_figures_are_made_of_stored_results():
    found = {str(name): list(tables_by_hand((ROOT / name).read_text("utf-8"))) for name in pages_of_the_site()}
    assert {name: heads for name, heads in found.items() if heads} == {}


def test_tables_by_hand_are_found():
    table = "| a | b |\n|---|---|\n| x | 1.25 % |\n| y | 2.50 % |\n"
    assert list(tables_by_hand(f"# A\n\n{table}")) == ["| a | b |"]
    assert list(tables_by_hand(f"# A\n\n<!-- table: a.json -->\n{table}<!-- end of table -->\n")) == []


@pytest.mark.parametrize("path", sorted((RESULTS / "printed").glob("*.json")), ids=lambda path: path.stem)
def test_what_was_printed_has_its_command_and_is_shown(path, of_docs):
    stored = json.loads(path.read_text("utf-8"))
    assert stored["command"] and stored["code"] and {len(row) for row in stored["rows"]} == {len(stored["columns"])}
    shown = "".join(page.read_text("utf-8") for page in of_docs("tables").pages())
    assert f"<!-- table: printed/{path.name} -->" in shown


def test_results_are_stored_with_command_and_versions(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import stored
    import timing

    path = tmp_path / "new" / "result.json"
    program = ROOT / "benchmarks" / "step_time.py"
    monkeypatch.setattr(sys, "argv", [str(program), "--model=lenet5", f"--out={path}"])
    rows = timing.summary(*({"dense": [2.0] * 3, "gated": [3.0] * 3} for _ in range(2)), "dense")
    stored.store(path, rows, more=1)
    found = json.loads(path.read_text("utf-8"))
    assert found["command"].endswith("python benchmarks/step_time.py --model=lenet5")
    assert found["versions"].keys() >= {"tfgates", "keras", "python", "commit"} and found["more"] == 1
    assert found["rows"][1] == {"name": "gated", "milliseconds": 3000.0, "clock": [1.5] * 3, "processor": [1.5] * 3}
    assert "1.500 (1.500-1.500)" in timing.table(rows)
    stored.store(None, rows)


@pytest.fixture(scope="module")
def figures(of_docs):
    return of_docs("figures")


def test_figures_in_words_are_stored(figures):
    """`python docs/figures.py` prints what is missing: `benchmarks/results/in_words.json` wants it, with its source."""
    said = figures.said()
    texts = {name: (ROOT / name).read_text("utf-8") for name in figures.pages()}
    missing = {name: dict(figures.unsaid(name, text, said.get(name, {}))) for name, text in texts.items()}
    assert {name: found for name, found in missing.items() if found} == {}


def test_what_is_stored_of_words_is_still_said(figures):
    for name, entries in figures.said().items():
        assert dict(figures.stale(name, (ROOT / name).read_text("utf-8"), entries)) == {}, name
        for title, entry in entries.items():
            assert bool(entry.get("command")) + bool(entry.get("files")) + bool(entry.get("chosen")) == 1, (name, title)
            assert "code" in entry or "command" not in entry, (name, title)
            assert all((RESULTS / file).exists() for file in entry.get("files", ())), (name, title)


def test_figures_in_words_that_nothing_stores_are_found(figures):
    text = "# A\n\n1.25 % of `0.5`, 3 networks.\n\n## B\n\n2.50 s with Keras 3.15.1, arXiv 1810.04247.\n"
    assert dict(figures.unsaid("docs/a.md", text, {})) == {"A": ["1.25 %"], "B": ["2.50 s"]}
    assert dict(figures.stale("docs/a.md", text, {"A": {"figures": ["1.25 %", "9 %"]}})) == {"A": ["9 %"]}
    made = "<!-- table: a.json -->\n| a |\n|---|\n| 1.25 % |\n<!-- end of table -->\n"
    assert list(figures.unsaid("docs/a.md", text + made, {"B": {"figures": ["2.50 s"]}})) == []


def result(name):
    return json.loads((RESULTS / name).read_text("utf-8"))


def test_what_readme_says_in_words_follows_from_the_results():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    (gates,) = (row for row in result("step_time_lenet5.json")["rows"] if row["name"] == "hard_concrete")
    assert f"With gates, a training step takes {100 * gates['clock'][0] - 100:.0f} % longer." in text
    for name, words in (
        ("vgg_20480", "took {:.2f} to"),
        ("vgg_20480_again", "to {:.2f} (a VGG-like network)"),
        ("mobilenet_20480", "and {:.2f} (a MobileNet) of the processor time"),
        ("vgg_5120_default", "on 20,480 images, {:.2f} and"),
        ("mobilenet_5120", "and {:.2f} on 5,120"),
    ):
        run = result(f"training_time_{name}.json")["compress-0.25"]
        assert words.format(sum(run["processor"]) / run["dense_seconds"]["processor"]) in text
    joint = [row for row in result("lenet5_sizes.json") if row["row"] == "joint"]
    for row in joint:
        assert f"{100 * row['test_error']:.2f} %" in text and f"{100 * row['macs_share']:.1f} %" in text
