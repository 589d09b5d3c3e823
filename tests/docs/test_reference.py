"""The reference has every public name, and no other."""

import importlib
import pathlib

import pytest

import tfgates

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(of_docs):
    return of_docs("public_names")


def resolved(full):
    module, _, name = full.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_public_name_is_listed(names):
    """`python docs/remake.py --reference` adds what is missing."""
    assert names.missing() == {}


def test_what_is_missing_is_found_and_added(names, tmp_path, monkeypatch):
    pages = {path.name: path.read_text("utf-8") for path in names.API.glob("*.md")}
    pages["gates.md"] = pages["gates.md"].replace("   ScalingGate\n", "")
    pages["index.md"] = pages["index.md"].replace("costs\n", "")
    del pages["costs.md"]
    for name, text in pages.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(names, "API", tmp_path)
    assert set(names.missing()) == {"tfgates.gates", "tfgates.costs"}
    names.complete()
    assert names.missing() == {}
    assert "   ScalingGate\n```\n" in (tmp_path / "gates.md").read_text("utf-8")
    assert (tmp_path / "index.md").read_text("utf-8").endswith("costs\n```\n")


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


def test_every_name_of_a_gate_is_on_its_page():
    text = (ROOT / "docs" / "api" / "gates.md").read_text("utf-8")
    assert [name for name in tfgates.gates.NAMES if f'`"{name}"`' not in text] == []
