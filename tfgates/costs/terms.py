"""The summands of a network's costs, each with the gates under which it is there."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfgates.costs.protocol import Call, Cost
from tfgates.graph.rule import Term
from tfgates.graph.walk import Walk


@dataclasses.dataclass(frozen=True)
class Counted:
    """A summand of several costs: `amounts`, one for each, times the numbers of units that are left.

    Attributes:
        amounts: one float per cost.
        over, unless: as of a `Summand`.
    """

    amounts: np.ndarray
    over: tuple[np.ndarray, ...] = ()
    unless: np.ndarray | None = None


def counted(
    costs: Sequence[Cost], walk: Any, node: Any, weights: Iterable[Term]
) -> tuple[list[Counted], dict[str, str]]:
    """What a call costs.

    Args:
        costs: the costs.
        walk: a finished `Walk`.
        node: the call.
        weights: what its rule says of its weights.

    Returns:
        The summands, those over the same units in one, and for the names of costs that are not known the reason.
    """
    call = Call(walk, node, weights)
    found: dict[tuple[Any, ...], tuple[np.ndarray, Any]] = {}
    unknown: dict[str, str] = {}
    for column, cost in enumerate(costs):
        for summand in cost.per_layer(call):
            if len(summand.over) > 2:
                raise ValueError(
                    f"`over` of a summand can name two sets of units at most. Received: {len(summand.over)} of the "
                    f"cost {cost.name!r} of layer {node.name!r}"
                )
            if math.isnan(summand.amount):
                unknown.setdefault(cost.name, summand.why)
            # By the sets themselves, which is more than enough to bring together what belongs together.
            key = (tuple(map(id, summand.over)), id(summand.unless))
            amounts, _ = found.setdefault(key, (np.zeros(len(costs)), summand))
            amounts[column] += summand.amount
    return [Counted(amounts, one.over, one.unless) for amounts, one in found.values() if amounts.any()], unknown


def with_existence(walk: Walk, node: Any, summands: Iterable[Counted], shared: np.ndarray) -> list[tuple[Counted, int]]:
    """Pairs of a summand and the formula under which it is there.

    What is shared by the calls of a layer is there with any of them, or of those that share its weights; all else
    with its own call.

    Args:
        walk: a finished symbolic `Walk`.
        node: the call that the summands are of.
        summands: what it costs.
        shared: for each cost whether that is so.
    """
    here = anywhere = walk.used[node.index]
    if node.tie is not None:
        anywhere = walk.formulas.some([walk.used[index] for index in node.tie.calls])
    elif not walk.called_once(node):
        anywhere = walk.formulas.some([walk.used[n.index] for n in walk.network.nodes if n.op is node.op])
    if here == anywhere:
        return [(each, here) for each in summands]
    found = []
    for each in summands:
        for amounts, exists in (
            (np.where(shared, each.amounts, 0.0), anywhere),
            (np.where(shared, 0.0, each.amounts), here),
        ):
            if amounts.any():
                found.append((dataclasses.replace(each, amounts=amounts), exists))
    return found
