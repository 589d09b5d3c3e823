"""Do two models compute the same, called as they will be?"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.anatomy.weightless import noise_attributes
from tfgates.backend import full_precision, noise_from, unkept_noise
from tfgates.gates import Gate
from tfgates.graph.kept import values_kept
from tfgates.graph.state import states_of
from tfgates.keras_internals import computing_in_float32, layers_within

# How a model is called at inference: as `predict` and `evaluate` do it, and as a SavedModel and users do.
CALLS: tuple[dict[str, Any], ...] = ({"training": False}, {})


def called(call: dict[str, Any]) -> str:
    """How a model was called, for a message."""
    return "" if call else ", where the models are called without `training`"


@dataclasses.dataclass
class Difference:
    """An output in which two models differ.

    Attributes:
        output: its name.
        place: its place among the outputs.
        size: the largest difference.
        scale: the largest magnitude in it.
        tolerance: the fraction of `scale` that was allowed.
    """

    output: str
    place: int
    size: float
    scale: float
    tolerance: float

    def __str__(self) -> str:
        return (
            f"differs by {self.size:.3g} where the largest output is {self.scale:.3g}, "
            f"more than the tolerance of {self.tolerance:.3g}"
        )


HALF = ("float16", "bfloat16")
# What rounding to a dtype changes of a number at most, twice over; in float32 that of some sums.
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-10, "float32": 2.0**-20}


def is_half(model: keras.Model) -> bool:
    """Whether a layer computes in half precision."""
    return any(getattr(layer, "compute_dtype", "float32") in HALF for layer in layers_within(model, include_self=False))


def default_tolerance(model: keras.Model) -> float:
    """How far outputs may differ by rounding, as a fraction of the largest."""
    return 2e-2 if is_half(model) else 1e-4


def first_difference(
    expected: list[np.ndarray], model: keras.Model, x: Any, tolerance: float, call: dict[str, Any] = CALLS[0]
) -> Difference | None:
    """The first output of a model on `x` that differs from what is expected, a `Difference`, or None."""
    # Only of graphs: a Sequential and a subclass have no names.
    names = model.output_names
    for place, (a, b) in enumerate(zip(expected, outputs_of(model, x, call), strict=True)):
        scale, size = scale_of(a), distance(a, b)
        if not size <= tolerance * max(scale, 1e-6):
            return Difference(names[place], place, size, scale, tolerance)
    return None


def scale_of(a: np.ndarray) -> float:
    """The largest magnitude in an array, of what is finite."""
    return float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference between two arrays; nan equals nan, and infinity itself."""
    if a.shape != b.shape:
        return float("nan")
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.max(apart, initial=0.0))


def is_random(model: keras.Model, x: Any, call: dict[str, Any] = CALLS[0]) -> bool:
    """Whether a model gives other outputs when it is called again with the same seeds."""
    first, second = (outputs_of(model, x, call) for _ in range(2))
    return any(distance(a, b) > 0.0 or np.isnan(distance(a, b)) for a, b in zip(first, second, strict=True))


def amplified(
    model: keras.Model, x: Any, expected: list[np.ndarray], difference: Difference, call: dict[str, Any] = CALLS[0]
) -> bool:
    """Whether a difference is what a model makes of rounding: of such a change of its input."""
    # A millionth, or what bfloat16 can tell apart.
    change = 4e-3 if is_half(model) else 1e-6

    def moved(value: Any) -> Any:
        return value * (1.0 + change) if "float" in str(value.dtype) else value

    found = outputs_of(model, tree.map_structure(moved, x), call)
    return difference.size <= 10.0 * distance(expected[difference.place], found[difference.place])


def agree_but_for_rounding(model: keras.Model, other: keras.Model, x: Any, call: dict[str, Any] = CALLS[0]) -> bool:
    """Whether two models differ by no more than rounding does.

    Where outputs are small beside the sums that they come of, rounding is a large part of them, in each model another
    one: to half precision soon, to float32 where little is left. So the models may differ by 1e-4 of the largest
    output, or by twice what a rounding of all weights makes of it, which are rounded when factors and constants are
    folded into them. Layers in half precision compute in float32 meanwhile. Where one cannot, the same is asked of the
    outputs in half precision, with a rounding to that.
    """
    layers = {id(layer): layer for each in (model, other) for layer in layers_within(each)}.values()
    halves = [layer for layer in layers if layer.compute_dtype in HALF and layer.quantization_mode is None]
    # In float32 no more than this: what jumps, such as a sign, may do so for a rounding of its weights.
    most = math.inf if halves else 3e-3
    try:
        with computing_in_float32(halves):
            return _agree_as_rounded(model, other, x, call, most)
    except Exception:
        # Layers of one's own may insist on the dtype that they were made with.
        least = max((ROUNDING[layer.compute_dtype] for layer in halves), default=0.0)
        return _agree_as_rounded(model, other, x, call, most, least)


