"""Figures in the words of pages: each stands in a table of stored results, or in benchmarks/results/in_words.json.

    python docs/figures.py        # those that do neither, by page and part, and those that are stored and not said

A table is one of the page, or of the pages of results that the part links to. `in_words.json` has, by page and part,
the figures that only words show: with the `command` that printed them and the `code` it ran on, or the `files` of
stored results that they were computed from, or what they are where nothing was measured (`chosen`, such as a default).
"""

import json
import re

import tables

ROOT = tables.ROOT
STORE = tables.RESULTS / "in_words.json"
# Written as a whole by programs, with tests of their own; formulas, whose numbers follow from them; the reference.
OTHERWISE = (
    "docs/coverage.md",
    "docs/supported_layers.md",
    "docs/methods.md",
    "docs/zoo/",
    "docs/api/",
    "docs/_build/",
)
PROGRAM = re.compile(r"^ *```.*?^ *```|\$\$.*?\$\$", re.M | re.S)
# Code, addresses, numbers of papers, versions.
NAMES = (
    "Keras|KerasHub|keras-hub|TensorFlow|TensorBoard|Python|Torch-Pruning|tfmot|torch|jax|onnx|tensorboard|NumPy|CUDA"
)
NO_FIGURE = re.compile(
    rf"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|https?://\S+|\d{{4}}\.\d{{5}}|(?:{NAMES}) \d+(?:\.\d+)+", re.IGNORECASE
)
# Shares, decimals, times and sizes: not a count, a year or a number of a list.
FIGURE = re.compile(
    r"(?<![\w.,/-])(?:\d[\d,]*)?(?:\.\d+)?(?<=\d) ?(?:%|(?<= )s\b|ms\b|min\b|KiB|MiB|MB|GB|points|M\b|G\b)"
    r"|(?<![\w.,/-])\d*\.\d{2,}(?![\d.])"
)
NUMBER = re.compile(r"(?<![\w.,])(?:\d[\d,]*)?(?:\.\d+)?(?<=\d)")


def value(text):
    """The number in a figure."""
    return float(NUMBER.search(text)[0].replace(",", ""))


def pages():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in documents]
    return [name for name in names if not name.startswith(OTHERWISE)]


def parts(text):
    """Pairs of heading and text."""
    title = ""
    for part in re.split(r"^(?=##* )", PROGRAM.sub("", text), flags=re.M):
        title = part.splitlines()[0].lstrip("# ") if part.startswith("#") else title
        yield title, part


def in_tables(text):
    """The numbers in the made tables of a page."""
    made = "".join(place.group() for place in tables.PLACE.finditer(text))
    return {float(number.replace(",", "")) for number in NUMBER.findall(made)}


def in_words(text):
    """The figures in words, as they stand."""
    return [figure.strip() for figure in FIGURE.findall(NO_FIGURE.sub("", tables.PLACE.sub("", text)))]


def of_results(name, part):
    """The numbers in the tables of the pages of results that a part of a page links to."""
    found = set()
    for link in re.findall(r"\]\(([^)#\s]*results/\w+\.md)", part):
        path = ((ROOT / name).parent / link).resolve()
        found |= in_tables(path.read_text("utf-8")) if path.exists() else set()
    return found


def said():
    return json.loads(STORE.read_text("utf-8"))


def unsaid(name, text, said):
    """By part of a page, the figures that nothing stored shows."""
    own = in_tables(text)
    for title, part in parts(text):
        known = own | of_results(name, part) | {value(figure) for figure in said.get(title, {}).get("figures", ())}
        missing = [figure for figure in in_words(part) if value(figure) not in known]
        if missing:
            yield title, missing


def stale(name, text, said):
    """By part of a page, the figures that are stored and no longer said."""
    found = {}
    for title, part in parts(text):
        found.setdefault(title, set()).update(in_words(part))
    for title, entry in said.items():
        gone = [figure for figure in entry["figures"] if figure not in found.get(title, ())]
        if gone:
            yield title, gone


if __name__ == "__main__":
    stored = said() if STORE.exists() else {}
    for name in pages():
        for title, missing in unsaid(name, (ROOT / name).read_text("utf-8"), stored.get(name, {})):
            print(f"not stored: {name} | {title}: {', '.join(missing)}")
        for title, gone in stale(name, (ROOT / name).read_text("utf-8"), stored.get(name, {})):
            print(f"no longer said: {name} | {title}: {', '.join(gone)}")
