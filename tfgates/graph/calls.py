"""The arguments of calls: in one form, and those of nested models."""

import inspect
from typing import Any

import keras
from keras import tree

from tfgates.keras_internals import calls_of, inputs_structure, mask_of


def in_form(op: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments of a call with the first one by position, and `training` and `mask` by keyword."""
    if not args and not kwargs:
        return args, kwargs
    parameters = inspect.signature(op.call).parameters
    names = list(parameters)
    counted = all(p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
    if isinstance(op, keras.Layer) and counted:
        # What comes behind one that is given by keyword is so too.
        by_position = next((i for i, name in enumerate(names) if name in ("training", "mask") and i), len(args))
        kwargs = {**dict(zip(names[by_position:], args[by_position:], strict=False)), **kwargs}
        args = args[:by_position]
    if not args and names[0] in kwargs:
        return (kwargs[names[0]],), {name: value for name, value in kwargs.items() if name != names[0]}
    return args, kwargs


def arguments_by_name(op: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of a layer by the names that its `call` has for them."""
    return dict(inspect.signature(op.call).bind_partial(*args, **kwargs).arguments)


def has_own_mask(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call is given other masks than those that what it is called on carries.

    Keras writes these down as if they had been given.
    """
    if not args or kwargs.get("mask") is None:
        return False
    carried = [mask_of(x) for x in tree.flatten(args[0])]
    given = tree.flatten(kwargs["mask"])
    return len(carried) != len(given) or any(a is not b for a, b in zip(carried, given, strict=True))


def called_with_mask(model: keras.Model) -> bool:
    """Whether a call of a model has masks of its own: it then stays whole in all of its calls, as one layer."""
    calls = (node.arguments for node in calls_of(model))
    return any(has_own_mask(*in_form(model, call.args, call.kwargs)) for call in calls)


def check_nested(name: str, kwargs: dict[str, Any]) -> None:
    """Refuses keywords of the call of a nested model that its calls would not be given when it is laid out flat.

    Raises:
        ValueError: naming them.
    """
    others = sorted(set(kwargs) - {"training", "mask"})
    if others:
        raise ValueError(
            f"Nested model {name!r} must be called with no other keywords than `training` and `mask`: what others do "
            f"in it is not known. Received: {', '.join(f'{key}={kwargs[key]!r}' for key in others)}"
        )


def inputs_in_order(functional: keras.Model, given: Any) -> list[Any] | None:
    """What a Functional model is called on as a list in the order of its inputs, matched as Keras does.

    A dict goes by the names of the inputs, unless the model was made with a dict of inputs: then by
    its keys. None if the names or the number do not match.
    """
    structure = inputs_structure(functional)
    if isinstance(given, dict) and isinstance(structure, dict):
        if set(given) != set(structure):
            return None
    elif isinstance(given, dict):
        names = [t.name for t in functional.inputs]
        if not set(names) <= set(given):
            return None
        given = [given[name] for name in names]
    flat = tree.flatten(given)
    return flat if len(flat) == len(functional.inputs) else None


def nested_inputs(functional: keras.Model, given: Any, name: str) -> list[Any]:
    """`inputs_in_order` for the call of a nested model, or a ValueError if its graph cannot be followed."""
    flat: Any = inputs_in_order(functional, given)
    # Keras adds or removes an axis of length 1 where the rank differs; it passes None on to optional inputs.
    ranks = None if flat is None else [len(t.shape) if isinstance(t, keras.KerasTensor) else None for t in flat]
    if ranks != [len(t.shape) for t in functional.inputs]:
        wanted = {t.name: tuple(t.shape) for t in functional.inputs}
        received = tree.map_structure(lambda x: getattr(x, "shape", None), given)
        raise ValueError(
            f"Nested model {name!r} must be called on one tensor of the same rank for each of its inputs, in a dict "
            f"by their names, so that its graph can be followed: {wanted}. Received: {received}"
        )
    return flat
