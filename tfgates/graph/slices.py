"""What becomes of the variables of a network: which positions of each stay, and what is folded into them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfgates.anatomy import take


@dataclasses.dataclass(frozen=True)
class Fold:
    """What a variable takes up besides being cut: `value * factor + offset`, each as numpy broadcasts it."""

    factor: Any = None
    offset: Any = None


def folded(value: np.ndarray, folds: Iterable[Fold]) -> np.ndarray:
    """A variable, cut already, with all that it takes up, in turn."""
    for fold in folds:
        value = value if fold.factor is None else value * fold.factor
        value = value if fold.offset is None else value + fold.offset
    return value


@dataclasses.dataclass(frozen=True)
class Slice:
    """What is left of a variable when a network is pruned.

    Attributes:
        name: of the layer and, behind a stroke, of the variable.
        variable: the variable, of the network that is pruned.
        kept: dict from an axis that is cut to the positions that stay; the other axes stay whole.
        dropped: why nothing is left of the variable; nothing where something is.
    """

    name: str
    variable: Any
    kept: Mapping[int, np.ndarray]
    dropped: str = ""

    def take(self, value: Any) -> np.ndarray:
        """What is left of `value`: the variable's, or whatever is shaped like it (an optimizer's slot, an average)."""
        return take(np.asarray(value), self.kept)


class Slices:
    """A `Slice` for each variable of a network, in the order of its layers; `slices[variable]` finds one."""

    def __init__(self, slices: Iterable[Slice]) -> None:
        self._slices = {id(each.variable): each for each in slices}

    def __iter__(self) -> Iterator[Slice]:
        return iter(self._slices.values())

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, variable: Any) -> bool:
        return id(variable) in self._slices

    def __getitem__(self, variable: Any) -> Slice:
        if variable not in self:
            raise KeyError(
                f"`variable` must be one of the network that the plan is for. Received: "
                f"variable={getattr(variable, 'path', variable)!r}"
            )
        return self._slices[id(variable)]


@dataclasses.dataclass(frozen=True)
class Heir:
    """A variable of a pruned network.

    Attributes:
        variable: the variable.
        source: the `Slice` of the variable that it comes from; None for one that was not there, a bias for
            constants that are folded, say. Its value is then made of 0 by `folds`.
        folds: tuple of `Fold`: what it takes up.
    """

    variable: Any
    source: Slice | None
    folds: tuple[Fold, ...] = ()

    def value(self) -> np.ndarray:
        """Its value, from that of its source as that is now."""
        start = np.zeros((), np.float32) if self.source is None else self.source.take(self.source.variable)
        return folded(start, self.folds)
