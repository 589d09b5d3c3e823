"""One call that gates a whole network."""

import keras
import numpy as np
from keras import ops

from tfgates import gates as gate_methods
from tfgates.gates.arguments import check_choice
from tfgates.graph.copier import Copier, input_names, own_names
from tfgates.graph.network import Network, rebuild
from tfgates.graph.rules import activations
from tfgates.layers import GatedBatchNormalization, GatedConv2D, GatedDense, GateGenerator, GateNoise
from tfgates.models.blocks import block_places, proven_blocks
from tfgates.models.check import check_gated
from tfgates.models.gated_model import GatedModel
from tfgates.models.placement import Report, flat_places, proven, unit_places

RESIDUAL = ("inner", "tied", "block")

# The layer that carries a gate inside, for each plain layer that has one.
WITH_GATE = {
    keras.layers.BatchNormalization: GatedBatchNormalization,
    keras.layers.Conv2D: GatedConv2D,
    keras.layers.Dense: GatedDense,
}


def gate_model(
    model,
    gate="hard_concrete",
    layers=None,
    residual="inner",
    flattened=False,
    generator=None,
    penalty=None,
    budget=None,
    copy_weights=True,
    compensate=False,
    verbose=0,
    **gate_arguments,
):
    """Gates a network: puts a gate wherever what it closes can later be removed exactly.

    A gate goes behind each convolution's batch normalisation (or the convolution) and behind each
    hidden dense layer, where a walk over the graph proves that closed units can be cut out
    without changing the outputs; never on the outputs. With one draw per batch the gates sit
    inside of `GatedBatchNormalization`, `GatedConv2D` and `GatedDense` and cost next to nothing.

    Args:
        model: a Sequential or Functional `keras.Model`, nested models and shared layers included.
            It is left untouched. Nested models are laid out flat.
        gate: a gate, its name, or its config; one like it is made for each place. Defaults to
            `"hard_concrete"`.
        layers: which layers to gate: None (all), a regular expression for their names, a list
            of names, or a function of the layer. Defaults to None.
        residual: `"inner"`: channels inside of residual branches only; `"tied"`: in addition one gate
            for all layers that add into the same residual stream, with one draw; `"block"`: one
            gate for each residual branch as a whole. Or a tuple of these. Defaults to `"inner"`.
        flattened: bool, whether to gate also the single positions of feature maps that are flattened
            in front of a dense layer, as L0-HC and L0-ARM do: the dense layer then reads a choice of
            them. Saves parameters above all. Defaults to False.
        generator: None, `"forward"` or `"backward"`: a `tfgates.layers.GateGenerator` in that order
            makes the logits of all gates (Dep-L0). Defaults to None.
        penalty: see `GatedModel`.
        budget: a `tfgates.Budget`, see `GatedModel`.
        copy_weights: bool. True: the result has weights of its own, equal to the original's.
            False: it uses the layers of `model` itself, so that training trains both, and gates
            stand behind them. Defaults to True.
        compensate: bool. True: divides the gated layers' weights by the initial inference value
            of their gates, so that the gated network computes at inference what `model` does.
            Needs `copy_weights`. Defaults to False.
        verbose: 1 prints what was gated, and what was skipped and why. Defaults to 0.
        **gate_arguments: arguments of the gate when `gate` is a name, such as
            `initial_open_probability=0.9`.

    Returns:
        A `GatedModel`; its attribute `report` says what was gated, and what was skipped and why.

    Raises:
        ValueError: for a subclassed model, for names in `layers` that it has not, where no layer can be
            gated, and for a layer that cannot be copied.
        GatingError: if the gated network with its gates open does not compute what `model` does (with
            `compensate`: as it is). Two random examples are compared where they can be made up.

    Example:

    >>> model = keras.applications.ResNet50(weights=None, classes=10, input_shape=(64, 64, 3))
    >>> gated = tfgates.gate_model(model, gate="hard_concrete")
    """
    kinds = (residual,) if isinstance(residual, str) else tuple(residual)
    for kind in kinds:
        check_choice("residual", kind, RESIDUAL)
    if not kinds:
        raise ValueError(f"`residual` must name one of {list(RESIDUAL)} or several. Received: residual={residual}")
    if generator is not None:
        check_choice("generator", generator, ("forward", "backward"))
    if compensate and not copy_weights:
        raise ValueError("`compensate` changes weights, so it needs `copy_weights=True`. Received: copy_weights=False")
    network, report = Network(model), Report()
    if isinstance(layers, (list, tuple, set)) and all(isinstance(name, str) for name in layers):
        unknown = sorted(set(layers) - {node.op.name for node in network.nodes})
        if unknown:
            raise ValueError(f"`layers` must name layers of the model. Received, and not found: {unknown}")
    places = []
    if "inner" in kinds or "tied" in kinds:
        tied = "tied" in kinds
        places = proven(network, unit_places(network, layers, report), report, tied)
        more = unit_places(network, layers, report, places, depthwise=True)
        places = proven(network, places + more, report, tied) if more else places
    if flattened:
        places = proven(network, places + flat_places(network, layers), report, tied=False)
    if "block" in kinds:
        places += proven_blocks(network, block_places(network, layers, report), report)
    if not places:
        raise ValueError(f"`model` has no layer that can be gated.\n{report}\nReceived: model={model.name!r}")
    for place in places:
        what = "the whole branch" if place.axis is None else f"{place.units} {'groups' if place.groups else 'units'}"
        shared = " (one gate for the residual stream)" if place.key[0] == "tied" else ""
        report.gated.append((place.layer, what + shared))
    builder = GatedBuilder(network, places, gate, gate_arguments, generator, copy_weights, compensate)
    inputs, outputs = rebuild(network, builder.emit)
    gated = GatedModel(inputs, outputs, name=model.name, penalty=penalty, budget=budget)
    builder.finish()
    check_gated(network, gated, () if compensate else builder.gates)
    gated.report = report
    if verbose:
        print(report)
    return gated


