"""Trying whether a declaration is true."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep, positions, take
from tfgates.anatomy.base import Anatomy, variable_of
from tfgates.anatomy.registry import anatomy_of
from tfgates.backend import full_precision

# Functions of a model and one of its layers that count the multiply-accumulates of its call, or return None; what
# traces calls is built on anatomies, and puts itself here.
TRACERS: list[Callable[[keras.Model, keras.Layer], float | None]] = []


def check_anatomy(layer: keras.Layer, *inputs: Any, seed: int = 0, tolerance: float = 1e-4) -> None:
    """Cuts a layer at random as its anatomy says, and compares the smaller layer with the original.

    For this, the layer has random weights, and those of the removed units are 0; afterwards it is as it was.

    Args:
        layer: a layer with an anatomy, its own or that of its class.
        *inputs: arrays to call it on.
        seed: int, of the random numbers.
        tolerance: float, the largest difference allowed, as a fraction of the largest output.

    Raises:
        ValueError: if no anatomy is declared; if it does not name all of the weights; if the smaller layer cannot be
            made, computes something else or has a different number of parameters than the anatomy says; or if a call
            has a different number of multiply-accumulates.
    """
    anatomy = anatomy_of(layer)
    if anatomy is None:
        raise ValueError(f"`layer` must have an anatomy. Received: layer={layer!r}")
    generator = np.random.default_rng(seed)
    layer(*inputs)
    check_named(anatomy, layer)
    keep = random_choice(anatomy, layer, generator)
    cut, zeroed = [*inputs], [*inputs]
    for i, kind in enumerate([*anatomy.reads.values()][: len(inputs)]):
        cut[i] = cut_along(anatomy, layer, np.asarray(inputs[i]), kind, keep)
        zeroed[i] = zero_along(anatomy, layer, np.asarray(inputs[i]), kind, keep)
    with random_weights(layer, generator), full_precision():
        for path, axes in anatomy.kept(layer, keep).items():
            variable = variable_of(layer, path)
            variable.assign(zeroed_beside(as_array(variable), axes))
        expected = as_array(layer(*zeroed))
        try:
            smaller = smaller_layer(anatomy, layer, keep, cut)
        except Exception as error:
            # Keras complains of the first array that does not fit.
            raise ValueError(
                f"{type(anatomy).__name__} does not fit: no smaller layer can be made with `widths` in its config and "
                "the weights cut along the axes of `variables`. "
                f"Received: widths={dict(anatomy.widths)!r}, variables={dict(anatomy.variables)!r}, "
                f"{type(error).__name__}: {error}"
            ) from error
        found = as_array(smaller(*cut))
    expected = cut_along(anatomy, layer, expected, anatomy.makes, keep)
    name = type(anatomy).__name__
    if expected.shape != found.shape:
        raise ValueError(
            f"{name} does not fit: the smaller layer makes another shape. Received: {found.shape}, not {expected.shape}"
        )
    difference = float(np.max(np.abs(expected - found))) / max(float(np.max(np.abs(expected))), 1e-6)
    if not difference <= tolerance:
        raise ValueError(
            f"{name} does not fit: the smaller layer computes something else. "
            f"Received: {layer!r}, a difference of {difference:.2g} of the largest output"
        )
    counts = {kind: int(left.sum()) for kind, left in keep.items()}
    if anatomy.parameters(layer, counts) != smaller.count_params():
        raise ValueError(
            f"{name} does not fit: the smaller layer has another number of parameters. "
            f"Received: {smaller.count_params()}, not {anatomy.parameters(layer, counts)}"
        )
    check_macs(anatomy, layer, inputs)


def check_macs(anatomy: Anatomy, layer: keras.Layer, inputs: Sequence[Any]) -> None:
    """Raises a `ValueError` where tracing a call counts other multiply-accumulates than `products` say.

    Layers of Keras are left out: a convolution whose dilation does not divide its input is computed on a padded one.
    """
    if type(layer).__module__.partition(".")[0] == "keras":
        return
    specs = [keras.Input(batch_shape=(None, *np.shape(x)[1:]), dtype=np.asarray(x).dtype.name) for x in inputs]
    outputs = layer(*specs)
    counted = [count(keras.Model(specs, outputs), layer) for count in TRACERS]
    traced = next((count for count in counted if count is not None), None)
    if traced is None:
        return
    shapes = dict(zip(anatomy.reads, [spec.shape for spec in specs], strict=False))
    shapes["outputs"] = keras.tree.flatten(outputs)[0].shape
    places = {}
    for name, shape in shapes.items():
        axis = anatomy.channel_axis(layer, len(shape)) % len(shape)
        places[name] = float(np.prod([size for i, size in enumerate(shape) if i not in (0, axis)]))
    declared = anatomy.macs(layer, places)
    if np.isfinite(declared) and abs(traced - declared) > 1e-3 * max(traced, declared):
        raise ValueError(
            f"`products` of {type(anatomy).__name__} must name each variable whose entries multiply a number at each "
            f"place, those inside too, and `applied` what those places are. Received: products={anatomy.products!r}, "
            f"which make {declared:,.0f} multiply-accumulates of one example, where a call makes {traced:,.0f}"
        )


def check_named(anatomy: Anatomy, layer: keras.Layer) -> None:
    """Raises a `ValueError` for weights that an anatomy does not name."""
    named = {id(variable_of(layer, path)) for path in anatomy.axes(layer)}
    missing = [weight.path for weight in layer.weights if id(weight) not in named]
    if missing:
        raise ValueError(
            f"`variables` of {type(anatomy).__name__} must name all the weights of {layer.name!r}. "
            f"Received: nothing of {missing}"
        )


def random_choice(anatomy: Anatomy, layer: keras.Layer, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """For each kind of units which of them stay: at least one, and not all where there are several."""
    keep, parts = {}, anatomy.parts(layer)
    whole = random_booleans(parts, generator)
    for kind, count in anatomy.counts(layer).items():
        by_part = parts > 1 and kind in (*anatomy.reads.values(), anatomy.makes)
        keep[kind] = np.repeat(whole, count // parts) if by_part else random_booleans(count, generator)
    return keep


def random_booleans(count: int, generator: np.random.Generator) -> np.ndarray:
    keep = generator.random(count) < 0.5
    keep[generator.integers(count)] = True
    if count > 1 and keep.all():
        keep[generator.integers(count)] = False
    return keep


def cut_along(anatomy: Anatomy, layer: Any, value: np.ndarray, kind: str, keep: Keep) -> np.ndarray:
    """What is left of a tensor along the axis of its channels."""
    axis = anatomy.channel_axis(layer, value.ndim)
    indices = positions(kind, value.shape[axis], keep)
    return value if indices is None else take(value, {axis: indices})


def zero_along(anatomy: Anatomy, layer: Any, value: np.ndarray, kind: str, keep: Keep) -> np.ndarray:
    """A tensor with zeros in the channels that go."""
    axis = anatomy.channel_axis(layer, value.ndim)
    indices = positions(kind, value.shape[axis], keep)
    return value if indices is None else zeroed_beside(value, {axis: indices})


def zeroed_beside(value: np.ndarray, kept: Mapping[int, np.ndarray]) -> np.ndarray:
    """An array with zeros in what `take` leaves out."""
    mask = np.ones(value.shape, bool)
    for axis, indices in kept.items():
        shape = [-1 if i == axis else 1 for i in range(value.ndim)]
        mask &= np.isin(np.arange(value.shape[axis]), indices).reshape(shape)
    return np.where(mask, value, 0).astype(value.dtype)


@contextlib.contextmanager
def random_weights(layer: keras.Layer, generator: np.random.Generator) -> Iterator[None]:
    """Random numbers in the weights of a layer for a while; positive where a square root is taken of them."""
    before = [as_array(weight) for weight in layer.weights]
    try:
        for weight in layer.weights:
            value = 0.5 * generator.normal(size=weight.shape)
            positive = any(word in weight.name for word in ("variance", "stddev"))
            weight.assign(np.abs(value) + 0.5 if positive else value)
        yield
    finally:
        for weight, value in zip(layer.weights, before, strict=True):
            weight.assign(value)


def smaller_layer(anatomy: Anatomy, layer: keras.Layer, keep: Keep, inputs: Any) -> keras.Layer:
    """The layer that is left, called on `inputs` once."""
    config = anatomy.plain(layer).get_config(layer)
    anatomy.resize(layer, config, keep)
    if isinstance(config.get("activation"), dict):
        # Of a layer it says for how many channels it was built.
        config["activation"].pop("build_config", None)
    smaller = anatomy.plain(layer).from_config(config)
    smaller(*inputs)
    for path, axes in anatomy.kept(layer, keep).items():
        variable_of(smaller, path).assign(take(as_array(variable_of(layer, path)), axes))
    return smaller


def as_array(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))
