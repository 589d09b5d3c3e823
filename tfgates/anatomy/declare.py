"""Declaring the anatomy of a kind of layers."""

from collections.abc import Callable
from typing import Any

import keras

from tfgates.anatomy import registry
from tfgates.anatomy.axes import stretches
from tfgates.anatomy.base import Anatomy


def register_anatomy(*kinds: Any) -> Callable[[type[Anatomy]], type[Anatomy]]:
    """Class decorator: the declaration is that of the given classes of layers, or of single layers.

    It applies only to these classes: a subclass may have its own `call`, and what it computes is not
    known until it is registered too.

    Args:
        *kinds: subclasses of `keras.Layer`, or layers, or names of classes (for classes of Keras that are not public).

    Raises:
        ValueError: if `kinds` are none of these, or if the declaration is not valid.
    """

    def register(declaration: type[Anatomy]) -> type[Anatomy]:
        anatomy = declaration()
        check_declaration(anatomy)
        for kind in kinds:
            if isinstance(kind, keras.Layer):
                registry.LAYERS[kind] = anatomy
            elif isinstance(kind, str) or (isinstance(kind, type) and issubclass(kind, keras.Layer)):
                registry.KINDS[kind] = anatomy
            else:
                raise ValueError(f"`kinds` must be layers or classes of layers. Received: {kind!r}")
        return declaration

    return register


def are_names(axis: Any) -> bool:
    return isinstance(axis, (str, tuple)) and all(isinstance(part, str) for part in stretches(axis))


def check_declaration(anatomy: Anatomy) -> None:
    """Raises a `ValueError` for what is no declaration."""
    name = type(anatomy).__name__
    for path, axes in anatomy.variables.items():
        fits = isinstance(axes, tuple) and axes.count(...) <= 1
        if not fits or not all(axis is None or axis is ... or are_names(axis) for axis in axes):
            raise ValueError(
                f"`variables` of {name} must be a dict from names to tuples of None, names and tuples of names. "
                f"Received: {path}={axes!r}"
            )
    tensors = [*anatomy.reads, "outputs"]
    applied = [anatomy.applied] if isinstance(anatomy.applied, str) else [*anatomy.applied.values()]
    if not {*applied} <= {*tensors}:
        raise ValueError(
            f"`applied` of {name} must be 'outputs' or an argument that `reads` names, of {tensors}. "
            f"Received: applied={anatomy.applied!r}"
        )
    kinds = {part for axes in anatomy.variables.values() for a in axes if a is not ... for part in stretches(a)}
    if not {*anatomy.products} <= {*anatomy.variables}:
        raise ValueError(
            f"`products` of {name} must name variables whose entries multiply, () for none. "
            f"Received: products={anatomy.products!r}, variables {[*anatomy.variables]}"
        )
    if anatomy.variables and not {*anatomy.widths.values()} <= kinds:
        raise ValueError(
            f"`widths` of {name} must name kinds of units that lie along an axis of `variables`, of {sorted(kinds)}. "
            f"Received: widths={dict(anatomy.widths)!r}"
        )
