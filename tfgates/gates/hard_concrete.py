"""Hard-concrete gates (Louizos, Welling, Kingma 2018)."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfgates.gates.arguments import INITIAL_OPEN_PROBABILITY, check_choice
from tfgates.gates.base import Gate

# The authors' code keeps alpha between 1/100 and 100.
LOGITS_LIMIT = math.log(100.0)


@keras.saving.register_keras_serializable(package="tfgates")
class LogitsRange(keras.constraints.Constraint):
    """Keeps logits within `[-limit, limit]`, so that no unit is lost beyond recall."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, value: Any) -> Any:
        return ops.clip(value, -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        return {"limit": self.limit}


def hard_concrete(
    logits: Any, noise: Any, temperature: float = 2 / 3, limits: tuple[float, float] = (-0.1, 1.1)
) -> Any:
    """Draws hard-concrete gates, with the gradient of the logits given analytically.

    `s = sigmoid((log u - log(1 - u) + logits) / temperature)`,
    `z = clip(s * (zeta - gamma) + gamma, 0, 1)` with `(gamma, zeta) = limits`, and
    `dz/dlogits = (zeta - gamma) * s * (1 - s) / temperature` where `0 < z < 1`, else 0.

    Args:
        logits: float tensor, log alpha of the paper.
        noise: tensor of the same shape, uniform in (0, 1); no gradient flows to it.
        temperature: float, beta of the paper.
        limits: pair of floats, gamma and zeta of the paper.

    Returns:
        The gate values in [0, 1], in float32: `log(u / (1 - u))` overflows in half precision.

    Reference: Louizos et al. 2018, arXiv 1712.01312, equations 10 and 11.
    """
    gamma, zeta = limits
    logits = ops.cast(logits, "float32")
    noise = ops.cast(noise, "float32")

    @ops.custom_gradient
    def sample(logits: Any, noise: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
        s = ops.sigmoid((ops.log(noise) - ops.log1p(-noise) + logits) / temperature)
        stretched = s * (zeta - gamma) + gamma
        inside = ops.cast(ops.logical_and(stretched > 0.0, stretched < 1.0), "float32")
        slope = (zeta - gamma) / temperature * s * (1.0 - s) * inside

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            if upstream is None:
                (upstream,) = args
            return upstream * slope, ops.zeros_like(noise)

        return ops.clip(stretched, 0.0, 1.0), gradient

    return sample(logits, ops.stop_gradient(noise))


@keras.saving.register_keras_serializable(package="tfgates")
class HardConcreteGate(Gate):
    """Gate with the hard-concrete distribution: exact zeros, gradients by reparameterisation.

    While training `z` is drawn by `hard_concrete`, so that
    `P(z != 0) = sigmoid(logits - temperature * log(-gamma / zeta))`. At inference, by
    `test_rule`,
    `"median"`: `clip(sigmoid(logits / temperature) * (zeta - gamma) + gamma, 0, 1)`, which closes
    exactly the units with `P(z != 0) <= 0.5` (Gallego-Posada et al. 2022, arXiv 2208.04425);
    `"paper"`: `clip(sigmoid(logits) * (zeta - gamma) + gamma, 0, 1)` (Louizos et al. 2018,
    equation 13), which with the default limits closes those with `P(z != 0) <= 0.31`.

    Args:
        temperature: float > 0, beta of the paper. Defaults to 2/3.
        limits: pair of floats `(gamma, zeta)` with `gamma < 0` and `zeta > 1`. Defaults to
            `(-0.1, 1.1)`.
        test_rule: `"median"` or `"paper"`. Defaults to `"median"`.
        logits_limit: float or None. The logits are kept within plus and minus this after each
            update, as the authors' code does. Defaults to `log(100)`.
        axis, groups, sampling, l0, initial_open_probability, seed: see `tfgates.gates.Gate`.

    Example:

    >>> gate = tfgates.gates.HardConcreteGate(initial_open_probability=0.5)
    >>> y = gate(keras.ops.ones((2, 8)), training=True)

    Reference: Louizos, Welling, Kingma, "Learning Sparse Neural Networks through L0
    Regularization", ICLR 2018, arXiv 1712.01312.
    """

    def __init__(
        self,
        axis: int | None = -1,
        groups: int | None = None,
        sampling: str = "batch",
        l0: float = 0.0,
        initial_open_probability: float = INITIAL_OPEN_PROBABILITY,
        temperature: float = 2 / 3,
        limits: tuple[float, float] = (-0.1, 1.1),
        test_rule: str = "median",
        logits_limit: float | None = LOGITS_LIMIT,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, groups, sampling, l0, initial_open_probability, seed, **kwargs)
        if not temperature > 0 or not math.isfinite(temperature):
            raise ValueError(f"`temperature` must be a positive number. Received: temperature={temperature}")
        if len(limits) != 2 or not (-math.inf < limits[0] < 0.0 and 1.0 < limits[1] < math.inf):
            raise ValueError(
                f"`limits` must be a pair (gamma, zeta) that stretches [0, 1]: gamma < 0 and zeta > 1. "
                f"Received: limits={limits}"
            )
        if logits_limit is not None and not logits_limit > 0:
            raise ValueError(f"`logits_limit` must be a positive number or None. Received: logits_limit={logits_limit}")
        self.temperature = float(temperature)
        self.limits = (float(limits[0]), float(limits[1]))
        self.test_rule = check_choice("test_rule", test_rule, ("median", "paper"))
        self.logits_limit = logits_limit
        # P(z != 0) = sigmoid(logits + shift); about 1.5986 by default.
        self._shift = -self.temperature * math.log(-self.limits[0] / self.limits[1])

    def initial_value(self) -> float:
        p = self.initial_open_probability
        return math.log(p / (1.0 - p)) - self._shift

    def variable_constraint(self) -> Any:
        return None if self.logits_limit is None else LogitsRange(self.logits_limit)

    def probability_from(self, value: Any) -> Any:
        return ops.sigmoid(value + self._shift)

    def test_gates_from(self, value: Any) -> Any:
        gamma, zeta = self.limits
        scaled = value / self.temperature if self.test_rule == "median" else value
        return ops.clip(ops.sigmoid(scaled) * (zeta - gamma) + gamma, 0.0, 1.0)

    def sample_from(self, value: Any, noise: Any) -> Any:
        return hard_concrete(value, noise, self.temperature, self.limits)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            temperature=self.temperature,
            limits=list(self.limits),
            test_rule=self.test_rule,
            logits_limit=self.logits_limit,
        )
        return config
