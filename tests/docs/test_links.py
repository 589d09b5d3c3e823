"""Links between the project's own documents lead somewhere."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)])


def anchors(text):
    """The anchors of headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(document, text):
    """The links of a document that lead nowhere."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = document.parent / target if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path.read_text("utf-8"))):
            yield f"{target}#{anchor}" if anchor else target


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_links_lead_somewhere(document):
    assert list(broken(document, document.read_text("utf-8"))) == []


def test_broken_links_are_found():
    assert list(broken(ROOT / "README.md", "[a](no.md) [b](README.md#no) [c](README.md#measured)")) == [
        "no.md",
        "README.md#no",
    ]


@pytest.mark.parametrize("folder", ["decisions", "results"])
def test_the_index_has_each_file(folder):
    index = (ROOT / "BUILD_NOTES.md").read_text("utf-8")
    missing = [
        path.name for path in (ROOT / "docs" / folder).glob("*.md") if f"docs/{folder}/{path.name})" not in index
    ]
    assert missing == []
