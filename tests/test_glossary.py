"""The glossary: what it names is there."""

import importlib
import pathlib
import re

import pytest

import tfgates

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "glossary.md").read_text()
# In code marks: a path, or a method as `Class.method`.
NAMES = sorted({*re.findall(r"`((?:tfgates|[A-Z]\w+)(?:\.\w+)+)`", TEXT)})
OWN = {"Gate": "tfgates.gates.Gate", "Structure": "tfgates.constraints.structure.Structure"}


def found(path):
    """The object at a path of modules and attributes."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            value = getattr(value, name)
        return value
    raise AssertionError(path)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_is_there(name):
    first, _, rest = name.partition(".")
    assert found(name if first == "tfgates" else f"{OWN[first]}.{rest}") is not None


def test_the_words_that_readers_stumble_over_are_explained():
    words = re.findall(r"^\| ([^|]+) \|", TEXT, re.MULTILINE)
    explained = {word.strip("` ") for row in words for word in row.split(",")}
    assert {"openness", "travel", "held", "settled", "pull", "pace", "Structure", "land", "walk", "fold"} <= explained
    assert len(NAMES) > 15 and tfgates.gates.Gate is found("tfgates.gates.Gate")
