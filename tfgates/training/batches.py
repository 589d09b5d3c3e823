"""Data sets and arrays as batches."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


def in_tuple(data: Any) -> Any:
    """`(x,)` for an array, or a dict of arrays for the inputs by name, that came alone; all else as it is."""
    alone = isinstance(data, dict) or (getattr(data, "shape", None) and not isinstance(data, (tuple, list)))
    return (data,) if alone else data


def check_data(data: Any, model: Any = None) -> None:
    """Raises a `ValueError` unless `data` is a data set of batches or a tuple of arrays.

    Args:
        model: the model that is to be called on it, or None; a data set of single examples is known by its inputs.
    """
    if isinstance(data, (tuple, list)):
        inputs = keras.tree.flatten(data[0]) if data else []
        wrong = not inputs or any(not getattr(x, "shape", None) for x in inputs)
    else:
        # An array would give rows in place of batches.
        wrong = hasattr(data, "shape") or (not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"))
    if wrong:
        raise ValueError(
            "`data` must be a data set of batches `(x, ...)`, or a tuple of arrays `(x, ...)`. "
            f"Received: data={type(data).__name__}"
        )
    spec = getattr(data, "element_spec", None)
    inputs = getattr(model, "inputs", None)
    given: list[Any] = [
        getattr(x, "shape", None) for x in keras.tree.flatten(spec[0] if isinstance(spec, tuple) else spec)
    ]
    if not inputs or any(shape is None or shape.rank is None for shape in given):
        return
    wanted = [tensor.shape for tensor in keras.tree.flatten(inputs)]
    # Of a batch of numbers Keras makes one of vectors of one number. Those by name may come in another order.
    if any(shape[-1] == 1 for shape in wanted):
        return
    if sorted(len(shape) + 1 for shape in given) == sorted(map(len, wanted)):
        raise ValueError(
            "`data` must be a data set of batches, and is one of single examples: give `data.batch(...)`. "
            f"Received: elements of shape {', '.join(str(tuple(shape)) for shape in given)} for inputs of shape "
            f"{', '.join(map(str, wanted))}"
        )


def check_targets(data: Any, loss: Any, name: str = "data") -> None:
    """Raises a `ValueError` if a loss is asked for and `data` has nothing to compare the outputs with.

    Args:
        name: the argument by which it was given.
    """
    if loss is None:
        return
    if isinstance(data, keras.utils.PyDataset):
        if not data.num_batches:
            # What holds nothing is refused elsewhere.
            return
        parts = data[0]
    else:
        parts = getattr(data, "element_spec", data)
    if isinstance(parts, (tuple, list)):
        if len(parts) > 1 and parts[1] is not None:
            return
        received = f"{type(data).__name__} of {len(parts)}" + (", the second of them None" if len(parts) > 1 else "")
    elif hasattr(parts, "shape") or isinstance(parts, dict):
        received = f"{type(data).__name__} that is no tuple, taken for x alone"
    else:
        # What is no data at all is refused elsewhere.
        return
    raise ValueError(
        f"`{name}` must have targets for `loss`: a data set of batches `(x, y)` or `(x, y, sample_weight)`, or a tuple "
        f"of arrays like these. Received: {name}={received}"
    )


def batches_of(data: Any, batch_size: int, steps: int) -> Iterator[tuple[Any, ...]]:
    """At most `steps` batches `(x, ...)`; of arrays a fixed random choice."""
    if isinstance(data, (tuple, list)):
        given = tuple(part for part in data if part is not None)
        examples = keras.tree.flatten(given[0])[0].shape[0]
        order = np.random.default_rng(0).permutation(examples)[: steps * batch_size]
        for start in range(0, len(order), batch_size):
            part = np.sort(order[start : start + batch_size])
            yield keras.tree.map_structure(lambda a, part=part: np.asarray(a)[part], given)
        return
    if isinstance(data, keras.utils.PyDataset):
        # As a plain sequence it has no end.
        data = map(data.__getitem__, range(data.num_batches))
    for _, batch in zip(range(steps), data, strict=False):
        yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def first_inputs(data: Any, batch_size: int) -> Any:
    """What a model reads of a batch of its training data: of the first, or one of arrays."""
    return next(batches_of(in_tuple(data), batch_size, 1))[0]
