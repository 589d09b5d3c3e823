"""Removing what is closed, and proving the result equal."""

import warnings

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph.network import Network, rebuild
from tfgates.graph.rule import rule_for
from tfgates.pruning.landing import held
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.surgery import Surgery, closed_layer


class PruningError(RuntimeError):
    """The pruned network does not compute what the original does: a bug, never returned as a result."""


def prune(model, min_units=0, round_to=1, inputs=None, tolerance=None, plan=None):
    """Removes everything that is closed and returns a plain Keras model with equal outputs.

    Channels that are closed by gates, or exactly zero for any other reason, are taken out of all
    layers that carry them; constants that they leave behind are folded into biases where that is
    exact; gates' factors go into the weights; branches that are closed vanish with their addition.
    A model with a budget lands at or below it, see `plan_pruning`.
    What cannot go without changing the outputs stays, and `plan_pruning` says why. The result has
    no layer of tfgates. `model` is left untouched.

    Args:
        model: a Sequential or Functional `keras.Model`.
        min_units, round_to: see `tfgates.plan_pruning`.
        inputs: optional data to compare the outputs on, beside random numbers.
        tolerance: float, the largest difference allowed, as a fraction of the largest output.
            Defaults to 1e-4 (2e-2 where a layer computes in half precision).
        plan: a `PruningPlan` for this very model, to save making it again.

    Returns:
        A functional `keras.Model` of the same name, with the names, dtype policies and trainable
        flags of the layers that are left; compiled with the same loss and metrics and a fresh
        optimiser if `model` is compiled with a plain one of Keras. A `train_step` of a subclass does
        not come along.

    Raises:
        ClosedLayerError: a `ValueError`, if nothing would be left of a layer that is needed.
        ValueError: if the model is no graph of layers.
        PruningError: if the outputs differ by more than `tolerance`.
    """
    if plan is None:
        plan = PruningPlan(model, min_units, round_to)
    elif plan.model is not model:
        raise ValueError(
            f"`plan` must be made for this model. Received: a plan for {plan.model.name!r}, model {model.name!r}"
        )
    if plan.empty:
        raise closed_layer(plan.empty[0])
    surgery = Surgery(plan.walk, plan.keep, plan.used)

    def emit(node, args, kwargs):
        return rule_for(node.op).emit(surgery, node, args, kwargs)

    new_inputs, new_outputs = rebuild(plan.network, emit, plan.used)
    pruned = keras.Model(new_inputs, new_outputs, name=model.name)
    surgery.finish()
    with held(plan.landing):
        check_equal(model, pruned, inputs, tolerance)
    compile_like(pruned, model)
    return pruned


def random_inputs(network, seed=0):
    """Two examples for each input of a network, numbers or, for integer inputs, valid indices."""
    rng = np.random.default_rng(seed)
    inputs = []
    for number in network.inputs:
        shape = network.shapes[number]
        shape = (shape[0] or 2, *(32 if size is None else size for size in shape[1:]))
        if "int" in network.dtypes[number]:
            limits = [node.op.input_dim for node in network.consumers[number] if hasattr(node.op, "input_dim")]
            inputs.append(rng.integers(0, min(limits, default=2), shape).astype(network.dtypes[number]))
        else:
            inputs.append(rng.standard_normal(shape).astype("float32"))
    return inputs


def check_equal(model, pruned, inputs=None, tolerance=None):
    """Raises a `PruningError` unless both models give the same outputs at inference."""
    network = Network(model)
    if tolerance is None:
        half = any(
            getattr(layer, "compute_dtype", "float32") in ("float16", "bfloat16")
            for layer in model._flatten_layers(include_self=False)
        )
        tolerance = 2e-2 if half else 1e-4
    structure = network.functional._inputs_struct
    candidates = [tree.pack_sequence_as(structure, random_inputs(network))]
    if inputs is not None:
        candidates.append(inputs)
    for x in candidates:
        for name, a, b in zip(
            pruned.output_names,
            tree.flatten(model(x, training=False)),
            tree.flatten(pruned(x, training=False)),
            strict=True,
        ):
            a, b = (np.asarray(ops.convert_to_numpy(ops.cast(v, "float32"))) for v in (a, b))
            difference, scale = float(np.max(np.abs(a - b), initial=0.0)), float(np.max(np.abs(a), initial=0.0))
            if not difference <= tolerance * max(scale, 1e-6):
                raise PruningError(
                    f"Output {name!r} of the pruned network differs by {difference:.3g} where the largest "
                    f"output is {scale:.3g}, more than the tolerance of {tolerance:.3g}. This is a bug in "
                    "tfgates, or in a rule that was registered: nothing was changed."
                )


def compile_like(pruned, model):
    """Compiles with the loss and metrics of `model` and a fresh optimiser of the same settings."""
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        return
    if isinstance(optimizer, (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer)):
        return
    if type(optimizer).__module__.partition(".")[0] == "tfgates":
        # What is saved with it would need tfgates to load.
        return
    try:
        with warnings.catch_warnings():
            # What Keras warns of, a lambda among the losses, is refused below.
            warnings.simplefilter("ignore")
            config = model.get_compile_config()
        fresh = type(optimizer).from_config(optimizer.get_config())
        settings = keras.saving.deserialize_keras_object(config)
        settings["optimizer"] = fresh
        pruned.compile(**settings)
    except (TypeError, ValueError, AttributeError):
        # A loss or metric that cannot be written down can only be given again by the user.
        return