def _agree_as_rounded(
    model: keras.Model, other: keras.Model, x: Any, call: dict[str, Any], most: float, least: float = 0.0
) -> bool:
    """Whether each output differs by no more than rounded weights make of it.

    Args:
        most: the largest difference in any case, as a share of the largest output.
        least: by which share all weights are rounded, if not by that of their dtype.
    """
    expected, found = (outputs_of(each, x, call) for each in (model, other))
    moved = [0.0] * len(expected)
    for seed in range(3):
        near = _with_rounded_weights(model, x, call, least, np.random.default_rng(seed))
        apart = [distance(a, b) for a, b in zip(expected, near, strict=True)]
        # An output that is infinite with one of the two says nothing of how far others may be.
        moved = [max(a, b) if np.isfinite(b) else a for a, b in zip(moved, apart, strict=True)]
    for a, b, rounded in zip(expected, found, moved, strict=True):
        scale = max(scale_of(a), 1e-6)
        if not distance(a, b) <= max(1e-4 * scale, min(2.0 * rounded, most * scale)):
            return False
    return True


def _with_rounded_weights(
    model: keras.Model, x: Any, call: dict[str, Any], least: float, generator: np.random.Generator
) -> list[np.ndarray]:
    """The outputs where all weights are wrong by as much as rounding makes them, each up or down."""
    # A gate that is about to close would close.
    left_out = {id(v) for layer in layers_within(model) if isinstance(layer, Gate) for v in layer.variables}
    floats = [v for v in model.variables if "float" in keras.backend.standardize_dtype(v.dtype)]
    weights = [v for v in floats if id(v) not in left_out]
    with values_kept(weights):
        for variable in weights:
            share = max(least, ROUNDING.get(keras.backend.standardize_dtype(variable.dtype), ROUNDING["float32"]))
            change = share * generator.choice([-1.0, 1.0], variable.shape)
            variable.assign(ops.cast(variable, "float32") * (1.0 + change.astype("float32")))
        return outputs_of(model, x, call)


def outputs_of(model: keras.Model, x: Any, call: dict[str, Any] = CALLS[0]) -> list[np.ndarray]:
    """The outputs as a list of float32 arrays, gates as they stand and noise as `without_noise` has it.

    Args:
        model: the model; it is left as it was.
        x: what it is called on.
        call: keyword arguments of the call, one of `CALLS`.
    """
    with state_kept(model), without_noise(model), full_precision():
        flat = tree.flatten(model(x, **call))
    return [np.asarray(ops.convert_to_numpy(ops.cast(y, "float32"))) for y in flat]


@contextlib.contextmanager
def state_kept(model: Any) -> Iterator[None]:
    """Puts back what calls change in a model: seeds, averages and states of layers told to train.

    With PyTorch its own generator too, from which dropout without a seed draws.
    """
    states = [state for layer in layers_within(model) for state in states_of(layer)]
    with values_kept([*model.non_trainable_variables, *states]), noise_from(unkept_noise()):
        yield


@contextlib.contextmanager
def without_noise(model: keras.Model) -> Iterator[None]:
    """Lets a model that is random at inference be compared with a smaller one.

    Gates have their values at inference, Keras's dropout and noise do nothing, since what they draw for fewer channels
    are other numbers, and all else that draws from a `keras.random.SeedGenerator` draws from the same seed.
    """
    with contextlib.ExitStack() as stack:
        for layer in layers_within(model):
            if isinstance(layer, Gate):
                stack.enter_context(layer.held(layer.test_gates()))
            for name in noise_attributes(layer):
                stack.callback(setattr, layer, name, getattr(layer, name))
                setattr(layer, name, 0.0)
        for variable in model.non_trainable_variables:
            if variable.name == "seed_generator_state":
                variable.assign(ops.ones(variable.shape, variable.dtype))
        yield
