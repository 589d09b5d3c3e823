"""What holds the cost of a network that cannot become small enough: which layers, and why they stay."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.walk import Walk

# So many layers are named, and no more once they make up this share.
MOST, ENOUGH = 5, 0.9

# The share from which on a layer that no gate moves is named in a plan.
WORTH_NAMING = 0.1

# Of a layer that is no larger than it must be.
AT_LEAST = "a unit of each gate stays"


@dataclasses.dataclass(frozen=True)
class Holder:
    """A layer that holds a part of what is left.

    Attributes:
        name: the layer.
        share: its share of what is left, of 1.
        why: why it is not smaller.
    """

    name: str
    share: float
    why: str

    def __str__(self) -> str:
        return f"{self.name} {self.share:.0%} ({self.why})"


def holders(names: Sequence[str], reasons: Sequence[str], left: np.ndarray, total: float | None = None) -> list[Holder]:
    """The layers that hold the most of what is left, the largest first.

    Args:
        names: of the layers.
        reasons: for each of them why it stays.
        left: what each of them costs.
        total: what shares are of. Defaults to None: the sum of `left`.
    """
    total, found, so_far = float(left.sum()) if total is None else total, list[Holder](), 0.0
    for i in np.argsort(-left, kind="stable"):
        if left[i] <= 0.0 or len(found) == MOST or so_far > ENOUGH * total:
            break
        so_far += left[i]
        found.append(Holder(names[i], float(left[i]) / total, reasons[i]))
    return found


class BudgetError(ValueError):
    """A budget that cannot be kept.

    Args:
        what: what is said of it.
        received: what was received.
        holders: the layers that hold what is left.
    """

    def __init__(self, what: str, received: str, holders: Sequence[Holder] = ()) -> None:
        self._what, self._received, self.holders = what, received, list(holders)
        named = f" What is left is held by {'; '.join(map(str, holders))}." if holders else ""
        super().__init__(f"{what}{named} Received: {received}")

    def explained(self, reasons: Mapping[str, str]) -> "BudgetError":
        """The same with other reasons for layers that have one, by name."""
        found = [dataclasses.replace(each, why=reasons.get(each.name, each.why)) for each in self.holders]
        return BudgetError(self._what, self._received, found)


def why_stays(walk: Walk, node: Node) -> str:
    """Why a call cannot cost nothing, whatever gates close.

    Args:
        walk: a symbolic walk.
        node: the call.
    """
    if node.whole is not None:
        return f"it stays whole: {node.whole}"
    if node.index in walk.refused:
        return own(node, walk.refused[node.index])
    sides, words = walk.slots.get(id(node.op), {}), []
    for side, groups in sides.items():
        stay = groups[walk.alive[groups] == TRUE]
        if len(stay):
            lock = next(filter(None, map(walk.reason, stay)), None)
            words.append(f"{len(stay)} of its {len(groups)} {side} stay" + (f": {own(node, lock)}" if lock else ""))
    return "; ".join(words) or (AT_LEAST if sides else "no gate is on anything in it")


def own(node: Node, reason: str) -> str:
    """A reason without the name of the layer that it is said of."""
    for prefix in (f"{node.name} ({type(node.op).__name__}): ", f"{node.name}: "):
        reason = reason.removeprefix(prefix)
    return reason
