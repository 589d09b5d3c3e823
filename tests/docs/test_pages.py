"""The pages of the site: their code names what exists, and runs; their tables are those of the results."""

import ast
import importlib
import inspect
import pathlib
import re

import pytest

import tfgates

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if not {"_build", "names"} & set(path.parts)]
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.M | re.S)
# Pages whose programs have their output in them.
PROGRAMS = [path for path in PAGES if re.search(r"^```python\n.*^```text\n", path.read_text("utf-8"), re.M | re.S)]
# Modules that pages may use; those that are not tfgates or Keras are not looked into.
MODULES = {"tfgates": "tfgates", "keras": "keras", "layers": "tfgates.layers", "gates": "tfgates.gates"}


def code_of(path):
    """The programs of a page, each at the margin."""
    return [inspect.cleandoc("\n" + code) + "\n" for code in BLOCK.findall(path.read_text("utf-8"))]


def dotted(node):
    """`a.b.c` as a list of names, or None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def found(names):
    """What a dotted name of tfgates or Keras stands for; an AttributeError if there is no such thing."""
    value = importlib.import_module(MODULES[names[0]])
    for name in names[1:]:
        value = getattr(value, name)
    return value


def faults(code):
    """Names and keywords of calls in a program that tfgates and Keras have not."""
    tree = ast.parse(code)
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        names = dotted(node) if isinstance(node, ast.Attribute) else None
        if names and names[0] in MODULES and names[0] not in assigned:
            try:
                found(names)
            except AttributeError:
                yield ".".join(names)
        names = dotted(node.func) if isinstance(node, ast.Call) else None
        if not names or names[0] not in MODULES or names[0] in assigned:
            continue
        try:
            known = inspect.signature(made := found(names)).parameters.values()
        except (AttributeError, TypeError, ValueError):
            continue
        if inspect.isclass(made):
            known = inspect.signature(made.__init__).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known):
            continue
        given = {keyword.arg for keyword in node.keywords if keyword.arg}
        yield from (f"{'.'.join(names)}({name}=)" for name in sorted(given - {parameter.name for parameter in known}))


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(DOCS)) for path in PAGES])
def test_what_a_page_names_exists(page):
    assert [fault for code in code_of(page) for fault in faults(code)] == []
    text = BLOCK.sub("", page.read_text("utf-8"))
    for name in re.findall(r"`(tfgates(?:\.\w+)+)[`(]", text):
        try:
            found(name.split("."))
        except AttributeError:
            # A file or a module of the library.
            assert importlib.util.find_spec(name) is not None, name


def test_what_does_not_exist_is_found():
    code = "import tfgates\ntfgates.no_such\ntfgates.Budget(mac=1)\ntfgates.plan_pruning(m, round=8)"
    assert list(faults(code)) == ["tfgates.no_such", "tfgates.plan_pruning(round=)"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_the_tutorial_runs(of_docs, tmp_path, monkeypatch):
    """With one epoch in the place of each number of epochs; what it prints has the form of what it shows."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "guides" / "tutorial.md"
    text, names = of_docs("remake").run(page.read_text("utf-8"), page.name, epochs=1)
    shown = page.read_text("utf-8")
    for made, before in zip(*(re.findall(r"```text\n(.*?)```", each, re.S) for each in (text, shown)), strict=True):
        assert words(made)[:3] == words(before)[:3]
    assert tfgates.cost(names["small"]).macs <= 0.35 * tfgates.cost(names["model"]).macs
    assert {path.name for path in tmp_path.iterdir()} == {"small.keras", "served", "small.tflite"}


def words(text):
    """The words of a text, without numbers."""
    return re.findall(r"[A-Za-z]{2,}", text)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
@pytest.mark.parametrize("page", PROGRAMS, ids=[path.stem for path in PROGRAMS])
def test_programs_print_what_their_pages_show(page, of_docs, tmp_path, monkeypatch, costs_of_the_page):
    """As they stand; numbers may differ on other processors, words may not."""
    monkeypatch.chdir(tmp_path)
    text, _ = of_docs("remake").run(page.read_text("utf-8"), page.name)
    shown = page.read_text("utf-8")
    assert [words(each) for each in re.findall(r"```text\n(.*?)```", text, re.S)] == [
        words(each) for each in re.findall(r"```text\n(.*?)```", shown, re.S)
    ]


def test_outputs_are_filled_in():
    assert [path.name for path in PROGRAMS if "```text\n```" in path.read_text("utf-8")] == []


def test_tables_are_those_of_the_results(of_docs):
    """`python docs/remake.py --tables` would change nothing."""
    tables = of_docs("tables")
    assert len(tables.pages()) >= 2
    for page in tables.pages():
        text = page.read_text("utf-8")
        assert tables.filled(text) == text, page.name


def test_a_changed_result_is_noticed(of_docs):
    tables = of_docs("tables")
    page = (DOCS / "results" / "cifar10.md").read_text("utf-8")
    assert tables.filled(page.replace("86.44", "96.44")) == page


def test_the_picture_of_the_walk_is_that_of_the_library(of_docs):
    """`python docs/remake.py --pictures` would change nothing."""
    pictures = of_docs("pictures")
    assert pictures.draw(tfgates.plan_pruning(pictures.network())) == pictures.PATH.read_text("utf-8")


def test_the_curves_are_those_of_the_stored_run(of_docs):
    curves = of_docs("curves")
    assert curves.draw() == curves.PATH.read_text("utf-8")
