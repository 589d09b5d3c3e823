"""What a gate without a variable of its own asks for its values."""

from typing import Any


class LogitsSource:
    """A layer whose outputs are the logits of gates: the base of `tfgates.layers.GateGenerator`."""

    def generate(self) -> list[Any]:
        """The current logits, one float32 tensor of shape `(units,)` for each gate."""
        raise NotImplementedError(f"{type(self).__name__} must override `generate`.")
