"""The table of layers and operators has every public name of the installed Keras, and says what is so."""

import pathlib
import re

import keras
import pytest

from benchmarks import supported

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "supported_layers.md"


def sections():
    """By title the rows of the table, a dict from names to what is said."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line, {})
        elif line.startswith("| ") and not line.startswith("| name"):
            name, *cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
            rows[name] = cells
    return found


def test_no_public_name_is_missing():
    layers, operators = sections().values()
    if f"with Keras {keras.__version__}." not in PAGE.read_text():
        pytest.skip(f"the table is of another Keras than {keras.__version__}: make it again")
    assert set(layers) == {name for name in dir(keras.layers) if name[0].isupper()}
    assert set(operators) == {name for name in dir(keras.ops) if not name.startswith("_")}
    assert not [name for name, cells in layers.items() if "no case" in cells[-1]]


@pytest.mark.parametrize("name", ["Conv2D", "AveragePooling1D", "Softmax", "LSTM", "Concatenate"])
def test_layers(name):
    layers, _ = sections().values()
    made = supported.row(name, *supported.layer_cases()[name])
    assert layers[name][:2] == [made.what, "gated" if made.gated else ""]


@pytest.mark.parametrize("name", ["einsum", "split", "sort"])
def test_operators(name):
    _, operators = sections().values()
    made = supported.row(name, "image", supported.OPERATORS.get(name) or (lambda x: supported.by_itself(name, x)))
    assert operators[name][0] == made.what