class GatedBuilder(Copier):
    """Rebuilds a network with gates at the given places."""

    instead = ", or use the layers of the model itself by `copy_weights=False`"

    def __init__(self, network, places, gate, gate_arguments, generator, copy_weights, compensate):
        super().__init__(taken=input_names(network) if copy_weights else own_names(network))
        self._network = network
        self._places = {}
        for place in places:
            self._places.setdefault(place.node.index, []).append(place)
        self._identifier, self._arguments = gate, gate_arguments
        self._copy_weights, self._compensate = copy_weights, compensate
        if gate_arguments and not isinstance(gate, str):
            raise ValueError(
                "Arguments of the gate can be given only when `gate` is a name. "
                f"Received: {', '.join(sorted(gate_arguments))} beside {gate!r}"
            )
        self._gates, self._noise = {}, {}
        keys = [place.key for place in places]
        # Several calls of one gate share one draw.
        self._tied = {key for key in keys if keys.count(key) > 1}
        self._order = list(dict.fromkeys(p.key for p in places))
        self._units = {p.key: p.units for p in places}
        # Places come kind by kind; a generator goes through the network.
        self._chain = list(dict.fromkeys(p.key for p in sorted(places, key=lambda p: p.node.index)))
        self._generator = generator
        self._logits = None

    @property
    def gates(self):
        """The gates that were made."""
        return list(self._gates.values())

    def _gate(self, place):
        """The gate of a place, made at first use."""
        if place.key not in self._gates:
            self._gates[place.key] = self._new_gate(place)
        return self._gates[place.key]

    def _new_gate(self, place):
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
            # Each gate draws its own noise.
            seed=None if seed is None else seed + index,
        )
        new = type(gate).from_config(config)
        new.weights_per_unit = place.weights
        return new

    def _gate_name(self, place):
        name = f"{place.layer.replace('/', '_')}_gate"
        return self.unused(name, name)

    def _feeds(self, place, tensor):
        """Keyword arguments for the call of the gate: generated logits, shared noise."""
        feeds = {}
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
                self._noise[place.key] = layer(next(iter(self._inputs_of(tensor))))
            feeds["noise"] = self._noise[place.key]
        return feeds

    def _inputs_of(self, tensor):
        """The model inputs that a tensor is made from; any will do to hang generators on."""
        stack = [tensor]
        while stack:
            current = stack.pop()
            history = current._keras_history
            node = history.operation._inbound_nodes[history.node_index]
            if node.is_input:
                yield current
            stack.extend(node.input_tensors)

    def emit(self, node, args, kwargs):
        places = self._places.get(node.index, [])
        if not places:
            return self._same(node)(*args, **kwargs)
        (first, *rest) = places
        kind = WITH_GATE.get(type(node.op)) if self._copy_weights and self._fits_inside(node, first) else None
        tensor = next(t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor))
        if kind is not None and self._zero_stays_zero(node.op):
            feeds = self._feeds(first, tensor)
            result = self._with_gate(node, kind, first)(*args, **kwargs, **feeds)
        else:
            result, rest = self._same(node)(*args, **kwargs), places
        for place in rest:
            gate = self._gate(place)
            result = gate(result, **self._feeds(place, tensor))
            if self._compensate:
                result = keras.layers.Rescaling(1.0 / self._initial_factor(gate))(result)
        return result

    def _same(self, node):
        # Operators have no weights; of one in a nested model that is called twice two are needed.
        return self.copy(node) if self._copy_weights or node.layer is None else node.op

    def _fits_inside(self, node, place):
        """Whether the gate can be a part of the layer: the layer's in every call, and no other's.

        Keras saves a layer inside of several others as if it were several.
        """
        calls = {n.index for n in self._network.nodes if n.op is node.op}
        of_gate = {p.node.index for each in self._places.values() for p in each if p.key == place.key}
        return place.axis is not None and calls == of_gate

    def _zero_stays_zero(self, layer):
        """Whether a gate in front of the layer's activation leaves zeros behind it."""
        activation = getattr(layer, "activation", None)
        return float(activations.through(activation, np.zeros(1))[0]) == 0.0

    def _with_gate(self, node, kind, place):
        layer = self.made(node)
        if layer is not None:
            return layer
        gate = self._gate(place)
        config = dict(node.op.get_config(), gate=gate)
        weights = {v: getattr(node.op, v) for v in WEIGHTS[kind] if getattr(node.op, v, None) is not None}
        values = {name: np.asarray(ops.convert_to_numpy(v)) for name, v in weights.items()}
        if self._compensate:
            factor = self._initial_factor(gate)
            for name in ("kernel", "bias", "gamma", "beta"):
                if name in values:
                    values[name] = values[name] / factor
            if kind is GatedBatchNormalization and "gamma" not in values:
                values["moving_variance"] = (values["moving_variance"] + node.op.epsilon) * factor**2 - node.op.epsilon
        return self.make(node, kind, config, values)

    def _initial_factor(self, gate):
        """The gate's inference value at the start."""
        start = ops.full((1,), gate.initial_value(), dtype="float32")
        factor = float(ops.convert_to_numpy(gate.test_gates_from(start))[0])
        if not factor > 0.0:
            raise ValueError(
                "`compensate` needs gates that start open. Received: "
                f"initial_open_probability={gate.initial_open_probability}, for which the gates are closed at inference"
            )
        return factor


WEIGHTS = {
    GatedBatchNormalization: ("gamma", "beta", "moving_mean", "moving_variance"),
    GatedConv2D: ("kernel", "bias"),
    GatedDense: ("kernel", "bias"),
}
