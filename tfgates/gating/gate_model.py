"""One call that gates a whole network."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfgates import gates
from tfgates.constraints import Budget
from tfgates.gates.arguments import check_choice
from tfgates.gating.gate_network import gate_network
from tfgates.graph.network import Network
from tfgates.training.gated_model import GatedModel
from tfgates.unknown import arguments_of, check_known

RESIDUAL = ("inner", "tied", "block", "layer")

# Arguments of gates that follow from where a gate stands, and those of any layer that mean nothing here.
SET_HERE = ("axis", "groups", "interleaved", "name", "activity_regularizer", "autocast", "dtype", "trainable")


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

    Gates go after the batch normalisation of each convolution (or after the convolution itself, where there is none),
    after each hidden dense layer, and on the heads of each attention layer. A gate is placed only where a walk over
    the graph proves that closed units can be cut out without changing the outputs, whatever weights training ends
    with. The outputs of the model never get a gate. With one draw per batch, the gates sit inside
    `GatedBatchNormalization`, `GatedConv2D`, `GatedDense` and `GatedMultiHeadAttention` and cost next to nothing.
    Gates on the hidden units of LSTM, GRU and SimpleRNN are inside `GatedLSTM` and the like, where the recurrence
    sees them (`tfgates.layers.GatedRecurrent`).

    Args:
        model: a Sequential or Functional `keras.Model`, nested models and shared layers included, or a
            subclassed one whose `call` can be followed.
            It is left untouched. Nested models are laid out flat. So are layers that call other layers
            (a block of a transformer, `Bidirectional`), where the calls are proven to compute what the layer
            does, at inference and in training; the report lists those that stay whole, with the reason.
            Weights that a `call` uses directly become `tfgates.layers.Weight`; the pruned model of such a network
            needs tfgates to be loaded.
            `GatedModel.layers_of` finds the layers of a nested model again.
            What is frozen stays frozen, down to parts of layers and single variables. Layers that share
            weights with others stay whole, and their copies share them too.
        gate: a gate, its name, or its config; a new gate like it is made for each place. Defaults to
            `"hard_concrete"`.
        layers: which layers to gate: None (all), a regular expression that matches their whole names, a list
            of names, or a function of the layer. Defaults to None.
        residual: `"inner"`: only channels inside residual branches; `"tied"`: in addition one gate, with one draw,
            for all layers that add into the same residual stream; `"block"`: one gate for each residual branch as a
            whole; `"layer"`: the same, and where the sum `x + branch(x)` is normalised, as in BERT, one gate on both
            together, `x + z * (normalised(x + branch(x)) - x)`: when it closes, the normalisation goes too.
            Or a tuple of these (`"layer"` takes precedence over `"block"`). Defaults to `"inner"`. With `"inner"`,
            streams get gates too, as with `"tied"`, where gates inside branches reach less than 80 % of the MACs that
            they would reach together with gates on streams (checked only where the whole network is gated,
            `layers=None`), and where there would be no gate at all.
        flattened: bool, whether to gate also the single positions of feature maps that are flattened
            before a dense layer, as L0-HC and L0-ARM do: the dense layer then reads a selection of
            them. This mainly saves parameters. Defaults to False.
        generator: None, `"forward"` or `"backward"`: a `tfgates.layers.GateGenerator` in that order
            makes the logits of all gates (Dep-L0). Defaults to None.
        penalty: see `GatedModel`.
        budget: a `tfgates.Budget`, see `GatedModel`. Without a budget, a penalty or an `l0`, nothing makes
            the gates close.
        copy_weights: bool. True: the result has its own weights, equal to the original's.
            False: it uses the layers of `model` itself, so training it trains both, and the gates are
            placed after these layers. Pruning copies them, so a layer that cannot be copied is refused here too.
            Layers that cannot be copied and have no weights are reused as they are in both cases.
            Defaults to True.
        compensate: bool. True: divides the gated layers' weights by the initial inference value
            of their gates, so that the gated network computes at inference what `model` does.
            Needs `copy_weights`. Defaults to False.
        verbose: 1 prints what was gated, and what was skipped and why. Defaults to 0.
        inputs: an example batch for a subclassed model, arrays in the structure that its `call` takes.
            Shapes and types are taken from it, and the gated network is compared on it too. A `GatesWarning` asks for
            it where inputs have open sizes and no one size suits all layers. Defaults to None: what the model was
            built for, float32.
        length: int, the length of sequences where the inputs leave it open, or a dict from the names of inputs to their
            shapes without the batch. Budgets and costs are counted for this length, since the MACs of attention grow
            with its square. Defaults to None: the sizes of `inputs`.
        **gate_arguments: arguments of the gate when `gate` is a name, such as
            `initial_open_probability=0.9`.

    Returns:
        A `GatedModel`. Its attribute `report` says what was gated, and what was skipped and why;
        it is saved with the model. Where the class of `model` itself defines how it is trained (`train_step`,
        `compute_loss`, `fit` and the like), the result is an instance of that class too: its methods run in
        the gated model, with what the model holds besides its graph (`tfgates.gating.subclasses.carry_over`).

    Raises:
        TypeError: for an argument that neither `gate_model` nor the gate has.
        ValueError: for a subclassed model that cannot be followed; for names in `layers` that the model does not have;
            where no layer can be gated; for a layer that cannot be copied; and where the outputs are random
            at inference even with the same seeds (the message names the layers): `prune` could not compare them.
        GatingError: if the gated network with its gates open does not compute what `model` does (with
            `compensate`: with its gates as they are). Two random examples are compared where they can be made up.

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


def check_arguments(name: str, function: Any, gate: Any, gate_arguments: dict[str, Any]) -> None:
    """Raises a `TypeError` for further arguments of a call of `function` that no gate has."""
    own = arguments_of(function)
    kinds: list[Any] = [gates.NAMES[gate]] if isinstance(gate, str) and gate in gates.NAMES else [*gates.NAMES.values()]
    of_gates = [each for kind in kinds for each in arguments_of(kind) if each not in SET_HERE]
    check_known(name, gate_arguments, [*own, *of_gates])
