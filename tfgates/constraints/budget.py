"""Budgets: ask for a size instead of tuning a penalty."""

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfgates.constraints.reference import DenseReference
from tfgates.costs import ExpectedCost, cost_named, registered_costs
from tfgates.unknown import arguments_of, check_known

# How far a multiplier goes in a whole run at a constant violation of 1.
MULTIPLIER_TRAVEL = 50.0

# What a violation of 1 adds to the pull at once, beside what the multiplier has gathered.
GAIN = 20.0

# Shares of a run before the multipliers start, and over which the bound falls to its target.
WARM_UP, RAMP = 0.2, 0.5

# The rate of the multipliers where the number of steps is not known.
UNKNOWN_RATE = 2e-3

UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


@keras.saving.register_keras_serializable(package="tfgates")
class Budget:
    """An upper bound on the cost of the pruned network.

    The model is trained under the constraint `E[cost] <= target` by a Lagrange multiplier for each
    bound. With `violation = log(E[cost] / target)` the term `pull * violation` is added to the loss, where
    `pull = max(0, multiplier + 20 * violation)` passes no gradient on. In each step
    `multiplier <- max(0, multiplier + multiplier_rate * violation)`. The part of the pull that follows the
    violation at once keeps the multiplier from winding up while gates are still moving, after which
    too many would close together. While the constraint is met, the multiplier is set back to 0 (dual
    restart), so accuracy is not traded for savings nobody asked for. Thanks to the logarithm, the
    pull and the multiplier are the same whether the target is a half or a hundredth, and the same for
    large and small networks; the constraint is the same as without it. `tfgates.prune` then ends
    at or below the target.

    Args:
        params: how many parameters may remain: a fraction of the dense network's, in (0, 1], or an
            absolute number, as an integer or a string such as `"250k"`. None: no bound. Defaults to None.
        macs: how many multiply-accumulates may remain, likewise, for one example, such as
            `"200M MACs"`. Defaults to None.
        per_layer: bool. True: fractions bound each layer whose cost depends on gates separately.
            False: they bound the whole model. Defaults to False.
        multiplier_rate: float > 0, the learning rate of the multipliers, per step. Defaults to
            `"auto"`: 50 divided by the number of steps of the first `fit`. A cost that is 2 % too
            high throughout then builds up a pull as strong as the loss.
        warm_up: the number of steps before the multipliers start, as an int, or as a float in [0, 1), a share of the
            steps of the first `fit`. Defaults to `"auto"`: 20 % of them, so that weights mean something before units
            are compared.
        ramp: the number of steps, after the warm-up, over which the bound falls from the dense
            cost to the target, by the same factor in each step; an int, or a share as for `warm_up`. With a ramp the
            network shrinks no faster than the weights can follow, and it is decided late which units are removed. 0:
            the target is in force at once. Defaults to `"auto"`: 50 % of the steps of the first `fit`. A shorter ramp
            makes training with a shrinking network (`tfgates.fit`) cheaper, and was less accurate where it was
            measured.
        restart: bool, whether to set a multiplier to 0 while its constraint is met. Defaults to True.
        **costs: bounds on your own costs (`tfgates.costs.register_cost`) by their names, like `params` and `macs`:
            `Budget(activation_bytes="200k bytes")`.

    Raises:
        ValueError: if nothing is bounded, or a bound is not a fraction, a number or such a string.
        TypeError: for an argument that it does not have.

    Reference: Gallego-Posada et al., "Controlled Sparsity via Constrained Optimization", NeurIPS
    2022, arXiv 2208.04425, equations 5 to 8, and section 4 for dual restarts; Sohrabi et al., "On PI
    Controllers for Updating Lagrange Multipliers in Constrained Optimization", ICML 2024, arXiv
    2406.04558, for the part that follows the violation at once.
    """

    def __init__(
        self,
        params: float | str | None = None,
        macs: float | str | None = None,
        per_layer: bool = False,
        multiplier_rate: Any = "auto",
        warm_up: float | str = "auto",
        ramp: float | str = "auto",
        restart: bool = True,
        **costs: float | str | None,
    ) -> None:
        names = [cost.name for cost in registered_costs()]
        check_known("Budget", costs, [*arguments_of(Budget), *names])
        given = {"params": params, "macs": macs, **costs}
        # What is bounded, by the name of its cost, in their order.
        self.bounded = {name: given[name] for name in names if given.get(name) is not None}
        if not self.bounded:
            text = ", ".join(f"{name}=None" for name in names)
            raise ValueError(f"A Budget must bound {' or '.join(f'`{name}`' for name in names)}. Received: {text}")
        for name, value in self.bounded.items():
            _, absolute = parse(name, value)
            if per_layer and absolute:
                raise ValueError(f"`{name}` must be a fraction with `per_layer=True`. Received: {name}={value!r}")
        if multiplier_rate != "auto" and not multiplier_rate > 0:
            raise ValueError(
                f"`multiplier_rate` must be positive or 'auto'. Received: multiplier_rate={multiplier_rate}"
            )
        for name, value in (("warm_up", warm_up), ("ramp", ramp)):
            if value != "auto" and not is_pace(value):
                raise ValueError(
                    f"`{name}` must be a number of steps >= 0, a float in [0, 1) as a share of the steps, or 'auto'. "
                    f"Received: {name}={value!r}"
                )
        if isinstance(warm_up, float) and isinstance(ramp, float) and warm_up + ramp >= 1.0:
            raise ValueError(
                "`warm_up` and `ramp` must leave steps with the target in force: as shares their sum must be below 1. "
                f"Received: warm_up={warm_up}, ramp={ramp}"
            )
        self.per_layer = bool(per_layer)
        self.multiplier_rate = multiplier_rate
        self.warm_up = warm_up
        self.ramp = ramp
        self.restart = bool(restart)

    @property
    def params(self) -> float | str | None:
        """The bound on parameters, or None."""
        return self.bounded.get("params")

    @property
    def macs(self) -> float | str | None:
        """The bound on MACs, or None."""
        return self.bounded.get("macs")

    def pace(self, steps: int | None) -> tuple[float, ...]:
        """`(multiplier_rate, warm_up, ramp)` for a training run of `steps` steps (None: unknown)."""
        rate = UNKNOWN_RATE if steps is None else MULTIPLIER_TRAVEL / steps
        known = 0 if steps is None else steps
        times = ((self.warm_up, WARM_UP), (self.ramp, RAMP))
        given = [share if value == "auto" else value for value, share in times]
        return (
            float(rate if self.multiplier_rate == "auto" else self.multiplier_rate),
            *(float(each * known if isinstance(each, float) else each) for each in given),
        )

    def bounds(self, cost: ExpectedCost, reference: DenseReference) -> list["Bound"]:
        """The bounds as a list of `Bound`, for an `ExpectedCost` and the `DenseReference` that shares refer to."""
        found = []
        for name, given in self.bounded.items():
            if name not in cost.columns:
                raise ValueError(
                    f"`budget` must bound a cost that was registered before the model was made: those are "
                    f"{', '.join(cost.columns)}. Received: budget={self}"
                )
            (value, absolute), column = parse(name, given), cost.columns.index(name)
            dense = reference.totals.get(name, float(cost.dense[column]))
            if not self.per_layer:
                found.append(Bound(name, column, None, value if absolute else value * dense, dense))
                continue
            gated = cost.gated_layers()
            open_all = cost.layers([[1.0] * gate.units for gate in cost.gates])[:, column]
            closed = cost.layers([[0.0] * gate.units for gate in cost.gates])[:, column]
            for layer, (most, least) in enumerate(zip(open_all, closed, strict=True)):
                if most > least or (gated[layer] and math.isnan(most)):
                    called = cost.names[layer]
                    dense = reference.of_call(name, called, cost.names[:layer].count(called), most)
                    found.append(Bound(name, column, layer, value * dense, dense, called))
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            "params": self.params,
            "macs": self.macs,
            **self.bounded,
            "per_layer": self.per_layer,
            "multiplier_rate": self.multiplier_rate,
            "warm_up": self.warm_up,
            "ramp": self.ramp,
            "restart": self.restart,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.bounded.items()]
        return f"Budget({', '.join(given + ['per_layer=True'] * self.per_layer)})"


