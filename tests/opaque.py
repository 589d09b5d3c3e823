"""Layers that cannot be followed, for tests of what happens to these."""

from typing import Any

import keras


def needs_values(x: Any) -> Any:
    """`x`, where code asks for its value: tfgates, which calls layers on symbolic tensors, cannot go on there."""
    if isinstance(x, keras.KerasTensor):
        raise TypeError("what a tensor holds is asked for")
    return x
