"""Constraints on weights that the removal of units breaks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.backend import array
from tfgates.graph.slices import Heir
from tfgates.notices import warn

# How far a constraint may move a weight that meets it, by rounding.
TOLERANCES = {"bfloat16": 3e-2, "float16": 5e-3}


def warn_of_broken(model: Any, heirs: list[Heir]) -> None:
    """Says which constraints the weights of `model` meet, and what is left of them does not: norms, that is.

    The first update of the smaller network would meet them again, and change its outputs.

    Args:
        heirs: where the variables of the smaller network come from.
    """
    broken = [
        f"{heir.variable.path} ({type(heir.variable.constraint).__name__})"
        for heir in heirs
        if getattr(heir.variable, "constraint", None) is not None
        and heir.source is not None
        and _meets(heir.source.variable, heir.variable.constraint)
        and not _meets(heir.variable, heir.variable.constraint)
    ]
    if broken:
        warn(
            f"Constraints that the weights of `{model.name}` meet are not met without the units that were removed, so "
            "the first training step of the smaller network will change its outputs to meet them. Train it with a "
            f"constraint that allows smaller norms, such as MaxNorm, or with none. Received: {', '.join(broken)}"
        )


def has_constraints(model: Any) -> bool:
    """Whether a trained weight of a model has a constraint."""
    return any(getattr(variable, "constraint", None) is not None for variable in model.trainable_variables)


def _meets(variable: Any, constraint: Any) -> bool:
    weights = ops.convert_to_tensor(variable)
    near = TOLERANCES.get(keras.backend.standardize_dtype(variable.dtype), 1e-3)
    moved, kept = (array(ops.cast(each, "float32")) for each in (constraint(weights), weights))
    return bool(np.allclose(moved, kept, rtol=near, atol=1e-5))
