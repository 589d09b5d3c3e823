"""How many steps a training run will have."""

import math
from collections.abc import Mapping
from typing import Any

from tfgates.graph.examples import in_parts


def steps_of(arguments: Mapping[str, Any]) -> int | None:
    """Number of training steps of a call of `fit`, or None if it cannot be told.

    Args:
        arguments: dict of the call's arguments by name.
    """
    epochs = arguments.get("epochs", 1) - arguments.get("initial_epoch", 0)
    steps = arguments.get("steps_per_epoch")
    if steps is None:
        share = 1.0 - (arguments.get("validation_split") or 0.0)
        steps = steps_per_epoch(arguments.get("x"), arguments.get("batch_size") or 32, share)
    return None if steps is None or epochs < 1 else max(1, steps) * epochs


def steps_per_epoch(data: Any, batch_size: int, share: float = 1.0) -> int | None:
    """Number of batches in arrays (batched by `batch_size`) or in a data set, or None.

    Args:
        share: share of the examples that is used, for arrays.
    """
    if hasattr(data, "cardinality"):
        # Of what `tf.distribute` makes it is a number.
        steps = int(data.cardinality() if callable(data.cardinality) else data.cardinality)
        # -1 is infinite; an unknown cardinality is counted once, which reads the data.
        return steps if steps > 0 else None if steps == -1 else sum(1 for _ in data)
    if hasattr(data, "num_batches"):
        return data.num_batches
    while isinstance(data, (tuple, list, dict)) and len(data):
        data = next(iter(data.values())) if isinstance(data, dict) else data[0]
    if getattr(data, "shape", None):
        return math.ceil(int(data.shape[0] * share) / batch_size)
    if isinstance(data, (str, tuple, list, dict)):
        return None
    try:
        # A loader of PyTorch, say, which has no length where its data have none.
        return len(data)
    except TypeError:
        return None


def example_of(data: Any) -> Any:
    """Something of the shapes and types of what a model reads of its training data: a few examples, a spec, or None."""
    if isinstance(data, (tuple, list)):
        return next(in_parts(data[0]))
    spec = getattr(data, "element_spec", None)
    return spec[0] if isinstance(spec, tuple) else spec
