"""Widths that are asked for: at least so many units, a multiple of so many."""

from collections.abc import Callable, Iterable

import numpy as np


class Side:
    """One side of a layer's weights: the channels that it reads, or those that it makes.

    Attributes:
        roots: the distinct sets of channels, by their representatives, the first to be kept first.
        sizes: how many channels of this side are in each.
        length: number of channels.
    """

    def __init__(self, root: np.ndarray, groups: np.ndarray, score: np.ndarray) -> None:
        roots, sizes = np.unique(root[groups], return_counts=True)
        order = np.lexsort((roots, -score[roots]))
        self.roots, self.sizes, self.length = roots[order], sizes[order], len(groups)


class Rounding:
    """Keeps channels in addition to the open ones until each side of each layer has the requested width.

    Args:
        min_units: int, the smallest number of units left in a layer.
        round_to: int, widths are rounded up to a multiple of it.

    Raises:
        ValueError: unless they are integers of at least 0 and 1.
    """

    def __init__(self, min_units: int = 0, round_to: int = 1) -> None:
        for name, value, least in (("min_units", min_units, 0), ("round_to", round_to, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value}")
        self.min_units, self.round_to = min_units, round_to

    @property
    def asks(self) -> bool:
        """Whether any width is requested."""
        return self.min_units > 0 or self.round_to > 1

    @property
    def least(self) -> str:
        """The smallest number of units left in a layer, in words."""
        number = self.wanted(1, max(self.min_units, self.round_to))
        return "one unit" if number == 1 else f"{number} units (or all, where there are fewer)"

    def wanted(self, kept: int, length: int) -> int:
        """The width of a side of `length` channels of which `kept` are open."""
        wanted = max(kept, min(self.min_units, length))
        return min(-(-wanted // self.round_to) * self.round_to, length)

    def fill_up(
        self,
        keep: np.ndarray,
        sides: Callable[[np.ndarray], Iterable[Side]],
        closure: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """`keep`, booleans per group, with what has to stay for the widths.

        Args:
            sides: function from `keep` to the sides of the layers that are left.
            closure: function that adds to `keep` what stays because something else does.
        """
        if not self.asks:
            return keep
        keep, before = closure(keep), -1
        # Keeping a channel can keep others along with it, so it takes a few rounds.
        while before != int(keep.sum()):
            before = int(keep.sum())
            for side in sides(keep):
                open_now = keep[side.roots]
                kept = int(side.sizes[open_now].sum())
                missing = self.wanted(kept, side.length) - kept
                if missing > 0:
                    closed = np.flatnonzero(~open_now)
                    passed = np.cumsum(side.sizes[closed]) - side.sizes[closed]
                    keep[side.roots[closed[passed < missing]]] = True
                    keep = closure(keep)
        return keep

    def __str__(self) -> str:
        given = [("min_units", self.min_units, 0), ("round_to", self.round_to, 1)]
        return ", ".join(f"{name}={value}" for name, value, default in given if value != default)
