"""What is known of each channel of a tensor."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass
class Channels:
    """Knowledge about each position of a tensor along one axis.

    Attributes:
        axis: int, the axis of the tensor (the batch axis is 0).
        group: int array. Positions of the same group are removed together or not at all.
        live: array of formulas: under which gates is the position anything but a constant?
        value: float64 array, the constant that the position is when it is not live; nan where it
            would differ between places of the tensor or is not known.
        need: array of formulas: under which gates does anything depend on the position?
    """

    axis: int
    group: np.ndarray
    live: np.ndarray
    value: np.ndarray
    need: Any = None

    def __post_init__(self) -> None:
        if self.need is None:
            self.need = np.zeros(len(self.group), np.int64)

    def __len__(self) -> int:
        return len(self.group)


class Groups:
    """Disjoint sets of positions, and why some of them cannot be removed."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self.locks: dict[int, str] = {}

    def new(self, count: int) -> np.ndarray:
        """`count` fresh groups."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def find(self, group: int) -> int:
        parent = self._parent
        root = group
        while parent[root] != root:
            root = parent[root]
        while parent[group] != root:
            parent[group], group = root, parent[group]
        return root

    def tie(self, a: Any, b: Any) -> None:
        """Merges the groups of two arrays, entry by entry."""
        for x, y in zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True):
            x, y = self.find(x), self.find(y)
            if x != y:
                self._parent[max(x, y)] = min(x, y)

    def lock(self, groups: Any, reason: str) -> None:
        """Forbids the removal of `groups`; the first reason given is kept."""
        for group in np.asarray(groups).tolist():
            self.locks.setdefault(group, reason)

    def roots(self) -> tuple[np.ndarray, dict[int, str]]:
        """The representative of every group, as an array, and `{representative: reason}`."""
        roots = np.array([self.find(g) for g in range(len(self._parent))], np.int64)
        locked: dict[int, str] = {}
        for group, reason in self.locks.items():
            locked.setdefault(int(roots[group]), reason)
        return roots, locked
