"""What a model's penalty and budgets add to its loss."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from keras import ops

from tfgates.constraints.budget import GAIN, Bound, Budget
from tfgates.constraints.reference import DenseReference
from tfgates.costs import cost_named
from tfgates.costs.expected import ExpectedCost
from tfgates.costs.remainder import BudgetError, Holder
from tfgates.graph.counted import incomplete


class Structure:
    """Expected cost of a model, its penalty and its bounds.

    Args:
        model: a functional model with gates.
        penalty: None, or a dict from the name of a cost, such as `"params"` or `"macs"`, to the loss for keeping
            everything: the loss gets `penalty[name] * E[cost] / dense cost`.
        budget: None, a `Budget` or a list of them.
        reference: the `DenseReference` that shares are of. Defaults to None: the model itself with everything kept.

    Raises:
        ValueError: for a budget on a model without gates, one that cannot be reached, two bounds
            on the same cost, or a budget or penalty on a cost that is not known of all layers.
    """

    def __init__(
        self,
        model: Any,
        penalty: Mapping[str, float] | None = None,
        budget: Budget | Sequence[Budget] | None = None,
        reference: DenseReference | None = None,
    ) -> None:
        self.cost = ExpectedCost(model)
        self.reference = DenseReference.of(self.cost) if reference is None else reference
        own = dict(zip(self.cost.columns, self.cost.dense, strict=True))
        totals = own | {name: value for name, value in self.reference.totals.items() if name in own}
        self._dense = np.maximum(np.array([totals[name] for name in self.cost.columns]), 1.0)
        self.penalty = checked_penalty(penalty, self.cost.columns)
        for name, strength in self.penalty.items():
            if strength and name in self.cost.unknown:
                self._refuse("penalty", name)
        budgets = list_of(budget)
        self.bounds, self._budgets = [], []
        for each in budgets:
            for bound in each.bounds(self.cost, self.reference):
                self.bounds.append(bound)
                self._budgets.append(each)
        self._check_gates(budgets)
        self._restarts = np.array([each.restart for each in self._budgets], bool)
        self._check()
        rows = len(self.cost.row_layers)
        self._select: np.ndarray = np.zeros((len(self.bounds), rows, len(self.cost.costs)), "float32")
        for i, bound in enumerate(self.bounds):
            of_layer = True if bound.layer is None else self.cost.row_layers == bound.layer
            self._select[i, :, bound.column] = of_layer

    def _check_gates(self, budgets: Sequence[Budget]) -> None:
        if budgets and not self.cost.gates:
            raise ValueError(
                f"`budget` needs a model with gates: nothing can be removed from this one. Received: budget={budgets}"
            )

    def _check(self) -> None:
        # By call: a layer that is called several times has MACs, and a bound on them, in each.
        keys = [(bound.name, bound.layer) for bound in self.bounds]
        for bound, key in zip(self.bounds, keys, strict=True):
            if keys.count(key) > 1:
                names = [str(each) for each in self.bounds]
                raise ValueError(f"`budget` bounds {bound} more than once. Received: budget={names}")
        if not self.bounds:
            return
        for bound in self.bounds:
            if np.isnan(bound.dense):
                self._refuse("budget", bound.name)
        least = self.cost.layers(self.cost.least_open())
        for bound in self.bounds:
            reachable = bound.of_table(least)
            if bound.target < reachable:
                raise BudgetError(
                    f"`budget` cannot be reached: with one unit left in each gated layer, {bound} is still "
                    f"{reachable:,.0f}, which is {reachable / bound.dense:.4f} of the dense network's.",
                    f"a target of {bound.target:,.0f} ({bound.target / bound.dense:.4f}); a share is "
                    "a float of at most 1, and an integer above 1 an absolute number",
                    self.holders(bound, least[:, bound.column]),
                )

    def holders(self, bound: Bound, left: np.ndarray) -> list[Holder]:
        """The layers that hold what a bound counts where each of them costs `left`, and why."""
        of_bound = True if bound.layer is None else np.arange(len(left)) == bound.layer
        return self.cost.holders(np.where(of_bound, left, 0.0))

    def _refuse(self, argument: str, name: str) -> NoReturn:
        raise ValueError(
            f"`{argument}` on {cost_named(name).title} needs those of every layer to be known; `{argument}` on params "
            "does without, and `tfgates.anatomy.register_anatomy` tells what a layer of yours multiplies. Received: "
            f"not counted: {incomplete(self.cost.unknown[name])}"
        )

    @property
    def paces_itself(self) -> bool:
        """Whether a part of the pace of one of the budgets follows the number of steps."""
        return any("auto" in (each.warm_up, each.ramp) for each in self._budgets)

    def pace(self, steps: int | None) -> np.ndarray:
        """Rate, warm-up and ramp for each bound, an array `(bounds, 3)`, for a run of `steps` steps."""
        return np.array([each.pace(steps) for each in self._budgets], "float32").reshape(-1, 3)

    def pace_of_fit(self, steps: int | None) -> np.ndarray:
        """`pace` for the first `fit`, which shares of its steps need to be known for.

        Raises:
            ValueError: if a budget has such shares and the steps are not known.
        """
        for each in self._budgets:
            shares = [f"{name}={v}" for name in ("warm_up", "ramp") if isinstance(v := getattr(each, name), float)]
            if steps is None and shares:
                raise ValueError(
                    "`warm_up` and `ramp` of a budget must be numbers of steps where `fit` does not know how many "
                    f"there are: give it `steps_per_epoch`, or data with a length. Received: {', '.join(shares)}"
                )
        return self.pace(steps)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the costs that are known of all layers."""
        return tuple(name for name in self.cost.columns if name not in self.cost.unknown)

    def loss(self, multipliers: Any, pace: Any, step: Any, training: Any) -> tuple[Any, Any, Any]:
        """Loss, expected fractions `(costs,)` (0 for those that are not known) and the new multipliers.

        Args:
            multipliers: tensor `(number of bounds,)` or None without bounds.
            pace: tensor `(number of bounds, 3)`, see `pace`.
            step: scalar tensor, number of the step, for the warm-up.
            training: bool; the multipliers stay as they are at evaluation.
        """
        dense, columns = self._dense, self.cost.columns
        rows = self.cost.rows(dense)
        fractions = ops.sum(rows, axis=0)
        loss = ops.zeros(())
        for name, strength in self.penalty.items():
            loss = loss + strength * fractions[columns.index(name)]
        if not self.bounds:
            return loss, fractions, None
        targets = np.array([b.target / dense[b.column] for b in self.bounds], "float32")
        costs = ops.sum(ops.multiply(ops.expand_dims(rows, 0), self._select), axis=(1, 2))
        rate, warm_up, ramp = ops.unstack(ops.cast(pace, "float32"), 3, axis=1)
        since = ops.cast(step, "float32") - warm_up
        passed = ops.clip((since + 1.0) / ops.maximum(ramp, 1.0), 0.0, 1.0)
        # Of a single layer the dense cost is not 1, of the whole model it is.
        full = np.array([b.dense / dense[b.column] for b in self.bounds], "float32")
        bound = ops.add(ops.multiply(passed, np.log(targets / full)), np.log(full))
        violation = ops.log(ops.maximum(costs, 1e-12)) - bound
        pull = ops.maximum(multipliers + GAIN * violation, 0.0)
        pull = ops.stop_gradient(ops.where(since >= 0.0, pull, ops.zeros_like(pull)))
        loss = loss + ops.sum(pull * violation)
        new = multipliers
        if training:
            violation = ops.stop_gradient(violation)
            new = ops.maximum(multipliers + rate * violation, 0.0)
            arrived = ops.logical_and(passed >= 1.0, self._restarts)
            restart = ops.logical_and(violation <= 0.0, arrived)
            new = ops.where(restart, ops.zeros_like(new), new)
            new = ops.where(since >= 0.0, new, ops.zeros_like(new))
        return loss, fractions, new


def list_of(budget: Any) -> list[Budget]:
    """`budget` as a list of `Budget`."""
    budgets = [] if budget is None else list(budget) if isinstance(budget, (list, tuple)) else [budget]
    for each in budgets:
        if not isinstance(each, Budget):
            raise ValueError(f"`budget` must be a tfgates.Budget or a list of them. Received: {each!r}")
    return budgets


def checked_penalty(penalty: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """`penalty`, on costs of these `names`, as a dict, `{}` for None."""
    penalty = {} if penalty is None else penalty
    if not isinstance(penalty, dict) or not set(penalty) <= set(names):
        raise ValueError(
            f"`penalty` must be a dict from {' or '.join(map(repr, names))} to the loss for keeping everything. "
            f"Received: penalty={penalty!r}"
        )
    for name, strength in penalty.items():
        if not isinstance(strength, (int, float)) or not strength >= 0:
            raise ValueError(f"`penalty` must be numbers >= 0. Received: penalty[{name!r}]={strength!r}")
    return dict(penalty)
