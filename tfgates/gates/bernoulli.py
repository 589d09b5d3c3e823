"""Exact binary gates (Li and Ji 2019), with estimators of their gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfgates.gates import links, recording
from tfgates.gates.arguments import INITIAL_OPEN_PROBABILITY, check_choice, check_probability
from tfgates.gates.base import Gate
from tfgates.gates.dues import Due
from tfgates.gates.estimators import ESTIMATORS
from tfgates.gates.step import step


@ops.custom_gradient
def attached(states: Any, value: Any) -> Any:
    """`states`, through which a gradient of 0 flows to `value`: asking for it is noticed, see `dues`."""

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        return ops.zeros_like(states), ops.zeros_like(value)

    return ops.stop_gradient(states), gradient


@keras.saving.register_keras_serializable(package="tfgates")
class BernoulliGate(Gate):
    """Gate that is exactly 0 or 1, with the gradient of its logits by an unbiased estimator.

    While training `z ~ Bernoulli(p)` with `p = g(logits)`, by `link`,
    `"sigmoid"`: `g(phi) = sigmoid(slope * phi)`;
    `"hard_sigmoid"`: `g(phi) = clip(slope * phi / 7 + 1/2, 0, 1)`;
    a callable: that function.
    At inference a unit is open iff `p > threshold`; `test_gate="soft"` then uses p itself, the
    authors' default, `"hard"` 1.

    The draw passes no gradient on. `tfgates.GatedModel` adds to its loss f a term of value 0 whose
    gradient with respect to the logits is, with u uniform, `b~ = 1[u < p]`, `b = 1[u > 1 - p]`,
    times `g'(phi) / (p * (1 - p))`, by `estimator`,
    `"ar"`: `f(b~) * (1 - 2 u)`, one pass;
    `"arm"`: `(f(b) - f(b~)) * (u - 1/2)`, two forward passes;
    `"disarm"`: `(f(b) - f(b~)) * (b - b~) * max(p, 1 - p) / 2`, two forward passes;
    `"reinforce_leave_one_out"`: `(f(z1) - f(z2)) * (z1 - z2) / 2`, two forward passes with
    independent z1, z2.
    The two passes differ in the gates alone. Outside of a GatedModel asking for the gradient is an
    error.

    With `sampling="batch"` f is the loss of the batch, and the estimate is unbiased for every
    network. With `sampling="example"` f is the loss of each example, which must be a compiled loss
    that has a value per example (and, for terms that have none, such as activity regularisers,
    their whole value): unbiased where examples do not influence each other. Batch statistics let
    them do so: the effect of an example's gates on the losses of the others, of the order of 1 /
    batch size, is then missing.

    Args:
        link: `"sigmoid"`, `"hard_sigmoid"` or a non-decreasing callable of keras.ops from logits to
            probabilities. Defaults to `"sigmoid"`.
        slope: float > 0, k of the paper, for the two named links. Defaults to 7.
        estimator: `"ar"`, `"arm"`, `"disarm"` or `"reinforce_leave_one_out"`. Defaults to
            `"disarm"`.
        threshold: float in (0, 1), tau of the paper. Defaults to 0.5.
        test_gate: `"soft"` or `"hard"`. Defaults to `"soft"`.
        axis, groups, sampling, l0, initial_open_probability, seed: see `tfgates.gates.Gate`.

    Raises:
        ValueError: for an argument outside of the above, and at the first training step where the
            gate is trained in a model that is not a GatedModel.

    Example:

    >>> gate = tfgates.gates.BernoulliGate(estimator="arm", initial_open_probability=0.5)
    >>> layer = tfgates.layers.GatedDense(100, activation="relu", gate=gate)

    Reference: Li and Ji, "L0-ARM: Network Sparsification via Stochastic Binary Optimization",
    ECML 2019, arXiv 1904.04432; the estimators as in `tfgates.gates.estimators`.
    """

    # Tells `GatedModel` that the gradient of this gate has to be estimated from the loss.
    estimated = True

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
        estimator: str = "disarm",
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
        self.estimator = check_choice("estimator", estimator, tuple(ESTIMATORS))
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

    def sample_from(self, value: Any, noise: Any) -> Any:
        if not self.is_trained:
            value = ops.stop_gradient(value)
        record = step.recording
        if record is not None and record.replaying:
            return record.next_states(self)
        draw = None if record is None else record.find(self, noise)
        if draw is None:
            draw = recording.Draw(self, value, noise, self.states_from(value, ops.cast(noise, "float32")))
        if record is not None:
            record.add(draw)
        return attached(draw.states[0], value)

    def dues(self) -> list[Any]:
        if recording.is_replaying():
            return []
        record = step.recording
        estimate = Due(recording.NOT_ESTIMATED) if record is None else record.due
        return [[estimate], *super().dues()]

    def states_from(self, value: Any, noise: Any) -> tuple[Any, ...]:
        """The gate values of each pass, without gradient."""
        p = ops.stop_gradient(self.probability_from(value))
        # 1 - u rather than 1 - p: near p = 1 the latter has few digits left.
        others = [
            1.0 - noise if source == "antithetic" else self.uniform(ops.shape(noise))
            for source in ESTIMATORS[self.estimator][1]
        ]
        return tuple(ops.cast(u < p, "float32") for u in (noise, *others))

    def surrogate(self, draw: recording.Draw, losses: Sequence[Any]) -> Any:
        """A scalar of value 0 whose gradient is the estimate for one draw.

        Args:
            draw: a `tfgates.gates.recording.Draw` of this gate.
            losses: list of the losses of the passes, scalars or tensors of shape `(batch,)`.
        """
        noise = ops.cast(draw.noise, "float32")
        p = self.probability_from(draw.value)
        if len(losses[0].shape) > 0:
            ones = (1,) * (len(noise.shape) - 1)
            losses = [ops.reshape(loss, (-1, *ones)) for loss in losses]
        estimate = ESTIMATORS[self.estimator][0](losses, draw.states, noise, p)
        log_odds = self.link.log_odds(draw.value)
        return ops.sum(ops.stop_gradient(estimate) * (log_odds - ops.stop_gradient(log_odds)))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        link = self._link_argument
        config.update(
            link=keras.saving.serialize_keras_object(link) if callable(link) else link,
            slope=self.slope,
            estimator=self.estimator,
            threshold=self.threshold,
            test_gate=self.test_gate,
        )
        return config
