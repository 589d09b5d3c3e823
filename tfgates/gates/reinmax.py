"""Binary gates whose gradient is carried through the draw, to second order (Liu et al. 2023)."""

from typing import Any

import keras
from keras import ops

from tfgates.gates.binary import BinaryGate


@keras.saving.register_keras_serializable(package="tfgates")
class ReinMaxGate(BinaryGate):
    """Gate that is exactly 0 or 1, with a biased gradient of its logits that needs only the one backward pass.

    `z ~ Bernoulli(p)` while training. To the log odds of p the draw passes on the gradient of the
    loss with respect to z, times
    `(1 - p) / 2` where `z = 1` and `p / 2` where `z = 0`.
    On average over z that is `p * (1 - p) * (f'(0) + f'(1)) / 2` instead of the exact
    `p * (1 - p) * (f(1) - f(0))`: the trapezoid rule, Heun's method. So it has no bias where the loss is at most
    quadratic in each single gate, and a bias of third order elsewhere. The estimators of
    `tfgates.gates.BernoulliGate` have no bias there, but need a second pass or are noisier. It needs no `GatedModel`.

    Args:
        link, slope, threshold, test_gate: see `tfgates.gates.BernoulliGate`.
        axis, groups, sampling, l0, initial_open_probability, seed: see `tfgates.gates.Gate`.

    Example:

    >>> layer = tfgates.layers.GatedDense(100, activation="relu", gate="reinmax")

    Reference: Liu, Dong, Liu, Yu, Gao, "Bridging Discrete and Backpropagation: Straight-Through and Beyond", NeurIPS
    2023, arXiv 2304.08612: its estimator of a categorical variable, for two classes and temperature 1.
    """

    def sample_from(self, value: Any, noise: Any) -> Any:
        p = ops.stop_gradient(self.probability_from(value))
        z = ops.cast(ops.cast(noise, "float32") < p, "float32")
        log_odds = self.link.log_odds(value)
        weight = 0.5 * ops.where(z > 0.0, 1.0 - p, p)
        return z + weight * (log_odds - ops.stop_gradient(log_odds))
