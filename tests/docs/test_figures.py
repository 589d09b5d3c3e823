"""Where figures come from: each part of the results, and of README, that shows some says by what they were made."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
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
