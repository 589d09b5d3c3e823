"""Importing without a backend, and what depends on it."""

import contextlib
import os
import subprocess
import sys

import keras
import pytest

import tfgates
from tfgates.backend import array, full_precision

BARRED = """
import sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {0!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Barred())
import tfgates
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_backend_that_is_not_installed_is_named(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    run = subprocess.run(
        [sys.executable, "-c", BARRED.format(backend)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode and f"Keras that asks for {backend}, which is not installed" in run.stderr
    assert f'"pip install {backend}"' in run.stderr


def precision():
    """How products of float32 are rounded, as the backend in use says it."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.config.jax_default_matmul_precision
    if backend == "torch":
        import torch

        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    import tensorflow as tf

    return tf.config.experimental.tensor_float_32_execution_enabled()


FULL = {"jax": "highest", "torch": ("highest", False), "tensorflow": False}


@keras.saving.register_keras_serializable(package="tests")
class Asked(keras.layers.Layer):
    """Notes the precision that it is called with."""

    seen: list = []  # Copies of the layer note it in the same list.

    def call(self, x):
        with contextlib.suppress(Exception):
            # Not where it is only traced.
            array(x)
            self.seen.append(precision())
        return x + 0.0


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    if keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    Asked.seen.clear()
    before = precision()
    yield before
    assert precision() == before


def test_networks_are_compared_in_full_precision(as_on_an_accelerator):
    """On accelerators products are rounded to a thousandth by default, and `prune` called that a bug."""
    full = FULL[keras.backend.backend()]
    inputs = keras.Input((4,))
    x = Asked()(keras.layers.Dense(6, activation="relu")(inputs))
    gated = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)))
    seen = len(Asked.seen)
    assert seen and set(Asked.seen) == {full} != {as_on_an_accelerator}
    gated.gates[0].logits.assign([-9.0, 9.0, 9.0, -9.0, 9.0, 9.0])
    tfgates.prune(gated)
    assert len(Asked.seen) > seen and set(Asked.seen) == {full}


def test_precision_is_as_before_after_an_error(as_on_an_accelerator):
    with pytest.raises(ZeroDivisionError), full_precision():
        assert precision() == FULL[keras.backend.backend()]
        raise ZeroDivisionError
