"""The README and the guides: their code runs as it stands there, and what they point to exists."""

import pathlib
import re

import keras
import pytest

import tfgates

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
TOUR = ROOT / "docs" / "guides" / "tour.md"


def blocks(path, language):
    """The code blocks of a page that begin at the margin."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def run(code, names, capsys, epochs=None):
    """Runs a block of code and returns what it printed; `epochs` takes the place of the numbers of epochs in it."""
    if epochs is not None:
        code = re.sub(r"\bepochs=\d+", f"epochs={epochs}", code)
    exec(compile(code, "README.md", "exec"), names)
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_the_five_lines_run_in_few_epochs(capsys):
    """As they stand but for the number of epochs: what they print has the form that the README shows."""
    names = {}
    printed = "".join(run(code, names, capsys, epochs=1) for code in blocks(ROOT / "README.md", "python"))
    assert form(printed).splitlines()[:9] == form(blocks(ROOT / "README.md", "text")[0]).splitlines()[:9]
    assert tfgates.cost(names["small"]).macs <= 0.25 * tfgates.cost(names["model"]).macs


def form(text):
    """A text with every number as 0, and the gaps that hold them as one blank."""
    return re.sub(r"[ -]+", " ", re.sub(r"\d[\d,.]*", "0", text))


@pytest.mark.slow
def test_the_five_lines_print_what_the_readme_shows(capsys):
    """As they stand: the size to the unit, accuracies within what other processors may change."""
    names = {}
    printed = "".join(run(code, names, capsys) for code in blocks(ROOT / "README.md", "python"))
    (shown,) = blocks(ROOT / "README.md", "text")
    assert form(printed).splitlines()[:9] == form(shown).splitlines()[:9]
    accuracies = [[float(value) for value in re.findall(r": (\d+\.\d) %", text)] for text in (printed, shown)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=2.0)
    budget = 0.25 * tfgates.cost(names["model"]).macs
    assert 0.9 * budget < tfgates.cost(names["small"]).macs <= budget


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_the_tour_runs(capsys, tmp_path, monkeypatch):
    """The code of the tour goes on from that of the README, in a folder of its own; with the line that it tells for
    environments without TensorFlow in the place of the one for those with it."""
    monkeypatch.chdir(tmp_path)
    names, made = {}, "saved_model"
    code = [*blocks(ROOT / "README.md", "python"), *blocks(TOUR, "python")]
    if keras.backend.backend() != "tensorflow":
        exporting = re.compile(r'^small\.export\("saved_model".*# without TensorFlow: (small\.save\("(.*)"\))$', re.M)
        ((_, made),) = [match for each in code for match in exporting.findall(each)]
        code = [exporting.sub(r"\1", each) for each in code]
    for each in code:
        printed = run(each, names, capsys, epochs=2)
    assert (tmp_path / made).exists() and "accuracy" in printed
    assert tfgates.cost(names["small"]).params <= 0.2 * tfgates.cost(names["model"]).params
    assert names["by_hand"].count_params() > 0


@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_the_guide_to_pruning_without_training_runs(capsys):
    names = {}
    guide = ROOT / "docs" / "guides" / "without_training.md"
    printed = "".join(run(code, names, capsys, epochs=2) for code in blocks(guide, "python"))
    assert form(printed) == form(blocks(guide, "text")[0])
    assert tfgates.cost(names["small"]).macs <= 0.25 * tfgates.cost(names["model"]).macs


def test_every_guide_can_be_reached():
    index = (ROOT / "docs" / "index.md").read_text()
    reached = {page for page in PAGES if f"guides/{page.name}" in PAGES[0].read_text() + index}
    assert reached == set(PAGES[1:]) and "docs/index.md" in PAGES[0].read_text()


def test_every_picture_is_shown():
    pages = [*PAGES, *(ROOT / "docs").glob("*.md")]
    shown = {match for page in pages for match in re.findall(r"images/(\S+?)\)", page.read_text())}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_code_of_the_guides_is_code():
    for page in PAGES:
        for code in re.findall(r"^ *```python\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
            compile("if True:\n" + code if code.startswith(" ") else code, page.name, "exec")


def test_the_commands_of_the_first_screen():
    """CI finds the command that runs the tests by its form; both stand high up."""
    lines = (ROOT / "README.md").read_text().splitlines()
    (train,) = (i for i, line in enumerate(lines) if re.search(r"^python3 -m venv .*examples/train.py$", line))
    (tests,) = (i for i, line in enumerate(lines) if re.search(r"^python3 -m venv .*pytest$", line))
    assert max(train, tests) < 30
