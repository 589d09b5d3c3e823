"""Initial weights drawn by NumPy in tests on JAX, which else compiles half a second for each shape that it draws."""

import functools
from typing import Any

import keras
import numpy as np

KINDS = ("VarianceScaling", "RandomUniform", "RandomNormal", "TruncatedNormal")


def initial_weights_by_numpy() -> None:
    """Makes Keras's initialisers draw so with JAX, from the same seeds; compiled functions draw as they did."""
    for name in KINDS:
        kind = getattr(keras.initializers, name)
        kind.__call__ = drawn(kind.__call__)


def drawn(call: Any) -> Any:
    """The call of an initialiser in which NumPy draws in the place of the functions of JAX."""
    import jax

    @functools.wraps(call)
    def initial(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = {name: getattr(jax.random, name) for name in DRAWS}
        for name in DRAWS:
            setattr(jax.random, name, functools.partial(draw, name, own[name]))
        try:
            return call(self, *args, **kwargs)
        finally:
            for name, function in own.items():
                setattr(jax.random, name, function)

    return initial


def draw(name: str, own: Any, key: Any, *, shape: Any, dtype: Any, **limits: float) -> Any:
    """What `jax.random.NAME` draws, of the same distribution."""
    import jax

    if isinstance(key, jax.core.Tracer):
        return own(key, shape=shape, dtype=dtype, **limits)
    generator = np.random.default_rng(np.asarray(key).ravel())
    return jax.device_put(DRAWS[name](generator, shape, **limits).astype(dtype))


def uniform(generator: np.random.Generator, shape: Any, minval: float = 0.0, maxval: float = 1.0) -> np.ndarray:
    return np.asarray(generator.uniform(float(minval), float(maxval), shape))


def normal(generator: np.random.Generator, shape: Any) -> np.ndarray:
    return np.asarray(generator.normal(size=shape))


def truncated_normal(generator: np.random.Generator, shape: Any, lower: float, upper: float) -> np.ndarray:
    values = np.asarray(generator.normal(size=shape))
    while (outside := (values < lower) | (values > upper)).any():
        values = np.where(outside, generator.normal(size=shape), values)
    return values


DRAWS: dict[str, Any] = {"uniform": uniform, "normal": normal, "truncated_normal": truncated_normal}
