"""What must stay because something else does: channels of which several positions, or some, are made."""

from collections.abc import Iterable

import numpy as np


def in_turn(implications: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of parts and wholes in an order in which one pass over them finds all that stays.

    Those of later calls come first, since their wholes are parts of earlier ones. Where a layer is called again, wholes
    of an earlier call can be parts of a later one: as many passes as there are pairs are enough then.

    Args:
        implications: pairs of representatives of groups in the order of the calls: each whole must stay while its part
            does.
    """
    pairs = list(implications)[::-1]
    passed: set[int] = set()
    for parts, wholes in pairs:
        passed.update(parts.tolist())
        if passed.intersection(wholes.tolist()):
            return pairs * (len(pairs) + 1)
    return pairs
