"""Hard-concrete gates against numpy and against automatic differentiation."""

import pytest

from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate


@pytest.mark.parametrize(
    "arguments",
    [{}, {"axis": 1, "groups": 2, "l0": 1e-3}, {"sampling": "example", "test_rule": "paper"}, {"axis": None}],
)
def test_layer(arguments):
    run_layer_test(HardConcreteGate, arguments, (4, 6), expected_trainable_variables=1)
