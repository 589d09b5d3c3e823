"""Multiply-accumulates."""

from tfgates.costs.protocol import Call, Cost, Summand
from tfgates.costs.registry import register_cost


@register_cost
class MultiplyAccumulates(Cost):
    """Multiply-accumulates for one example; biases, normalisations and activations count none."""

    name, unit, heading = "macs", "MACs", "MACs"

    def per_layer(self, call: Call) -> list[Summand]:
        return [Summand(block.macs, block.over, block.unless, block.why) for block in call.weights]
