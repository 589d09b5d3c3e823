"""The table of backends and features: each "yes" has a test that exists, each "no" a reason."""

import ast
import pathlib
import re

from tests.backends import suite

ROOT = suite.ROOT
PAGE = ROOT / "docs" / "guides" / "backends.md"
BACKENDS = ("TensorFlow", "JAX", "PyTorch")


def rows():
    """The rows as lists of cells, that of the headings first."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [found[0], *found[2:]]


def functions(path):
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def exists(name):
    """Whether what a cell names as a test is there."""
    if name.startswith("features "):
        return name.removeprefix("features ") in functions("tests/backends/features.py")
    path, _, function = name.partition("::")
    return (ROOT / path).is_file() and (not function or function in functions(path))


def test_each_yes_has_a_test_and_each_no_a_reason():
    head, *features = rows()
    assert tuple(head[1:-1]) == BACKENDS and len(features) > 20
    for feature, *cells, tests in features:
        assert len(cells) == len(BACKENDS), feature
        assert all(re.match("yes\\b|no: .{10}", cell) for cell in cells), (feature, cells)
        named = re.findall("`([^`]+)`", tests)
        assert named and all(exists(name) for name in named), (feature, [n for n in named if not exists(n)])


def test_what_the_suite_names_exists():
    for places in suite.FILES.values():
        assert all((ROOT / "tests" / place).exists() for place in places)
    for name, (backends, why) in suite.LEFT_OUT.items():
        path, _, function = name.partition("::")
        assert (ROOT / "tests" / path).exists() and set(backends) <= {"jax", "torch"} and len(why) > 10, name
        assert not function or re.sub(r"\[.*", "", function) in functions(pathlib.Path("tests") / path), name


def test_every_file_of_the_suite_is_read_on_each_backend():
    """What of it is of TensorFlow asks for it by `tests.calculus.tensorflow`, with the reason."""
    files = {file for places in suite.FILES.values() for each in places for file in suite.files_of(each)}
    assert len(files) > 120 and not [file.name for file in files if suite.imports_tensorflow(file)]


def test_a_name_that_does_not_exist_is_found():
    assert not exists("features nothing") and not exists("tests/backends/tour.py::nothing")
    assert not exists("tests/nothing.py") and suite.reason("nothing.py::test", "jax") == ""
