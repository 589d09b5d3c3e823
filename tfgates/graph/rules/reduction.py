"""Reductions over places: means, maxima, sums."""

import copy
import math
from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.values import PROBES, combine_constants
from tfgates.graph.walk import Walk


@register_rule(
    "Median", "Prod", "Var", "Std", "All", "Logsumexp",
)  # fmt: skip
class ReductionRule(Rule):
    """Places are reduced to one; the channels stay apart."""

    reason = "it runs over the channels too"
    multiplies = False

    def axes(self, walk: Walk, node: Node) -> list[int]:
        rank, axis = len(walk.shape(node.inputs[0])), node.op.axis
        axes = range(rank) if axis is None else [axis] if isinstance(axis, int) else axis
        return sorted(each % rank for each in axes)

    def forward(self, walk: Walk, node: Node) -> None:
        if len(node.inputs) != 1 or walk.inputs(node)[0] is None:
            return walk.set(node, None) if len(node.inputs) == 1 else self.refuse(walk, node)
        x, axes = walk.inputs(node)[0], self.axes(walk, node)
        if x.axis in axes and self.takes_zeros(walk, node):
            walk.set(node, None)
            stuck = (x.live != TRUE) & (x.value != 0.0)
            walk.groups.lock(x.group[stuck], f"{node.name}: reads a constant other than 0")
            return None
        if x.axis in axes or 0 in axes:
            return self.refuse(walk, node)
        axis = x.axis if node.op.keepdims else x.axis - sum(each < x.axis for each in axes)
        return walk.set(node, walk.like(x, axis=axis, value=self.reduced(walk, node, x, axes)))

    def reduced(self, walk: Walk, node: Node, x: Channels, axes: list[int]) -> np.ndarray:
        """What becomes of constants: the operator is called on as many of them as there are places."""
        dtype = walk.network.dtypes[node.inputs[0]]
        sizes = [walk.shape(node.inputs[0])[axis] for axis in axes]
        if None not in sizes:
            return of_places(node.op, x.value, dtype, math.prod(sizes))
        # What is the same for two numbers of places is taken to be so for all: a mean, or a sum of zeros.
        some, more = (of_places(node.op, x.value, dtype, places) for places in (2, 3))
        two, three = (of_places(node.op, np.array(PROBES), dtype, places) for places in (2, 3))
        if np.allclose(two, three):
            return some
        return np.where(np.isfinite(some) & (some == more), some, np.nan)

    def takes_zeros(self, walk: Walk, node: Node) -> bool:
        """Whether channels that are 0 can go where it runs over the channels: see `left`."""
        return False

    def left(self, node: Node, result: Any, share: float) -> Any:
        """What it is of all channels, those that went among them, which were 0.

        Args:
            node: the call.
            result: what it is of those that are left.
            share: how many of all these are.
        """
        return result

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused or walk.output(node) is None:
            return super().backward(walk, node)
        return walk.need(walk.inputs(node)[0], walk.output(node).need)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        result, walk = super().emit(surgery, node, args, kwargs), surgery.walk
        x: Channels | None = walk.inputs(node)[0] if len(node.inputs) == 1 else None
        if x is None or node.index in walk.refused or x.axis not in self.axes(walk, node):
            return result
        keep = surgery.keep(x.group)
        return result if keep.all() else self.left(node, result, float(keep.mean()))


@register_rule("Any")
class AnyRule(ReductionRule):
    """Whether anything is other than 0."""

    def takes_zeros(self, walk: Walk, node: Node) -> bool:
        return True


class FloatRule(ReductionRule):
    """A reduction of numbers of which it is known what zeros do to it."""

    def takes_zeros(self, walk: Walk, node: Node) -> bool:
        return "float" in walk.network.dtypes[node.inputs[0]]


@register_rule("Sum")
class SumRule(FloatRule):
    """Zeros add nothing."""


@register_rule("Mean")
class MeanRule(FloatRule):
    """Zeros make it smaller."""

    def left(self, node: Node, result: Any, share: float) -> Any:
        return keras.ops.multiply(result, share)


@register_rule("Max", "Amax")
class MaxRule(FloatRule):
    """Zeros count."""

    def left(self, node: Node, result: Any, share: float) -> Any:
        return keras.ops.maximum(result, 0.0)


@register_rule("Min", "Amin")
class MinRule(FloatRule):
    """Zeros count."""

    def left(self, node: Node, result: Any, share: float) -> Any:
        return keras.ops.minimum(result, 0.0)


def of_places(operator: Any, value: np.ndarray, dtype: str, places: int) -> np.ndarray:
    """What a reduction makes of each constant at so many places."""
    operator = copy.copy(operator)
    operator.axis, operator.keepdims = (1,), False

    def call(columns: list[np.ndarray]) -> np.ndarray:
        rows = np.repeat(columns[0].astype(dtype)[:, None], places, axis=1)
        result = operator.call(keras.ops.convert_to_tensor(rows))
        return np.asarray(keras.ops.convert_to_numpy(result), np.float64)

    return combine_constants(call, [value])
