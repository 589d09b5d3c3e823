"""One call that gates a whole network."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfgates import gates
from tfgates.constraints import Budget
from tfgates.costs.remainder import BudgetError
from tfgates.gates.arguments import check_choice
from tfgates.gating.blocks import block_places, proven_blocks
from tfgates.gating.check import check_gated
from tfgates.gating.gated_builder import GatedBuilder
from tfgates.gating.heads import head_places
from tfgates.gating.likely import likely_candidates
from tfgates.gating.origins import origins_of
from tfgates.gating.placement import Place, candidates_of, flat_places, unit_places
from tfgates.gating.proof import proven
from tfgates.gating.report import complete, skipped_by_name
from tfgates.gating.subclasses import carry_over, gated_class
from tfgates.gating.written_out import carried_by, has_written_out, places_written_out
from tfgates.graph.configs import is_foreign
from tfgates.graph.copier import copy_of
from tfgates.graph.lengths import length_of, shapes_of
from tfgates.graph.network import Network
from tfgates.graph.original import original_from, set_original
from tfgates.graph.rebuild import rebuild
from tfgates.graph.unrolling import calls_forgotten
from tfgates.graph.walk import symbolic_walk
from tfgates.selection.target_shape import BRANCH
from tfgates.training.gated_model import GatedModel
from tfgates.training.report import Report
from tfgates.unknown import arguments_of, check_known

RESIDUAL = ("inner", "tied", "block")

# Arguments of gates that follow from where a gate stands, and those of any layer that mean nothing here.
SET_HERE = ("axis", "groups", "name", "activity_regularizer", "autocast", "dtype", "trainable")


def gate_model(
    model: Any,
    gate: Any = "hard_concrete",
    layers: Any = None,
    residual: str | tuple[str, ...] = "inner",
    flattened: bool = False,
    generator: Any = None,
    penalty: Mapping[str, float] | None = None,
    budget: Budget | Sequence[Budget] | None = None,
    copy_weights: bool = True,
    compensate: bool = False,
    verbose: int = 0,
    inputs: Any = None,
    length: int | Mapping[str, Any] | None = None,
    **gate_arguments: Any,
) -> GatedModel:
    """Gates a network: puts a gate wherever what it closes can later be removed exactly.

    A gate goes behind each convolution's batch normalisation (or the convolution), behind each hidden dense
    layer, and on the heads of each attention layer, where a walk over the graph proves that closed units can be cut out
    without changing the outputs, whatever weights training leaves; never on the outputs. With one
    draw per batch the gates sit inside of `GatedBatchNormalization`, `GatedConv2D`, `GatedDense` and
    `GatedMultiHeadAttention` and cost next to nothing. Those on the hidden units of LSTM, GRU and SimpleRNN are inside
    of `GatedLSTM` and the like, where the recurrence sees them (`tfgates.layers.GatedRecurrent`).

    Args:
        model: a Sequential or Functional `keras.Model`, nested models and shared layers included, or a
            subclassed one whose `call` can be followed.
            It is left untouched. Nested models are laid out flat, and so are layers that call other layers
            (a block of a transformer, `Bidirectional`) where the calls are proven to compute what the layer
            does, at inference and in training; the report lists those that stay whole, with the reason.
            `GatedModel.layers_of` finds the layers of a nested model again.
            What is frozen stays frozen, down to parts of layers and single variables. Layers that share
            weights with others stay whole, and their copies share them too.
        gate: a gate, its name, or its config; one like it is made for each place. Defaults to
            `"hard_concrete"`.
        layers: which layers to gate: None (all), a regular expression for their names, a list
            of names, or a function of the layer. Defaults to None.
        residual: `"inner"`: channels inside of residual branches only; `"tied"`: in addition one gate
            for all layers that add into the same residual stream, with one draw; `"block"`: one
            gate for each residual branch as a whole. Or a tuple of these. Defaults to `"inner"`; where nothing
            can be gated inside of branches, streams are, as with `"tied"`.
        flattened: bool, whether to gate also the single positions of feature maps that are flattened
            in front of a dense layer, as L0-HC and L0-ARM do: the dense layer then reads a choice of
            them. Saves parameters above all. Defaults to False.
        generator: None, `"forward"` or `"backward"`: a `tfgates.layers.GateGenerator` in that order
            makes the logits of all gates (Dep-L0). Defaults to None.
        penalty: see `GatedModel`.
        budget: a `tfgates.Budget`, see `GatedModel`. Without a budget, a penalty or an `l0` nothing asks
            the gates to close.
        copy_weights: bool. True: the result has weights of its own, equal to the original's.
            False: it uses the layers of `model` itself, so that training trains both, and gates
            stand behind them; pruning copies them, so that what cannot be copied is refused here too.
            Layers that cannot be copied and have no weights are used again as they are in both cases.
            Defaults to True.
        compensate: bool. True: divides the gated layers' weights by the initial inference value
            of their gates, so that the gated network computes at inference what `model` does.
            Needs `copy_weights`. Defaults to False.
        verbose: 1 prints what was gated, and what was skipped and why. Defaults to 0.
        inputs: an example batch for a subclassed model, arrays in the structure that its `call` takes:
            shapes and types are taken from it. The gated network is compared on it too. Defaults to None: what
            the model was built for, float32.
        length: int, how long sequences are where the inputs leave it open, or a dict from the names of inputs to their
            shapes without the batch: what budgets and costs count for, since the MACs of attention grow with the
            square of it. Defaults to None: the sizes of `inputs`.
        **gate_arguments: arguments of the gate when `gate` is a name, such as
            `initial_open_probability=0.9`.

    Returns:
        A `GatedModel`; its attribute `report` says what was gated, and what was skipped and why;
        it is saved with the model. Where the class of `model` says itself how it is trained (`train_step`,
        `compute_loss`, `fit` and the like), the result is an instance of that class too: its methods run in
        the gated model, with what the model holds beside its graph (`tfgates.gating.subclasses.carry_over`).

    Raises:
        TypeError: for an argument that neither `gate_model` nor the gate has.
        ValueError: for a subclassed model that cannot be followed, for names in `layers` that it has not,
            where no layer can be gated, for a layer that cannot be copied, and where the outputs are random
            at inference with the same seeds too (naming the layers): `prune` could not compare them.
        GatingError: if the gated network with its gates open does not compute what `model` does (with
            `compensate`: as it is). Two random examples are compared where they can be made up.

    Example:

    >>> model = keras.applications.ResNet50(weights=None, classes=10, input_shape=(64, 64, 3))
    >>> gated = tfgates.gate_model(model, gate="hard_concrete", budget=tfgates.Budget(macs=0.4))
    >>> gated.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> gated.fit(x, y, epochs=30)
    >>> small = tfgates.prune(gated)
    """
    check_arguments("gate_model", gate_model, gate, gate_arguments)
    kinds = (residual,) if isinstance(residual, str) else tuple(residual)
    for kind in kinds:
        check_choice("residual", kind, RESIDUAL)
    if not kinds:
        raise ValueError(f"`residual` must name one of {list(RESIDUAL)} or several. Received: residual={residual}")
    if generator is not None:
        check_choice("generator", generator, ("forward", "backward"))
    if compensate and not copy_weights:
        raise ValueError("`compensate` changes weights, so it needs `copy_weights=True`. Received: copy_weights=False")
    gated, _, _ = gate_network(
        Network(model, inputs),
        kinds,
        gate,
        gate_arguments,
        layers=layers,
        flattened=flattened,
        generator=generator,
        penalty=penalty,
        budget=budget,
        copy_weights=copy_weights,
        compensate=compensate,
        keep_class=True,
        example=inputs,
        length=length,
    )
    if verbose:
        print(gated.report)
    return gated


def word_for(place: Place) -> str:
    """What the units of a place are called."""
    if place.word or place.kind != "outputs":
        return place.word or place.kind
    return "groups" if place.groups else "units"


def check_arguments(name: str, function: Any, gate: Any, gate_arguments: dict[str, Any]) -> None:
    """Raises a `TypeError` for further arguments of a call of `function` that no gate has."""
    own = arguments_of(function)
    kinds: list[Any] = [gates.NAMES[gate]] if isinstance(gate, str) and gate in gates.NAMES else [*gates.NAMES.values()]
    of_gates = [each for kind in kinds for each in arguments_of(kind) if each not in SET_HERE]
    check_known(name, gate_arguments, [*own, *of_gates])


def no_inside(gate: Any, gate_arguments: dict[str, Any], copy_weights: bool) -> str:
    """Why gates cannot be inside of recurrent layers, or nothing."""
    if not copy_weights:
        return "`copy_weights=False` uses the layers as they are"
    made = gates.get(gate, **(gate_arguments if isinstance(gate, str) else {}))
    return "one recurrent kernel serves all examples: `sampling` must be 'batch'" if made.sampling == "example" else ""


def gate_network(
    network: Network,
    residual: tuple[str, ...],
    gate: Any = "hard_concrete",
    gate_arguments: dict[str, Any] | None = None,
    layers: Any = None,
    flattened: bool = False,
    generator: str | None = None,
    penalty: Any = None,
    budget: Any = None,
    copy_weights: bool = True,
    compensate: bool = False,
    keep_class: bool = False,
    example: Any = None,
    length: Any = None,
) -> tuple[Any, list[Place], dict[Any, Any]]:
    """The work of `gate_model`.

    Args:
        keep_class: bool, whether the result is trained by the methods of the model's class, if it has own ones.
        example: what to compare the gated network on, beside random numbers.

    Returns:
        The gated model, the places of its gates, and the gates by the keys of their places.
    """
    model, report = network.model, Report()
    if not copy_weights and any(node.layer is not None and is_foreign(node.op) for node in network.nodes):
        # Pruning will copy them: what cannot be copied is refused before it is trained.
        with calls_forgotten(model):
            check_gated(network, copy_of(network))
    own_class: Any = type(model)
    kind = gated_class(own_class) if keep_class else GatedModel
    if isinstance(layers, (list, tuple, set)) and all(isinstance(name, str) for name in layers):
        unknown = sorted(set(layers) - {node.op.name for node in network.nodes})
        if unknown:
            raise ValueError(f"`layers` must name layers of the model. Received, and not found: {unknown}")
    places = []
    of_blocks = Report()
    blocks = block_places(network, layers, of_blocks) if "block" in residual else []
    if "inner" in residual or "tied" in residual:
        tied = "tied" in residual
        why = no_inside(gate, gate_arguments or {}, copy_weights)
        likely = candidates_of(blocks)
        if not has_written_out(network):
            # All gates at once: what follows for fewer of them follows from this one walk.
            heads = head_places(network, layers, Report(), copy_weights)
            likely |= likely_candidates(network, layers, heads, tied, why)
        walk = symbolic_walk(network, likely)
        first = head_places(network, layers, report, copy_weights, walk) + places_written_out(network, layers, report)
        # Of these nothing is reported: what they would have closed gets gates of its own.
        first = proven(network, first, Report(), tied=False) if any(place.word for place in first) else first
        carried = carried_by(network, first)
        likely = likely_candidates(network, layers, first, tied, why, carried)
        units = unit_places(network, layers, report, likely, no_inside=why, carried=carried)
        places = proven(network, first + units, report, tied)
        more = unit_places(network, layers, report, candidates_of(places), depthwise=True)
        places = proven(network, places + more, report, tied) if more else places
    if flattened:
        places = proven(network, places + flat_places(network, layers, places), report, tied=False)
    if "block" in residual:
        report.skipped.extend(of_blocks.skipped)
        places += proven_blocks(network, blocks, report)
    complete(report, network, places, candidates_of(places))
    if not places and "inner" in residual and "tied" not in residual:
        # Nothing but streams is there.
        return gate_network(
            network,
            (*residual, "tied"),
            gate,
            gate_arguments,
            layers,
            flattened,
            generator,
            penalty,
            budget,
            copy_weights,
            compensate,
            keep_class,
            example,
            length,
        )
    if not places:
        raise ValueError(f"`model` has no layer that can be gated.\n{report}\nReceived: model={model.name!r}")
    for place in places:
        what = "the whole branch" if place.axis is None else f"{place.units} {word_for(place)}"
        shared = " (one gate for the residual stream)" if place.key[0] == "tied" else ""
        report.gated.append((place.layer, what + shared))
    builder = GatedBuilder(network, places, gate, gate_arguments or {}, generator, copy_weights, compensate)
    inputs, outputs = rebuild(network, builder.emit)
    sizes = length or length_of(model) or shapes_of(network.functional.inputs, example)
    try:
        gated = kind(inputs, outputs, name=model.name, penalty=penalty, budget=budget, length=sizes)
    except BudgetError as error:
        raise error.explained(skipped_by_name(network, report, builder.successor)) from None
    builder.finish()
    carry_over(network, gated, builder.successor)
    check_gated(network, gated, () if compensate else builder.gates, example)
    gated.report = report
    gated._origins = origins_of(network, builder.successor)
    original = original_from(network, builder.successor)
    if original is not None:
        for place in places:
            word = BRANCH if place.axis is None else word_for(place)
            original.places.setdefault(builder.gates_by_key[place.key].name, []).append((place.layer, word))
        set_original(gated, original)
    return gated, places, builder.gates_by_key
