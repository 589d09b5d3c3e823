"""Rebuilding a network with gates at given places."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates import gates as gate_methods
from tfgates.anatomy import anatomy_of, gated_class, variable_of
from tfgates.anatomy.normalization import BatchNormalizationAnatomy
from tfgates.gates import Gate
from tfgates.gating.chains import has_heads
from tfgates.gating.placement import Place
from tfgates.graph import Network
from tfgates.graph.configs import config_of
from tfgates.graph.copier import Copier, input_names, own_names
from tfgates.graph.network import Node
from tfgates.graph.phase import trains
from tfgates.graph.rules import activations
from tfgates.graph.rules.declared import by_attribute
from tfgates.keras_internals import call_of, history_of
from tfgates.layers import GatedBatchNormalization, GateGenerator, GateNoise


class GatedBuilder(Copier):
    """Rebuilds a network with gates at the given places."""

    def __init__(
        self,
        network: Network,
        places: Sequence[Place],
        gate: Any,
        gate_arguments: dict[str, Any],
        generator: Any,
        copy_weights: bool,
        compensate: bool,
    ) -> None:
        super().__init__(taken=input_names(network) if copy_weights else own_names(network))
        self._network = network
        self._places: dict[int, list[Place]] = {}
        for place in places:
            self._places.setdefault(place.node.index, []).append(place)
        for each in self._places.values():
            # What is inside of a layer comes before what is behind it.
            each.sort(key=lambda place: place.kind == "outputs")
        self._identifier, self._arguments = gate, gate_arguments
        self._copy_weights, self._compensate = copy_weights, compensate
        if gate_arguments and not isinstance(gate, str):
            raise ValueError(
                "Arguments of the gate can be given only when `gate` is a name. "
                f"Received: {', '.join(sorted(gate_arguments))} beside {gate!r}"
            )
        self._gates: dict[Any, Gate] = {}
        self._noise: dict[Any, Any] = {}
        keys = [place.key for place in places]
        # Several calls of one gate share one draw.
        self._tied = {key for key in keys if keys.count(key) > 1}
        self._order = list(dict.fromkeys(p.key for p in places))
        self._units = {p.key: p.units for p in places}
        # Whose name a gate has, and whose weights it counts.
        self._first = {p.key: p for p in reversed(places)}
        # Places come kind by kind; a generator goes through the network.
        self._chain = list(dict.fromkeys(p.key for p in sorted(places, key=lambda p: p.node.index)))
        # What stands behind a layer for what it made before, by name.
        self.added: dict[str, str] = {}
        self._generator = generator
        self._logits: Any = None

    @property
    def gates(self) -> list[Gate]:
        """The gates that were made."""
        return list(self._gates.values())

    @property
    def gates_by_key(self) -> dict[Any, Gate]:
        """The gates that were made, by the key of their places."""
        return dict(self._gates)

    def successor(self, layer: Any) -> Any:
        """What takes the place of a layer of the network, or None."""
        own = not self._copy_weights and any(node.op is layer for node in self._network.nodes)
        return layer if own else super().successor(layer)

    def _gate(self, place: Place) -> Gate:
        """The gate of a place, made at first use."""
        if place.key not in self._gates:
            self._gates[place.key] = self._new_gate(self._first[place.key])
        return self._gates[place.key]

    def _new_gate(self, place: Place) -> Gate:
        index = self._order.index(place.key)
        if isinstance(self._identifier, str):
            gate = gate_methods.get(self._identifier, **self._arguments)
        else:
            gate = gate_methods.get(self._identifier)
        config = gate.get_config()
        seed = config.get("seed")
        config.update(
            name=self._gate_name(place),
            axis=-1 if place.last else place.axis,
            groups=place.groups,
            interleaved=place.interleaved,
            # Each gate draws its own noise.
            seed=None if seed is None else seed + index,
        )
        new = type(gate).from_config(config)
        new.weights_per_unit = place.weights
        return new

    def _gate_name(self, place: Place) -> str:
        name = f"{place.layer.replace('/', '_')}_gate"
        return self.unused(name, name)

    def _feeds(self, place: Place, tensor: Any) -> dict[str, Any]:
        """Keyword arguments for the call of the gate: generated logits, shared noise, and its mode.

        A gate draws in the mode of the model, whatever calls before it were given.
        """
        feeds = self._mode()
        if self._generator is not None:
            if self._logits is None:
                source = next(iter(self._inputs_of(tensor)))
                first = self._gate(place)
                layer = GateGenerator(
                    [self._units[key] for key in self._chain],
                    order=self._generator,
                    initial_logits=first.initial_value(),
                    seed=None if first.seed is None else first.seed + 104_729,
                    name="gate_generator",
                )
                self._logits = layer(source)
            feeds["logits"] = self._logits[self._chain.index(place.key)]
        if place.key in self._tied:
            if place.key not in self._noise:
                gate = self._gate(place)
                seed = None if gate.seed is None else gate.seed + 7_919
                layer = GateNoise(place.units, seed=seed, name=f"{gate.name}_noise")
                self._noise[place.key] = layer(next(iter(self._inputs_of(tensor))), **self._mode())
            feeds["noise"] = self._noise[place.key]
        return feeds

    def _mode(self) -> dict[str, Any]:
        return {"training": None} if self._network.has_modes else {}

    def _inputs_of(self, tensor: Any) -> Iterator[Any]:
        """The model inputs that a tensor is made from; any will do to hang generators on."""
        stack = [tensor]
        while stack:
            current = stack.pop()
            history = history_of(current)
            node = call_of(history)
            if node.is_input:
                yield current
            stack.extend(node.input_tensors)

    def emit(self, node: Any, args: Any, kwargs: Any) -> Any:
        places = self._places.get(node.index, [])
        if not places:
            return self._called(node, args, kwargs)
        (first, *rest) = places
        kind = gated_class(type(node.op)) if self._copy_weights and self._fits_inside(node, first) else None
        if first.kind != ("heads" if has_heads(node.op) else "outputs"):
            kind = None
        tensor = next(t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor))
        recurs = getattr(anatomy_of(node.op), "recurs", False)
        if kind is not None and (recurs or self._zero_stays_zero(node.op)):
            feeds = self._feeds(first, tensor)
            # A layer that a call before told to train: that is not for its gate.
            told = {**kwargs, **feeds} if trains(node) else {**feeds, **kwargs}
            result = self._with_gate(node, kind, first)(*args, **told)
            if recurs and self._compensate:
                rescaling = keras.layers.Rescaling(1.0 / self._initial_factor(self._gate(first)))
                result = keras.tree.map_structure(rescaling, result)
        else:
            result, rest = self._called(node, args, kwargs), places
        for place in rest:
            gate = self._gate(place)
            # What comes into a whole layer is what its sum reads beside its branch.
            comes_in = None if place.carrier is None else call_of(history_of(args[0])).input_tensors[place.carrier]
            if comes_in is not None:
                result = keras.layers.Subtract(name=self._beside(place, "change"))([result, comes_in])
            result = gate(result, **self._feeds(place, tensor))
            if self._compensate:
                result = keras.layers.Rescaling(1.0 / self._initial_factor(gate))(result)
            if comes_in is not None:
                result = keras.layers.Add(name=self._beside(place, "changed"))([comes_in, result])
                self.added[history_of(result).operation.name] = node.name
        return result

    def _beside(self, place: Place, word: str) -> str:
        name = f"{place.layer.replace('/', '_')}_{word}"
        return self.unused(name, name)

    def _called(self, node: Any, args: Any, kwargs: Any) -> Any:
        if self._copy_weights:
            return self.call(node, args, kwargs)
        # Operators have no weights; of one in a nested model that is called twice two are needed.
        return (self.copy(node) if node.layer is None else node.op)(*args, **kwargs)

    def _fits_inside(self, node: Node, place: Place) -> bool:
        """Whether the gate can be a part of the layer: the layer's in every call, and no other's.

        Keras saves a layer inside of several others as if it were several.
        """
        calls = {n.index for n in self._network.nodes if n.op is node.op}
        of_gate = {p.node.index for each in self._places.values() for p in each if p.key == place.key}
        # A batch normalisation that is told to train would tell its gate.
        told = isinstance(anatomy_of(node.op), BatchNormalizationAnatomy) and any(
            trains(n) for n in self._network.nodes if n.index in calls
        )
        return place.axis is not None and calls == of_gate and not told

    def _zero_stays_zero(self, layer: Any) -> bool:
        """Whether a gate in front of the layer's activation leaves zeros behind it."""
        return activations.zero_stays(getattr(layer, "activation", None))

    def _with_gate(self, node: Any, kind: Any, place: Place) -> Any:
        layer = self.made(node)
        if layer is not None:
            return layer
        gate = self._gate(place)
        config = dict(config_of(node.op), gate=gate)
        paths = anatomy_of(node.op).axes(node.op)
        values = {path: np.asarray(ops.convert_to_numpy(variable_of(node.op, path))) for path in paths}
        values = by_attribute(node.op, values)
        if self._compensate:
            factor = self._initial_factor(gate)
            names = ("kernel", "bias", "gamma", "beta", "cell.recurrent_kernel")
            for name in ("_output_dense.kernel",) if place.kind == "heads" else names:
                if name in values:
                    values[name] = values[name] / factor
            if kind is GatedBatchNormalization and "gamma" not in values:
                values["moving_variance"] = (values["moving_variance"] + node.op.epsilon) * factor**2 - node.op.epsilon
                for name in {"moving_stddev", "renorm_stddev"} & set(values):
                    values[name] = values[name] * factor
        return self.make(node, kind, config, values)

    def _initial_factor(self, gate: Gate) -> float:
        """The gate's inference value at the start."""
        start = ops.full((1,), gate.initial_value(), dtype="float32")
        factor = float(ops.convert_to_numpy(gate.test_gates_from(start))[0])
        if not factor > 0.0:
            raise ValueError(
                "`compensate` needs gates that start open. Received: "
                f"initial_open_probability={gate.initial_open_probability}, for which the gates are closed at inference"
            )
        return factor
