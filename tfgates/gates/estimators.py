"""Estimators of the gradient of an expected loss with respect to Bernoulli probabilities.

Each estimates, for one binary unit `z ~ Bernoulli(p)`,
`dE[loss] / dlogit(p) = p * (1 - p) * (E[loss | z=1] - E[loss | z=0])`,
without bias whatever the link from a gate's logits to `p` is: the rest of the chain,
`dlogit(p) / dlogits`, belongs to the link (`tfgates.gates.links`). For the scaled sigmoid that
factor is the slope k; for any other link it is `g'(phi) / (p * (1 - p))`, and using k there, as
the public code of L0-ARM does for the hard sigmoid, is biased.

All have the same arguments:

* `losses`: sequence of tensors, the loss in each pass. Broadcastable to the states. There may be more passes
  than the estimator needs, for the sake of other gates.
* `states`: sequence of float tensors of zeros and ones, what the unit was in each of its passes.
* `noise`: the uniform u in (0, 1) that the first state comes from.
* `probability`: p.
* `units`: int, of how many units one is flipped, each as likely as the others, in the pass in which one is. No other
  unit of the network differs in it from the first pass.

With one u the first state is `1[u < p]` and the antithetic second state `1[u > 1 - p]`.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops


def augment_reinforce(
    losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1
) -> Any:
    """AR: `f(1[u < p]) * (1 - 2 u)`; one pass.

    Reference: Yin and Zhou 2019, arXiv 1807.11143; Li and Ji 2019, arXiv 1904.04432.
    """
    return losses[0] * (1.0 - 2.0 * noise)


def augment_reinforce_merge(
    losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1
) -> Any:
    """ARM: `(f(1[u > 1 - p]) - f(1[u < p])) * (u - 1/2)`; two antithetic passes.

    Reference: Yin and Zhou 2019, arXiv 1807.11143, theorem 1; Li and Ji 2019, arXiv 1904.04432.
    """
    return (losses[1] - losses[0]) * (noise - 0.5)


def disarm(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1) -> Any:
    """DisARM (U2G): `(f(b) - f(b~)) * (b - b~) * max(p, 1 - p) / 2`; two antithetic passes.

    ARM with u integrated out given the two states, hence never of more variance. Times
    `1 / (p * (1 - p))` it is the gradient with respect to p,
    `(f(b) - f(b~)) * (b - b~) / (2 * min(p, 1 - p))`.

    Reference: Dong, Mnih, Tucker 2020, arXiv 2006.10680, equation 6.
    """
    larger = ops.maximum(probability, 1.0 - probability)
    return 0.5 * (losses[1] - losses[0]) * (states[1] - states[0]) * larger


def reinforce_leave_one_out(
    losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1
) -> Any:
    """REINFORCE whose two independent passes are each other's baseline.

    `(f(z1) - f(z2)) * (z1 - z2) / 2`.

    Reference: Kool, van Hoof, Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    return 0.5 * (losses[0] - losses[1]) * (states[0] - states[1])


def bitflip(losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1) -> Any:
    """bitflip-1: `units * p * (1 - p) * (f(z') - f(z)) * (z' - z)`, where z' is z with one unit of the network flipped.

    It does not grow where p is near 0 or 1, but of all units one alone is told something.

    Reference: Kunes, Yin, Land, Haviv, Pe'er, Tavare 2022, arXiv 2208.06124.
    """
    return units * probability * (1.0 - probability) * (losses[-1] - losses[0]) * (states[-1] - states[0])


def unbiased_gradient_variance_clipping(
    losses: Sequence[Any], states: Sequence[Any], noise: Any, probability: Any, units: int = 1
) -> Any:
    """UGC: `bitflip` for units with `2 * min(p, 1 - p) < 1 / units`, which two antithetic states would tell apart more
    seldom than a flip hits them, and `disarm` for the others.

    Reference: Kunes, Yin, Land, Haviv, Pe'er, Tavare 2022, arXiv 2208.06124.
    """
    seldom = 2.0 * units * ops.minimum(probability, 1.0 - probability) < 1.0
    flips = bitflip(losses, states, noise, probability, units)
    return ops.where(seldom, flips, disarm(losses, states, noise, probability))


def first_order(states: Sequence[Any], probability: Any, log_odds: Any) -> Any:
    """A tensor of value 0 that, added to the first state, passes on a second control variate from f's own gradient.

    It makes double control variates of `reinforce_leave_one_out`, which is the mean of `(f(z1) - f(z2)) * (z1 - p)` and
    `(f(z2) - f(z1)) * (z2 - p)`. With f' the gradient of f at z1, and sums over the units of the gate, the second
    becomes `(f(z2) - f(z1) - sum(f' * (z2 - z1))) * (z2 - p) + p * (1 - p) * f'`:
    what is added has no mean, since z2 does not depend on z1, and where f is linear in the gate `p * (1 - p) * f'` is
    all that is left. For the first the gradient at z2 would be needed, which a pass that is repeated does not compute.

    Reference: Titsias and Shi 2022, arXiv 2111.05300, which does so for both.
    """
    score = 0.5 * (log_odds - ops.stop_gradient(log_odds))
    common = ops.sum((states[1] - probability) * score, axis=-1, keepdims=True)
    return probability * (1.0 - probability) * score - (states[1] - states[0]) * common


# Each name that `estimator=` accepts, its function, and where each further pass comes from:
# the noise `1 - u`, noise of its own, or a flip.
ESTIMATORS = {
    "ar": (augment_reinforce, ()),
    "arm": (augment_reinforce_merge, ("antithetic",)),
    "bitflip": (bitflip, ("flipped",)),
    "disarm": (disarm, ("antithetic",)),
    "double_control_variates": (reinforce_leave_one_out, ("independent",)),
    "reinforce_leave_one_out": (reinforce_leave_one_out, ("independent",)),
    "ugc": (unbiased_gradient_variance_clipping, ("antithetic", "flipped")),
}

# Those whose first pass also passes on a gradient of its own.
WITH_FIRST_ORDER = ("double_control_variates",)
