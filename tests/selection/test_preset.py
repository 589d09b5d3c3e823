"""Networks that stay instances of their class: a class like those of KerasHub, small."""

import pytest

from tests.pruning import tiny_backbone
from tfgates.selection import PresetSelection, Rounding


@pytest.fixture(scope="module")
def gated():
    return tiny_backbone.gated_backbone()


def chosen(gated, **rounding):
    arguments = PresetSelection(gated, Rounding(**rounding)).shape.arguments
    return tuple(arguments[name] for name in ("num_layers", "intermediate_dim", "num_heads"))


def test_the_widest_layer_counts(gated):
    tiny_backbone.close(gated, width=(3, 5, 2), heads=(1, 2, 1))
    assert chosen(gated) == (3, 5, 2)
    assert chosen(gated, round_to=4) == (3, 8, 2)
    tiny_backbone.close(gated, width=(3, 5, 2), heads=(1, 2, 1), layers=[1])
    assert chosen(gated) == (2, 3, 1)
    # One that is to stay for its shape.
    tiny_backbone.close(gated, width=(3, 5, 2), heads=(1, 2, 1), layers=[0, 1, 2])
    assert chosen(gated)[0] == 1
