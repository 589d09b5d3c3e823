"""What gates that are exactly 0 or 1 while training have in common, however their gradient is found."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfgates.gates import links
from tfgates.gates.arguments import INITIAL_OPEN_PROBABILITY, check_choice, check_probability
from tfgates.gates.base import Gate


class BinaryGate(Gate):
    """`z ~ Bernoulli(g(logits))` while training; a subclass says what its gradient is, in `sample_from`.

    Args:
        link: `"sigmoid"`, `"hard_sigmoid"` or a non-decreasing callable of keras.ops from logits to
            probabilities. Defaults to `"sigmoid"`.
        slope: float > 0, k of the paper, for the two named links. Defaults to 7.
        threshold: float in (0, 1), tau of the paper: at inference a unit is open iff `p > threshold`. Defaults to 0.5.
        test_gate: `"soft"`, an open unit is then p, or `"hard"`, 1. Defaults to `"soft"`.
        axis, groups, sampling, l0, initial_open_probability, seed: see `tfgates.gates.Gate`.
    """

    closed_below = 0.01

    def __init__(
        self,
        axis: int | None = -1,
        groups: int | None = None,
        sampling: str = "batch",
        l0: float = 0.0,
        initial_open_probability: float = INITIAL_OPEN_PROBABILITY,
        link: str | Callable[[Any], Any] = "sigmoid",
        slope: float = 7.0,
        threshold: float = 0.5,
        test_gate: str = "soft",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, groups, sampling, l0, initial_open_probability, seed, **kwargs)
        if not slope > 0:
            raise ValueError(f"`slope` must be a positive number. Received: slope={slope}")
        if isinstance(link, dict):
            link = keras.saving.deserialize_keras_object(link)
        self.slope = float(slope)
        self.link = links.get(link, self.slope)
        self._link_argument = link
        self.threshold = check_probability("threshold", threshold)
        self.test_gate = check_choice("test_gate", test_gate, ("soft", "hard"))
        self._initial_value = self.link.inverse(self.initial_open_probability)

    @property
    def is_trained(self) -> bool:
        """Whether a gradient is wanted; a gate without a variable has its logits from a generator."""
        return bool(self.trainable_variables) or not self.weights

    def initial_value(self) -> float:
        return self._initial_value

    def probability_from(self, value: Any) -> Any:
        return self.link.probability(value)

    def test_gates_from(self, value: Any) -> Any:
        p = self.probability_from(value)
        is_open = ops.cast(p > self.threshold, "float32")
        return is_open if self.test_gate == "hard" else p * is_open

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        link = self._link_argument
        config.update(
            link=keras.saving.serialize_keras_object(link) if callable(link) else link,
            slope=self.slope,
            threshold=self.threshold,
            test_gate=self.test_gate,
        )
        return config
