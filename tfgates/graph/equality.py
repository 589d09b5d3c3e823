"""Do two models compute the same?"""

import contextlib
import dataclasses

import numpy as np
from keras import ops, tree


@dataclasses.dataclass
class Difference:
    """An output in which two models differ.

    Attributes:
        output: its name.
        size: the largest difference.
        scale: the largest magnitude in it.
        tolerance: the fraction of `scale` that was allowed.
    """

    output: str
    size: float
    scale: float
    tolerance: float

    def __str__(self):
        return (
            f"differs by {self.size:.3g} where the largest output is {self.scale:.3g}, "
            f"more than the tolerance of {self.tolerance:.3g}"
        )


def is_half(model):
    """Whether a layer computes in half precision."""
    return any(
        getattr(layer, "compute_dtype", "float32") in ("float16", "bfloat16")
        for layer in model._flatten_layers(include_self=False)
    )


def default_tolerance(model):
    """How far outputs may differ by rounding, as a fraction of the largest."""
    return 2e-2 if is_half(model) else 1e-4


def first_difference(expected, model, x, tolerance):
    """The first output of a model on `x` that differs from what is expected, a `Difference`, or None."""
    for name, a, b in zip(model.output_names, expected, outputs_of(model, x), strict=True):
        scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
        size = distance(a, b)
        if not size <= tolerance * max(scale, 1e-6):
            return Difference(name, size, scale, tolerance)
    return None


def distance(a, b):
    """The largest difference between two arrays; nan equals nan, and infinity itself."""
    if a.shape != b.shape:
        return float("nan")
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.max(apart, initial=0.0))


def is_random(model, x):
    """Whether a model gives other outputs when it is called again."""
    with state_kept(model):
        first, second = (flat_outputs(model, x) for _ in range(2))
    return any(distance(a, b) > 0.0 or np.isnan(distance(a, b)) for a, b in zip(first, second, strict=True))


def amplified(model, x, expected, difference):
    """Whether a difference is what a model makes of rounding: of such a change of its input."""
    # A millionth, or what bfloat16 can tell apart.
    change = 4e-3 if is_half(model) else 1e-6

    def moved(value):
        return value * (1.0 + change) if "float" in str(value.dtype) else value

    found = outputs_of(model, tree.map_structure(moved, x))
    names = zip(model.output_names, expected, found, strict=True)
    return any(name == difference.output and difference.size <= 10.0 * distance(a, b) for name, a, b in names)


def outputs_of(model, x):
    """The outputs at inference as a list of float32 arrays; the model is left as it was."""
    with state_kept(model):
        return flat_outputs(model, x)


def flat_outputs(model, x):
    flat = tree.flatten(model(x, training=False))
    return [np.asarray(ops.convert_to_numpy(ops.cast(y, "float32"))) for y in flat]


@contextlib.contextmanager
def state_kept(model):
    """Puts back what calls change in a model: seeds, averages and states of layers told to train."""
    before = [(v, np.array(ops.convert_to_numpy(v))) for v in model.non_trainable_variables]
    try:
        yield
    finally:
        for variable, value in before:
            if not np.array_equal(np.asarray(ops.convert_to_numpy(variable)), value):
                variable.assign(value)
