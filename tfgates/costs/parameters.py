"""Parameters."""

from tfgates.costs.protocol import Call, Cost, Summand
from tfgates.costs.registry import register_cost


@register_cost
class Parameters(Cost):
    """Parameters, as Keras's `count_params` counts them, moving averages included, gates excluded."""

    name, unit, heading = "params", "parameters", "parameters"
    # Stored once, however often the layer is called.
    shared = True

    def per_layer(self, call: Call) -> list[Summand]:
        return [Summand(block.params, block.over, block.unless) for block in call.weights]
