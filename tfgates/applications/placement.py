"""Puts the gates of one network in their places, each a copy of one gate."""

from typing import Any

import keras

from tfgates import gates
from tfgates.gates import ScalingGate
from tfgates.gates.arguments import check_choice
from tfgates.gates.base import Gate
from tfgates.layers import GatedBatchNormalization, GatedConv2D, GatedDense, GateGenerator
from tfgates.training import GatedModel


class Placement:
    """Makes the layers that may carry a gate; `build_network` passes one to each builder.

    Args:
        gate: a `tfgates.gates.Gate`, its name as a string or its config, to be copied for each
            place. None: no gates, plain Keras layers.
        structures: what carries gates, one or more of `"channels"`, `"groups"`, `"blocks"`,
            `"inputs"`, `"outputs"`.
        l0: None (as `gate` says), a float for all gates, or a list with one float for each gate
            in the order of the network; loss per weight that a unit owns.
        logits: list of tensors of a `GateGenerator`, one per gate, or None.
    """

    def __init__(self, gate: Any = None, structures: Any = (), l0: Any = None, logits: Any = None) -> None:
        self.gate = gate
        self.structures = structures
        self.l0 = l0
        self.logits = logits
        self.units: list[int] = []

    def _next(self, layer_name: Any, units: Any, owned: Any = 1, **arguments: Any) -> Any:
        """A copy of the gate for the next place, and what else its layer is called with."""
        number = len(self.units)
        self.units.append(units)
        prototype = gates.get(self.gate)
        config = {**prototype.get_config(), **arguments, "name": f"{layer_name}_gate"}
        if config.get("seed") is not None:
            # One seed for all would open and close the units of all layers together.
            config["seed"] += number
        l0 = config["l0"] if self.l0 is None else self.l0
        if isinstance(l0, (list, tuple)):
            if number >= len(l0):
                raise ValueError(f"`l0` must have one entry for each gate. Received: {len(l0)} entries")
            l0 = l0[number]
        config["l0"] = l0 * owned
        made = type(prototype).from_config(config)
        call = {} if self.logits is None else {"logits": self.logits[number]}
        return made, call

    def convolution(
        self, x: Any, filters: int, kernel_size: int, name: str, structure: Any = None, **arguments: Any
    ) -> Any:
        """Convolution, with gates on its output maps if `structure` carries gates."""
        if structure not in self.structures:
            return keras.layers.Conv2D(filters, kernel_size, name=name, **arguments)(x)
        gate, call = self._next(name, filters)
        return GatedConv2D(filters, kernel_size, name=name, gate=gate, **arguments)(x, **call)

    def dense(self, x: Any, units: Any, name: str, structures: Any = (), **arguments: Any) -> Any:
        """Dense layer, with gates on its inputs or outputs, whichever carries gates."""
        (gated,) = [s for s in structures if s in self.structures] or [None]
        if gated is None:
            return keras.layers.Dense(units, name=name, **arguments)(x)
        gate, call = self._next(name, x.shape[-1] if gated == "inputs" else units)
        return GatedDense(units, name=name, gate=gate, gated=gated, **arguments)(x, **call)

    def normalization(
        self,
        x: Any,
        name: str,
        structure: Any = None,
        groups: int | None = None,
        owned: Any = 1,
        **arguments: Any,
    ) -> Any:
        """Batch normalisation, with gates on its channels or groups if `structure` carries gates."""
        if structure not in self.structures:
            return keras.layers.BatchNormalization(name=name, **arguments)(x)
        units = x.shape[-1] if groups is None else groups
        gate, call = self._next(name, units, owned * x.shape[-1] // units, groups=groups)
        return GatedBatchNormalization(name=name, gate=gate, **arguments)(x, **call)

    def block(self, x: Any, name: str, owned: Any = 1) -> Any:
        """The branch x of a block, with one gate on all of it if blocks carry gates."""
        if "blocks" not in self.structures:
            return x
        gate, call = self._next(name, 1, owned, axis=None, groups=None)
        return gate(x, **call)


def build_network(
    network: Any,
    input_shape: tuple[int | None, ...],
    name: str | None,
    structures: Any,
    scaled: Any,
    gate: Any = None,
    gated: Any = None,
    generator: Any = None,
    l0: Any = None,
) -> keras.Model:
    """Builds a network with or without gates.

    Args:
        network: function of an input tensor and a `Placement`; returns the output tensor.
        input_shape: shape of an example.
        name: name of the model.
        structures: dict: for each choice of `gated`, the structures that then carry gates. The first
            choice is the default.
        scaled: the choice that is the default for scaling factors.
        gate, gated, generator, l0: see `tfgates.applications`.

    Returns:
        A `keras.Model`, or with gates a `tfgates.GatedModel`.
    """
    inputs = keras.Input(input_shape)
    if gate is None:
        for argument, value in (("gated", gated), ("generator", generator), ("l0", l0)):
            if value is not None:
                raise ValueError(f"`{argument}` must be None without a gate. Received: {argument}={value!r}")
        return keras.Model(inputs, network(inputs, Placement()), name=name)
    prototype = gates.get(gate)
    if gated is None:
        gated = scaled if isinstance(prototype, ScalingGate) else next(iter(structures))
    chosen = structures[check_choice("gated", gated, tuple(structures))]
    logits = None
    if generator is not None:
        logits = _generate(network, inputs, prototype, chosen, generator)
    placement = Placement(prototype, chosen, l0, logits)
    outputs = network(inputs, placement)
    if isinstance(l0, (list, tuple)) and len(l0) != len(placement.units):
        raise ValueError(
            f"`l0` must have one entry for each of the {len(placement.units)} gates. Received: {len(l0)} entries"
        )
    return GatedModel(inputs, outputs, name=name)


def _generate(network: Any, inputs: Any, prototype: Any, chosen: Any, order: Any) -> Any:
    check_choice("generator", order, ("forward", "backward"))
    if type(prototype).bind is not Gate.bind:
        raise ValueError(
            f"`generator` must be None for a {type(prototype).__name__}, which draws nothing. "
            f"Received: generator={order!r}"
        )
    # The generator stands before the gates and has to know them: a first, discarded round counts.
    counting = Placement(prototype, chosen)
    network(inputs, counting)
    generator = GateGenerator(
        counting.units,
        order,
        initial_logits=prototype.initial_value(),
        seed=prototype.seed,
        name="gate_generator",
    )
    return generator(inputs)
