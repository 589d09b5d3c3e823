"""One way to finish: from a trained network with gates to a plain one that is ready for use."""

import functools
from typing import Any

import keras

from tfgates.compression.statistics import reestimate_statistics
from tfgates.pruning.prune import prune, pruned_beside
from tfgates.training.batches import first_inputs
from tfgates.unknown import arguments_of, check_known


def finish(
    model: Any, data: Any, batch_size: int = 128, steps: int = 100, verbose: int = 0, **arguments: Any
) -> keras.Model:
    """Prunes a trained network to its budget, re-estimates batch-norm averages, and compiles the result.

    It runs `tfgates.prune`, then `tfgates.reestimate_statistics`. While gates trained, the averages of batch
    normalisation followed all states of the gates; those of the one remaining state can be far from them. The
    result is compiled as `model` is: loss, metrics, weighted metrics, and a fresh optimizer of the same kind and
    settings as that of the weights; a schedule begins again. Evaluate it, save it, or compile it with a rate that
    now falls to 0 and train it further.

    Args:
        model: a `tfgates.GatedModel`, or whatever `tfgates.prune` takes; it is left untouched.
        data: training data for the averages: a `tf.data.Dataset` of batches `(x, ...)`, or a tuple of arrays. Where no
            random `inputs` for `prune` can be made up, its first batch is used instead.
        batch_size, steps, verbose: see `tfgates.reestimate_statistics`.
        **arguments: further arguments of `tfgates.prune`, such as `round_to`.

    Returns:
        A plain `keras.Model`. If `model` is compiled with an optimizer or a metric that cannot be made again from its
        config, the result is not compiled, and a `tfgates.GatesWarning` says so.

    Raises:
        TypeError: for an argument that neither function has.
        ValueError: for what `prune` and `reestimate_statistics` refuse.

    Example:

    >>> gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.4))
    >>> gated.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> gated.fit(x, y, epochs=30)
    >>> small = tfgates.finish(gated, (x, y))
    >>> small.evaluate(x_test, y_test)
    """
    check_known("finish", arguments, [*arguments_of(finish), *arguments_of(prune)])
    small = pruned_beside(model, functools.partial(first_inputs, data, batch_size), **arguments)
    reestimate_statistics(small, data, batch_size, steps, verbose=verbose)
    return small
