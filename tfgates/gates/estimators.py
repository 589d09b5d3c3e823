"""Estimators of the gradient of an expected loss with respect to Bernoulli probabilities.

Each estimates, for one binary unit `z ~ Bernoulli(p)`,
`dE[loss] / dlogit(p) = p * (1 - p) * (E[loss | z=1] - E[loss | z=0])`,
without bias whatever the link from a gate's logits to `p` is: the rest of the chain,
`dlogit(p) / dlogits`, belongs to the link (`tfgates.gates.links`). For the scaled sigmoid that
factor is the slope k; for any other link it is `g'(phi) / (p * (1 - p))`, and using k there, as
the public code of L0-ARM does for the hard sigmoid, is biased.

All four have the same arguments:

* `losses`: sequence of tensors, the loss in each pass. Broadcastable to the states. There may be more passes
  than the estimator needs, for the sake of other gates.
* `states`: sequence of float tensors of zeros and ones, what the unit was in each of its passes.
* `noise`: the uniform u in (0, 1) that the first state comes from.
* `probability`: p.

With one u the first state is `1[u < p]` and the antithetic second state `1[u > 1 - p]`.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops


def augment_reinforce(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any) -> Any:
    """AR: `f(1[u < p]) * (1 - 2 u)`; one pass.

    Reference: Yin and Zhou 2019, arXiv 1807.11143; Li and Ji 2019, arXiv 1904.04432.
    """
    return losses[0] * (1.0 - 2.0 * noise)


def augment_reinforce_merge(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any) -> Any:
    """ARM: `(f(1[u > 1 - p]) - f(1[u < p])) * (u - 1/2)`; two antithetic passes.

    Reference: Yin and Zhou 2019, arXiv 1807.11143, theorem 1; Li and Ji 2019, arXiv 1904.04432.
    """
    return (losses[1] - losses[0]) * (noise - 0.5)


def disarm(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any) -> Any:
    """DisARM (U2G): `(f(b) - f(b~)) * (b - b~) * max(p, 1 - p) / 2`; two antithetic passes.

    ARM with u integrated out given the two states, hence never of more variance. Times
    `1 / (p * (1 - p))` it is the gradient with respect to p,
    `(f(b) - f(b~)) * (b - b~) / (2 * min(p, 1 - p))`.

    Reference: Dong, Mnih, Tucker 2020, arXiv 2006.10680, equation 6.
    """
    larger = ops.maximum(probability, 1.0 - probability)
    return 0.5 * (losses[1] - losses[0]) * (states[1] - states[0]) * larger


def reinforce_leave_one_out(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any) -> Any:
    """REINFORCE whose two independent passes are each other's baseline.

    `(f(z1) - f(z2)) * (z1 - z2) / 2`.

    Reference: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    return 0.5 * (losses[0] - losses[1]) * (states[0] - states[1])


# Each name that `estimator=` accepts, its function, and where the noise of each further pass comes from:
# `1 - u`, or noise of its own.
ESTIMATORS = {
    "ar": (augment_reinforce, ()),
    "arm": (augment_reinforce_merge, ("antithetic",)),
    "disarm": (disarm, ("antithetic",)),
    "reinforce_leave_one_out": (reinforce_leave_one_out, ("independent",)),
}
