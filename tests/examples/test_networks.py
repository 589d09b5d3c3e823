"""The networks of `train.py` with each gate that it lists."""

import importlib
import pathlib
import sys
import types

import pytest

import tfgates

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"

sys.path.insert(0, str(EXAMPLES))
try:
    networks = importlib.import_module("networks")
finally:
    sys.path.remove(str(EXAMPLES))

PER_EXAMPLE = {"ar", "arm", "bernoulli", "disarm", "double_control_variates", "reinforce_leave_one_out"}


@pytest.mark.parametrize("gate", [name for name in networks.GATES if name != networks.GENERATED])
def test_each_gate_is_drawn_as_it_can_be(gate):
    data = types.SimpleNamespace(input_shape=(8,), classes=3)
    model = networks.build("mlp", data, gate)
    gates = [each for layer in model.layers for each in tfgates.gates.gates_of(layer)]
    assert gates and {each.sampling for each in gates} == {"example" if gate in PER_EXAMPLE else "batch"}
