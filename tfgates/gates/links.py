"""Links: how the logits of a Bernoulli gate give its probability."""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

# The log odds of probabilities nearer to 0 or 1 than this are those at this distance; float32
# cannot tell 1 - p from 0 much below it.
MARGIN = 1e-7


class Link:
    """A non-decreasing map g from logits to probabilities, `p = g(phi)`.

    A subclass gives `probability` and `inverse`. `log_odds` is `log(p / (1 - p))` as a
    differentiable function of the logits; its derivative `g'(phi) / (p * (1 - p))` is what turns
    an estimate with respect to the log odds into one with respect to the logits.
    """

    def probability(self, logits: Any) -> Any:
        """p for each logit, in [0, 1]."""
        raise NotImplementedError

    def inverse(self, probability: float) -> float:
        """The logit, a float, of a probability strictly between 0 and 1."""
        raise NotImplementedError

    def log_odds(self, logits: Any) -> Any:
        """`log(p / (1 - p))`, differentiable with respect to the logits."""
        p = ops.clip(self.probability(logits), MARGIN, 1.0 - MARGIN)
        return ops.log(p) - ops.log1p(-p)


class ScaledSigmoid(Link):
    """`g(phi) = sigmoid(slope * phi)`, with log odds of exactly `slope * phi`.

    Reference: Li and Ji 2019, arXiv 1904.04432, section 3.3.
    """

    def __init__(self, slope: float = 7.0) -> None:
        self.slope = slope

    def probability(self, logits: Any) -> Any:
        return ops.sigmoid(self.slope * logits)

    def inverse(self, probability: float) -> float:
        return math.log(probability / (1.0 - probability)) / self.slope

    def log_odds(self, logits: Any) -> Any:
        return self.slope * logits


class HardSigmoid(Link):
    """`g(phi) = clip(slope * phi / 7 + 1/2, 0, 1)`, which reaches 0 and 1 and stays there.

    Reference: Li and Ji 2019, arXiv 1904.04432, section 3.3.
    """

    def __init__(self, slope: float = 7.0) -> None:
        self.slope = slope

    def probability(self, logits: Any) -> Any:
        return ops.clip(self.slope / 7.0 * logits + 0.5, 0.0, 1.0)

    def inverse(self, probability: float) -> float:
        return 7.0 / self.slope * (probability - 0.5)


class CallableLink(Link):
    """Any non-decreasing function from logits to probabilities, given as a callable of keras.ops.

    Its derivative comes from automatic differentiation, its inverse from bisection.
    """

    # The logits within which the inverse is looked for.
    RANGE = 100.0

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def probability(self, logits: Any) -> Any:
        return self.function(logits)

    def inverse(self, probability: float) -> float:
        def at(logit: float) -> float:
            return float(ops.convert_to_numpy(self.function(ops.convert_to_tensor(logit, "float32"))))

        low, high = -self.RANGE, self.RANGE
        bottom, top = at(low), at(high)
        if not 0.0 <= bottom < probability < top <= 1.0:
            raise ValueError(
                f"`link` must be a non-decreasing function from [-{self.RANGE}, {self.RANGE}] to "
                f"probabilities in [0, 1] that reaches `initial_open_probability`, {probability}. "
                f"Received: link={self.function!r}, with link({low})={bottom} and link({high})={top}"
            )
        for _ in range(60):
            middle = 0.5 * (low + high)
            if at(middle) < probability:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)


NAMES = {"sigmoid": ScaledSigmoid, "hard_sigmoid": HardSigmoid}


def get(link: str | Callable[[Any], Any], slope: float = 7.0) -> Link:
    """Returns a `Link` from its name or from a callable.

    Args:
        link: `"sigmoid"`, `"hard_sigmoid"` or a callable that maps logits to probabilities.
        slope: float > 0, k of the paper; for the two names only.
    """
    if isinstance(link, str) and link in NAMES:
        return NAMES[link](slope)
    if callable(link):
        return CallableLink(link)
    raise ValueError(f"`link` must be one of {sorted(NAMES)} or a callable. Received: link={link!r}")
