"""What callbacks tell of themselves to whoever trains gates."""

from typing import Any


class GateCallback:
    """What a callback may say of itself; a callback of Keras or of a user that says nothing is none of these.

    Attributes:
        needs_gates: bool, whether it is of no use in the training of a network without gates.
        follows_pruning: bool, whether in spite of that it goes on with a network that was pruned.
        closes_gates: bool, whether it asks the gates to close, so that no budget or penalty has to.
    """

    needs_gates = False
    follows_pruning = False
    closes_gates = False


def says(callback: Any, mark: str) -> bool:
    """Whether a callback says `mark` of itself, one of the attributes of `GateCallback`."""
    return bool(getattr(callback, mark, getattr(GateCallback, mark)))


class PausingCallback:
    """Mixed into a callback that ends a `fit` only for another one to go on with the training.

    Attributes:
        paused: whether it has.
    """

    paused = False
