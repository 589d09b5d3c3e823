"""The reference has every public name, and no other."""

import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(of_docs):
    return of_docs("public_names")


def resolved(full):
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_public_name_is_listed(names):
    """A name that two modules have is listed once. What is missing wants a line in the page of its module."""
    listed = names.listed()
    objects = [resolved(name) for name in listed]
    missing = [f for f, value in names.public().items() if f not in listed and not any(value is o for o in objects)]
    assert missing == []


def test_every_listed_name_is_public(names):
    assert names.listed() <= set(names.public())


def test_every_page_of_a_package_is_in_the_index():
    index = (ROOT / "docs" / "api" / "index.md").read_text("utf-8")
    pages = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")} - {"index"}
    assert {line for line in index.splitlines() if line in pages} == pages


def test_every_listed_name_has_a_docstring(names):
    undocumented = [
        name for name in names.listed() if callable(resolved(name)) and not (resolved(name).__doc__ or "").strip()
    ]
    assert undocumented == []