def is_pace(value: Any) -> bool:
    """Whether a value is a number of steps, or a share of them."""
    if isinstance(value, float):
        return 0.0 <= value < 1.0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Bound:
    """One bound: `cost <= target`, of the whole model or of one layer.

    Attributes:
        name: the name of the cost, such as `"params"` or `"macs"`.
        column: number of its column in an `ExpectedCost`.
        layer: number of the layer, or None for the whole model.
        target: float, in the unit of the cost.
        dense: float, what the dense network of the `DenseReference` costs.
    """

    def __init__(
        self, name: str, column: int, layer: int | None, target: float, dense: float, layer_name: str | None = None
    ) -> None:
        self.name, self.column, self.layer = name, column, layer
        self.target, self.dense, self.layer_name = float(target), float(dense), layer_name

    def of(self, cost: ExpectedCost, values: Sequence[Any]) -> float:
        """The bounded cost for gate values (arrays of 0 and 1, or probabilities)."""
        return self.of_table(cost.layers(values))

    def of_table(self, table: np.ndarray) -> float:
        """The bounded cost where the layers cost `table`, an array `(layers, costs)`."""
        return self.of_column(table[:, self.column])

    def of_column(self, column: np.ndarray) -> float:
        """The bounded cost where the layers cost `column`, an array."""
        return float(column.sum() if self.layer is None else column[self.layer])

    def __str__(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer_name!r}"
        return f"{self.name}{where}"


def parse(name: str, value: Any) -> tuple[Any, bool]:
    """`(number, whether it is absolute)` of a bound, or `(None, False)`."""
    if value is None:
        return None, False
    given, value = value, value.item() if isinstance(value, np.generic) else value
    number, absolute = value, isinstance(value, int) and not isinstance(value, bool) and value > 1
    if isinstance(value, str):
        unit = "|".join(map(re.escape, {name.lower(), cost_named(name).unit.lower()}))
        match = re.fullmatch(rf"\s*(\d[\d_,]*\.?\d*)\s*([kmgbt]?)\s*({unit})?\s*", value.lower())
        number = float(match[1].replace(",", "").replace("_", "")) * UNITS[match[2]] if match else None
        absolute = True
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
        number = None
    if number is None or (not absolute and number > 1) or (isinstance(value, str) and number < 1):
        raise ValueError(
            f"`{name}` must be a fraction in (0, 1], or an absolute number: an integer above 1 or a string "
            f"such as '200M' (a fraction is a number, not a string). Received: {name}={given!r}"
        )
    return float(number), absolute
