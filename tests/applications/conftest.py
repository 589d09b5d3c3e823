"""What the tests of the papers' networks share."""

import keras
import pytest


@pytest.fixture
def no_initial_weights(monkeypatch):
    """All kernels begin with the same number: no test that asks for it depends on them, and drawing takes long."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: keras.ops.full(shape, 0.01, dtype),
    )
