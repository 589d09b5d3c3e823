"""What is said where a run is right but cannot be what was meant."""

import inspect
import warnings

# Frames of these are nobody's own lines: tfgates and, where a callback speaks, the `fit` around it.
OURS = ("tfgates", "keras", "contextlib", "tensorflow")


class GatesWarning(UserWarning):
    """A training or a pruning that does nothing, or that ends elsewhere than asked.

    Silence it, or turn it into an error, like any warning: `warnings.simplefilter("error", tfgates.GatesWarning)`.
    """


def warn(text: str) -> None:
    """Gives a `GatesWarning` at the line of the user that led to it, however deep in tfgates or `fit` that was."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, GatesWarning, stacklevel=level)
