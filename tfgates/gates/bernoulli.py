"""Exact binary gates (Li and Ji 2019), with estimators of their gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfgates.gates import recording
from tfgates.gates.arguments import INITIAL_OPEN_PROBABILITY, check_choice
from tfgates.gates.binary import BinaryGate
from tfgates.gates.dues import Due
from tfgates.gates.estimators import ESTIMATORS, WITH_FIRST_ORDER, first_order
from tfgates.gates.step import step


@ops.custom_gradient
def attached(states: Any, value: Any) -> Any:
    """`states`, through which a gradient of 0 flows to `value`: asking for it is noticed, see `dues`."""

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        return ops.zeros_like(states), ops.zeros_like(value)

    return ops.stop_gradient(states), gradient


@keras.saving.register_keras_serializable(package="tfgates")
class BernoulliGate(BinaryGate):
    """Gate that is exactly 0 or 1; an unbiased estimator gives the gradient of its logits.

    While training `z ~ Bernoulli(p)` with `p = g(logits)`, where g depends on `link`:
    `"sigmoid"`: `g(phi) = sigmoid(slope * phi)`;
    `"hard_sigmoid"`: `g(phi) = clip(slope * phi / 7 + 1/2, 0, 1)`;
    a callable: that function.
    At inference a unit is open iff `p > threshold`. An open unit then has the value p with `test_gate="soft"`, the
    authors' default, and 1 with `"hard"`.

    The draw passes no gradient on. `tfgates.GatedModel` adds to its loss f a term of value 0 that supplies the
    gradient with respect to the logits. With u uniform, `b~ = 1[u < p]` and `b = 1[u > 1 - p]`, this gradient is
    `g'(phi) / (p * (1 - p))` times the following, by `estimator`:
    `"ar"`: `f(b~) * (1 - 2 u)`, one pass;
    `"arm"`: `(f(b) - f(b~)) * (u - 1/2)`, two forward passes;
    `"disarm"`: `(f(b) - f(b~)) * (b - b~) * max(p, 1 - p) / 2`, two forward passes;
    `"reinforce_leave_one_out"`: `(f(z1) - f(z2)) * (z1 - z2) / 2`, two forward passes with
    independent z1, z2;
    `"double_control_variates"`: that of leave-one-out plus half of
    `p * (1 - p) * f'(z1) - (z2 - p) * sum(f'(z1) * (z2 - z1))`, where the gradient f' with respect to the units of this
    gate comes with the backward pass, two forward passes;
    `"bitflip"`: `K * p * (1 - p) * (f(z') - f(z)) * (z' - z)`, where z' is z with one of the K units of the network
    flipped, two forward passes;
    `"ugc"`: `"bitflip"` for units with `min(p, 1 - p) < 1 / (2 K)`, `"disarm"` for the others, three forward passes.
    The passes differ only in the gates. The last two estimators need `sampling="batch"`. Outside a GatedModel, asking
    for the gradient is an error.

    With `sampling="batch"` f is the loss of the batch, and the estimate is unbiased for every
    network. With `sampling="example"` f is the loss of each example, which must be a compiled loss
    that has a value per example (terms that have none, such as activity regularisers, count with
    their whole value). The estimate is then unbiased where examples do not influence each other. With batch statistics
    they do: the effect of an example's gates on the losses of the others, of the order of 1 /
    batch size, is then missing.

    Args:
        link: `"sigmoid"`, `"hard_sigmoid"` or a non-decreasing callable of keras.ops from logits to
            probabilities. Defaults to `"sigmoid"`.
        slope: float > 0, k of the paper, for the two named links. Defaults to 7.
        estimator: one of the above. Defaults to `"disarm"`.
        threshold: float in (0, 1), tau of the paper. Defaults to 0.5.
        test_gate: `"soft"` or `"hard"`. Defaults to `"soft"`.
        axis, groups, sampling, l0, initial_open_probability, seed: see `tfgates.gates.Gate`.

    Raises:
        ValueError: for an argument other than the above, and at the first training step where the
            gate is trained in a model that is not a GatedModel.

    Example:

    >>> gate = tfgates.gates.BernoulliGate(estimator="arm", initial_open_probability=0.5)
    >>> layer = tfgates.layers.GatedDense(100, activation="relu", gate=gate)

    Reference: Li and Ji, "L0-ARM: Network Sparsification via Stochastic Binary Optimization",
    ECML 2019, arXiv 1904.04432; the estimators as in `tfgates.gates.estimators`.
    """

    # Tells `GatedModel` that the gradient of this gate has to be estimated from the loss.
    estimated = True

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
        super().__init__(
            axis, groups, sampling, l0, initial_open_probability, link, slope, threshold, test_gate, seed, **kwargs
        )
        self.estimator = check_choice("estimator", estimator, tuple(ESTIMATORS))
        if self.flips and sampling != "batch":
            raise ValueError(
                f"`sampling` must be 'batch' with `estimator={estimator!r}`: a unit of each example would be flipped "
                f"at once, and the losses of all change with them. Received: sampling={sampling!r}"
            )

    @property
    def flips(self) -> bool:
        """Whether the estimator needs a pass in which one unit of the network is flipped."""
        return "flipped" in ESTIMATORS[self.estimator][1]

    def sample_from(self, value: Any, noise: Any) -> Any:
        if not self.is_trained:
            value = ops.stop_gradient(value)
        record = step.recording
        if record is not None and record.replaying:
            return record.next_states(self)
        draw = None if record is None else record.find(self, noise)
        if draw is None:
            draw = self._drawn(value, noise, record)
        if record is not None:
            record.add(draw)
        z = attached(draw.states[0], value)
        if self.estimator not in WITH_FIRST_ORDER:
            return z
        p = ops.stop_gradient(self.probability_from(value))
        return z + first_order(draw.states, p, self.link.log_odds(value))

    def _drawn(self, value: Any, noise: Any, record: Any) -> recording.Draw:
        if self.flips and record is not None and record.choice is None:
            record.choice = self.uniform((1,))
        return recording.Draw(self, value, noise, self.states_from(value, ops.cast(noise, "float32")), self.flips)

    def dues(self) -> list[Any]:
        if recording.is_replaying():
            return []
        record = step.recording
        estimate = Due(recording.NOT_ESTIMATED) if record is None else record.due
        return [[estimate], *super().dues()]

    def states_from(self, value: Any, noise: Any) -> tuple[Any, ...]:
        """The gate values of each pass except one with a flip, without gradient."""
        p = ops.stop_gradient(self.probability_from(value))
        # 1 - u rather than 1 - p: near p = 1 the latter has few digits left.
        others = [
            1.0 - noise if source == "antithetic" else self.uniform(ops.shape(noise))
            for source in ESTIMATORS[self.estimator][1]
            if source != "flipped"
        ]
        return tuple(ops.cast(u < p, "float32") for u in (noise, *others))

    def surrogate(self, draw: recording.Draw, losses: Sequence[Any]) -> Any:
        """A scalar of value 0 whose gradient is the estimate for one draw.

        Args:
            draw: a `tfgates.gates.recording.Draw` of this gate.
            losses: list of the losses of the passes, scalars or tensors of shape `(batch,)`; the loss of the pass with
                a flip, where there is one, comes last.
        """
        noise = ops.cast(draw.noise, "float32")
        p = self.probability_from(draw.value)
        if len(losses[0].shape) > 0:
            ones = (1,) * (len(noise.shape) - 1)
            losses = [ops.reshape(loss, (-1, *ones)) for loss in losses]
        states = draw.states if draw.flipped is None else (*draw.states, draw.flipped)
        estimate = ESTIMATORS[self.estimator][0](losses, states, noise, p, draw.units)
        log_odds = self.link.log_odds(draw.value)
        return ops.sum(ops.stop_gradient(estimate) * (log_odds - ops.stop_gradient(log_odds)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "estimator": self.estimator}
