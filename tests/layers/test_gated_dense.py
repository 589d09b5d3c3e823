"""Gated dense layers."""

import pytest

from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedDense


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"activation": "relu", "use_bias": False},
        {"gate": HardConcreteGate(groups=2, l0=1e-3), "gated": "inputs"},
        {"gate": HardConcreteGate(sampling="example")},
        {"granularity": "weight"},
    ],
)
def test_layer(arguments):
    run_layer_test(GatedDense, {"units": 4, **arguments}, (6,), (4,))
