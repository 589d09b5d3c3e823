"""What the tests of the documents share."""

import importlib
import pathlib
import sys

import pytest

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="session")
def of_docs():
    """Imports a module of docs/ or of its extensions by name."""
    folders = [str(DOCS), str(DOCS / "_extensions")]
    sys.path[:0] = folders
    yield importlib.import_module
    for folder in folders:
        sys.path.remove(folder)
