"""The state of an optimizer, cut as the variables that it belongs to."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfgates.graph.slices import Heir, folded
from tfgates.keras_internals import (
    LISTS_OF_OPTIMIZERS,
    carry_undecayed,
    inner_optimizers,
    learning_rate_of,
    own_trainable_variables,
    routes_of,
)
from tfgates.optimizers import ScalingOptimizer
from tfgates.optimizers.scaling_optimizer import FollowedRate
from tfgates.pruning.compiling import copy_of

# Averages of weights, which take up what the weights do; all others are of gradients.
AVERAGES = "_model_variables_moving_average"


def successor_of(optimizer: Any, renamed: dict[str, str]) -> Any:
    """A new optimizer of the same kinds and settings, without slots.

    Args:
        optimizer: a Keras optimizer, with optimizers inside or not.
        renamed: dict from the path of each variable before to that of its heir.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(
            successor_of(optimizer.inner_optimizer, renamed),
            initial_scale=optimizer.initial_scale,
            dynamic_growth_steps=optimizer.dynamic_growth_steps,
        )
    if isinstance(optimizer, ScalingOptimizer):
        routes = routes_of(optimizer)
        rate = learning_rate_of(routes.scaling)
        scaling = copy_of(routes.scaling, FollowedRate() if isinstance(rate, FollowedRate) else None)
        paths = sorted(renamed[path] for path in routes.paths if path in renamed)
        return type(optimizer)(_map_of(routes.optimizer_map, renamed), scaling, paths, name=optimizer.name)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return type(optimizer)(
            _map_of(routes_of(optimizer), renamed),
            loss_scale_factor=optimizer.loss_scale_factor,
            name=optimizer.name,
        )
    return copy_of(optimizer)


def _map_of(optimizers: Any, renamed: dict[str, str]) -> Any:
    """A map of optimizers with new ones in it."""
    if not isinstance(optimizers, keras.optimizers.OptimizerMap):
        raise ValueError(
            "The optimizers of a MultiOptimizer must come in a keras.optimizers.OptimizerMap, which can be made again. "
            f"Received: {type(optimizers).__name__}"
        )
    made: dict[int, Any] = {}

    def again(each: Any) -> Any:
        return made.setdefault(id(each), successor_of(each, renamed))

    names = {name: again(optimizers[name]) for name in optimizers}
    return type(optimizers)(again(optimizers.default_optimizer), names)


def carry_exclusions(new: Any, old: Any, heirs: Iterable[Heir]) -> None:
    """Tells a new optimizer, not yet built, which variables have no weight decay."""
    pairs = [(each.variable, each.source.variable) for each in heirs if each.source is not None]
    for to, before in zip(leaves(new), leaves(old), strict=True):
        carry_undecayed(to, before, pairs)


def inside(optimizer: Any) -> list[Any]:
    """The optimizers that an optimizer holds."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [optimizer.inner_optimizer]
    return inner_optimizers(optimizer)


def leaves(optimizer: Any) -> list[Any]:
    """The optimizers inside of an optimizer that have slots; itself, if there are none."""
    return [leaf for each in inside(optimizer) for leaf in leaves(each)] or [optimizer]


def carry_state(new: Any, old: Any, heirs: dict[int, Heir], reset_slots: bool = False) -> None:
    """Gives a built optimizer the state of the one before it.

    Args:
        new, old: optimizers of the same kinds.
        heirs: by id of each new variable where it comes from.
        reset_slots: bool, whether slots of gradients (momentum, say) stay at 0 and counters go on. Averages of weights
            are kept in any case.

    Raises:
        ValueError: for a variable of the optimizer that is neither a number nor shaped like what it belongs to.
    """
    carried: set[int] = set()
    for to, before in zip(inside(new), inside(old), strict=True):
        # Keras counts their variables among those of the optimizer around them.
        carried.update(map(id, to.variables))
        if before.built:
            carry_state(to, before, heirs, reset_slots)
    numbers = {id(v): index for index, v in enumerate(own_trainable_variables(old))}
    for name, value in vars(new).items():
        source = getattr(old, name, None)
        if isinstance(value, keras.Variable) and isinstance(source, keras.Variable):
            _assign(value, np.asarray(ops.convert_to_numpy(source)), name)
            carried.add(id(value))
        if (
            not isinstance(value, list)
            or name in LISTS_OF_OPTIMIZERS
            or len(value) != len(own_trainable_variables(new))
        ):
            continue
        for variable, slot in zip(own_trainable_variables(new), value, strict=True):
            if not isinstance(slot, keras.Variable):
                continue
            carried.add(id(slot))
            _carry_slot(name, slot, variable, source, numbers, heirs[id(variable)], reset_slots)
    missing = [variable.path for variable in new.variables if id(variable) not in carried]
    if missing:
        raise ValueError(
            f"`optimizer` must hold its state as variables, or in lists with one for each variable that it trains, to "
            f"be cut. Received: {type(old).__name__} with {missing}"
        )


def _carry_slot(name: str, slot: Any, variable: Any, source: Any, numbers: Any, heir: Heir, reset: bool) -> None:
    if heir.source is None or source[numbers[id(heir.source.variable)]] is None:
        # A variable that was not there: its slots begin as they do; its average with itself.
        if name == AVERAGES:
            _assign(slot, np.asarray(ops.convert_to_numpy(variable)), name)
        return
    if reset and name != AVERAGES:
        return
    value = np.asarray(ops.convert_to_numpy(source[numbers[id(heir.source.variable)]]))
    kept = along(name, heir.source.kept, tuple(heir.source.variable.shape), value.shape)
    if kept is None:
        raise ValueError(
            f"`{name}` of the optimizer must be shaped like the variable that it belongs to, or like that without one "
            f"of its axes. Received: {value.shape} for {heir.source.variable.path} of {tuple(variable.shape)}"
        )
    for axis, indices in kept.items():
        value = np.take(value, indices, axis=axis)
    _assign(slot, folded(value, heir.folds) if name == AVERAGES else value, name)


def along(name: str, kept: Any, shape: tuple[int, ...], slot: tuple[int, ...]) -> dict[int, np.ndarray] | None:
    """What is cut of a slot, `kept` being what is cut of the variable of `shape`; None for what is shaped otherwise.

    Adafactor keeps in `_r` the means over the last axis, in `_c` those over the last but one.
    """
    if slot == shape:
        return dict(kept)
    if not any(size > 1 for size in slot):
        return {}
    dropped = len(shape) - (2 if name == "_c" else 1)
    rest = [axis for axis in range(len(shape)) if axis != dropped]
    if slot != tuple(shape[axis] for axis in rest):
        return None
    return {place: kept[axis] for place, axis in enumerate(rest) if axis in kept}


def _assign(variable: Any, value: np.ndarray, name: str) -> None:
    if tuple(variable.shape) != value.shape:
        raise ValueError(
            f"`{name}` of the optimizer must have the shape {tuple(variable.shape)} once it is cut. "
            f"Received: {value.shape}"
        )
    variable.assign(np.array(value))
