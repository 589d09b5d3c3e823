"""What networks cost: the protocol, parameters and MACs, and expectations over the gates."""

from tfgates.costs.protocol import Activation, Call, Cost, Summand

# Parameters and MACs are the first to be registered.
from tfgates.costs.parameters import Parameters  # isort: skip
from tfgates.costs.macs import MultiplyAccumulates  # isort: skip
from tfgates.costs.expected import ExpectedCost
from tfgates.costs.registry import cost_named, register_cost, registered_costs, unregister_cost

__all__ = [
    "Activation",
    "Call",
    "Cost",
    "ExpectedCost",
    "MultiplyAccumulates",
    "Parameters",
    "Summand",
    "cost_named",
    "register_cost",
    "registered_costs",
    "unregister_cost",
]
