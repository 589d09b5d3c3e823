"""The network that is left as an instance of the class that it came from."""

import keras
import numpy as np
from keras import ops

from tfgates.graph.original import Original, original_of
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.surgery import Surgery
from tfgates.selection import PresetSelection

# What a weight of something that counts nothing is below, whatever it was: see `tfgates.selection.preset.STAYS`.
NOTHING = 1e-15


def as_preset(plan: PruningPlan, surgery: Surgery) -> keras.Model:
    """An instance of the class of the network before with the widths and the weights of what is left of it.

    Args:
        plan: a plan with a `PresetSelection`.
        surgery: what was done by it.

    Raises:
        ValueError: if the class is not known in this process, or its instance has other weights than what is left.
    """
    original, selection = original_of(plan.model), plan.selection
    assert original is not None and isinstance(selection, PresetSelection)
    made = instance(original, selection)
    values = weights_left(plan, surgery, original)
    places = sorted(values)
    left, wanted = ([tuple(v.shape) for v in each] for each in ([values[i] for i in places], made.weights))
    if left != wanted:
        first = next((pair for pair in zip(left, wanted, strict=False) if pair[0] != pair[1]), (len(left), len(wanted)))
        why = "; ".join(f"`{name}` stays: {reason}" for name, reason in selection.shape.why.items())
        because = f" ({why})" if why else ""
        raise ValueError(
            f"What is left of {plan.model.name!r} cannot be said by the arguments of its class{because}: "
            "use `preset=False`. "
            f"Received: {original.kind} with {chosen(selection)}, whose first other weight has "
            f"{first[1]} where {first[0]} is left"
        )
    for variable, place in zip(made.weights, places, strict=True):
        variable.assign(values[place])
    return made


def instance(original: Original, selection: PresetSelection) -> keras.Model:
    """A new instance of the class with the arguments that were chosen."""
    kind = original.class_itself()
    if kind is None:
        raise ValueError(
            "`preset=True` needs the class of the network that was gated: import the package that registers it. "
            f"Received: {original.kind!r}, which is not registered"
        )
    config = dict(selection.shape.config)
    parts = {name: part for name, part in original.parts.items() if name in config}
    made = kind.from_config({**config, **dict.fromkeys(parts)})
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def weights_left(plan: PruningPlan, surgery: Surgery, original: Original) -> dict[int, np.ndarray]:
    """What is left of each weight of the network before, by its place among them."""
    found = dict(original.others)
    for node in plan.network.nodes:
        made = surgery.successor(node.op) if node.index in plan.used and node.layer is not None else None
        if made is None or node.name not in original.weights:
            continue
        for place, variable in zip(original.weights[node.name], made.weights, strict=True):
            value = np.asarray(ops.convert_to_numpy(variable))
            # What was kept for the width of its layer alone.
            found[place] = np.where(np.abs(value) < NOTHING, np.zeros_like(value), value)
    return found


def chosen(selection: PresetSelection) -> str:
    """The widths that were chosen, in words."""
    shape = selection.shape
    names = [shape.width, *shape.heads, shape.layers]
    return ", ".join(f"{name}={shape.arguments[name]}" for name in names if name is not None)
