"""Averages of batch normalisation that fit the gates of inference, and what pruning leaves."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tfgates.anatomy.normalization import keeps_averages
from tfgates.gates import gates_of
from tfgates.graph.equality import state_kept
from tfgates.graph.kept import values_kept
from tfgates.keras_internals import layers_within
from tfgates.pruning.plan import PruningPlan
from tfgates.selection import held
from tfgates.training.batches import batches_of, check_data, in_tuple
from tfgates.training.steps import steps_per_epoch


def reestimate_statistics(
    model: Any,
    data: Any,
    batch_size: int = 128,
    steps: int = 100,
    min_units: int = 0,
    round_to: int = 1,
    verbose: Any = 0,
) -> int:
    """Estimates the averages of batch normalisation anew, for the units that remain.

    While gates train, each batch is normalised under random gates, and the moving averages follow all
    of them; inference uses other values of the gates. This function gathers the averages again, over `steps`
    batches in training mode with the gates at their inference values (those that pruning would
    leave, if the model has a budget). Each average becomes the mean over the batches, weighted by
    their sizes. Nothing else in the model changes, and nothing at all if the function fails.

    Args:
        model: a `keras.Model`, with gates or pruned.
        data: a `tf.data.Dataset` of batches `x` or `(x, ...)`, or arrays, `x` or a tuple `(x, ...)`. Of arrays a
            fixed random selection is used.
        batch_size: int, for arrays. Defaults to 128.
        steps: int > 0, the largest number of batches. Defaults to 100.
        min_units, round_to: see `tfgates.prune`, where the model has a budget.
        verbose: 0 (silent) or 1 (a progress bar). Defaults to 0.

    Returns:
        The number of layers whose averages were estimated. Frozen layers keep theirs, and so does batch
        renormalisation (`renorm=True`): it normalises by its averages in training too, so the weights were trained
        for them.

    Raises:
        ValueError: if `steps` or `batch_size` is not positive, or `data` is something else or has no batch.

    Reference: Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV
    2020, arXiv 1904.00420, section 3.4.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}")
    data = in_tuple(data)
    check_data(data, model)
    moving = [layer for layer in layers_within(model, include_self=False) if keeps_averages(layer) and layer.trainable]
    layers = [layer for layer in moving if is_reestimated(layer)]
    if not layers:
        return 0
    gates = {gate: ops.convert_to_numpy(gate.test_gates()) for gate in gates_of(model)}
    chosen = PruningPlan(model, min_units, round_to).selection.values if getattr(model, "budget", None) else {}
    with held({**gates, **chosen}), state_kept(model), contextlib.ExitStack() as stack:
        # `SpectralNormalization` sets the weights in training.
        stack.enter_context(values_kept(model.trainable_variables))
        means = [stack.enter_context(_gathered(layer)) for layer in layers]
        for layer in moving:
            if layer not in layers:
                stack.enter_context(_at_inference(layer))
        progress = stack.enter_context(_progress(data, batch_size, steps, verbose))
        for x, *_ in batches_of(data, batch_size, steps):
            # That of `keras.Model`: a gated one would take notes for a training step.
            keras.Model.__call__(model, x, training=True)
            progress()
    if not any(mean.weight for mean in means):
        raise ValueError("`data` must have at least one batch. Received: none")
    for mean in means:
        mean.assign()
    return len(layers)


class _Mean:
    """The mean of a layer's averages over all its calls, weighted by their numbers of examples."""

    def __init__(self, layer: Any) -> None:
        self.averages = [layer.moving_mean, layer.moving_variance]
        self.sums, self.weight = [0.0, 0.0], 0

    def add(self, examples: int) -> None:
        self.sums = [s + examples * ops.convert_to_numpy(v) for s, v in zip(self.sums, self.averages, strict=True)]
        self.weight += examples

    def assign(self) -> None:
        for variable, total in zip(self.averages, self.sums, strict=True):
            if self.weight:
                variable.assign(total / self.weight)


@contextlib.contextmanager
def _progress(data: Any, batch_size: int, steps: int, verbose: Any) -> Iterator[Callable[[], Any]]:
    """A function that tells of one more batch."""
    if not verbose:
        yield lambda: None
        return
    print("Gathering averages of batch normalisation", flush=True)
    batches = steps_per_epoch(data, batch_size)
    bar = keras.utils.Progbar(steps if batches is None else min(steps, batches), unit_name="batch")
    yield lambda: bar.add(1)


def is_reestimated(layer: Any) -> bool:
    """Whether a layer has averages that `reestimate_statistics` gathers again."""
    return keeps_averages(layer) and layer.trainable and not getattr(layer, "renorm", False)


@contextlib.contextmanager
def _at_inference(layer: Any) -> Iterator[None]:
    """Within it each call is one at inference: in training its averages would move while others gather theirs."""
    call = layer.call

    def infer(inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        return call(inputs, training=False, **kwargs)

    layer.call = infer
    try:
        yield
    finally:
        # What is left is the method of its class.
        del layer.call


@contextlib.contextmanager
def _gathered(layer: Any) -> Iterator[_Mean]:
    """Within it each call leaves the statistics of its batch alone, which are gathered in a `_Mean`."""
    mean, momentum, call = _Mean(layer), layer.momentum, layer.call

    def gather(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(inputs, *args, **kwargs)
        mean.add(inputs.shape[0])
        return outputs

    layer.momentum, layer.call = 0.0, gather
    try:
        yield mean
    finally:
        layer.momentum = momentum
        # What is left is the method of its class.
        del layer.call
