"""Normalisations whose statistics run over channels."""

from typing import Any

import keras
import numpy as np

from tfgates.anatomy.normalization import AveragingAnatomy, GroupNormalizationAnatomy, RMSNormalizationAnatomy
from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.rules.normalization import PerChannelRule
from tfgates.graph.slices import Fold
from tfgates.graph.values import GENERIC, is_known
from tfgates.graph.walk import Walk


@register_rule(AveragingAnatomy)
class AveragingRule(Rule):
    """A normalisation that takes the mean of all channels: without those that are 0 it would be another one."""

    reason = keeps = AveragingAnatomy.inseparable
    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is None:
            walk.set(node, None)
            return
        walk.groups.lock(x.group, self.why(node))
        y = walk.like(x, live=np.full(len(x), TRUE), value=np.full(len(x), np.nan))
        if node.by_channel:
            # What it makes can be read in part.
            y.group = walk.slot(node, "read", len(x))
        walk.set(node, y)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        result, y = super().emit(surgery, node, args, kwargs), surgery.walk.output(node)
        if not node.by_channel or y is None:
            return result
        if not surgery.keep(y.group).any():
            surgery.nothing_left(node)
        return surgery.pick(result, surgery.keep(y.group), y.axis)


@register_rule(GroupNormalizationAnatomy)
class GroupNormalizationRule(PerChannelRule):
    """The mean and variance of each group of channels: groups go as a whole.

    A group of constants becomes other constants, in training as at inference.
    """

    reason = "its statistics run over another axis than that of the channels, and over the channels"

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is None or not self.keeps_axis(walk, node, x):
            return super().forward(walk, node)
        if node.op.groups == 1 and len(x) > 1:
            walk.groups.lock(x.group, f"{node.name}: {AveragingAnatomy.inseparable}")
            walk.set(node, walk.like(x, live=np.full(len(x), TRUE), value=np.full(len(x), np.nan)))
        else:
            self.tie_parts(walk, node, x.group, x.group)
            walk.set(node, walk.like(x, live=self.of_groups(walk, node, x.live), value=self.constants(walk, node, x)))
        walk.slot(node, "channels", x.group)

    def constants(self, walk: Walk, node: Node, x: Any) -> np.ndarray:
        """What becomes of groups of constants."""
        if not walk.symbolic:
            return self.apply(walk, node, x)

        def throughout(each: Any) -> np.ndarray:
            whole = np.asarray(each).reshape(node.op.groups, -1).all(axis=1)
            return np.repeat(whole, len(x) // node.op.groups)

        known, zero = throughout(is_known(x.value)), throughout(x.value == 0.0)
        return np.where(zero & (node.op.beta is None), 0.0, np.where(known, GENERIC, np.nan))

    def of_groups(self, walk: Walk, node: Node, formulas: np.ndarray) -> np.ndarray:
        """For each channel the formula "any of its group"."""
        each = np.array([walk.formulas.some(part.tolist()) for part in np.split(formulas, node.op.groups)], np.int64)
        return np.repeat(each, len(formulas) // node.op.groups)

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        layer, values = node.op, x.value.reshape(node.op.groups, -1)
        with np.errstate(invalid="ignore"):
            mean, variance = values.mean(axis=1, keepdims=True), values.var(axis=1, keepdims=True)
            made = ((values - mean) / np.sqrt(variance + layer.epsilon)).reshape(-1)
        made = made if layer.gamma is None else made * walk.weight(layer.gamma)
        return made if layer.beta is None else made + walk.weight(layer.beta)

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if node.index in walk.refused or x is None or y is None:
            return super().backward(walk, node)
        if node.op.groups == 1:
            return walk.need(x, np.full(len(x), TRUE))
        walk.need(x, self.of_groups(walk, node, y.need))

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        return node.op.gamma is not None

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        layer, left = node.op, keep.get("channels", np.ones(0, bool))
        factor = surgery.factor(node, len(left))[left]
        if not np.any(factor != 1.0):
            return {}
        return {name: [Fold(factor)] for name in ("gamma", "beta") if getattr(layer, name) is not None}


class SquaresRule(ElementwiseRule):
    """A normalisation by the squares of all channels: those that are 0 count nothing, and stay 0."""

    keeps_zero = True
    reason = "its statistics run over other axes than that of the channels"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        axes = node.op.axis if isinstance(node.op.axis, (list, tuple)) else [node.op.axis]
        return [axis % len(walk.shape(node.inputs[0])) for axis in axes] == [x.axis]

    def forward(self, walk: Walk, node: Node) -> None:
        x = walk.inputs(node)[0]
        if x is not None and self.keeps_axis(walk, node, x):
            stuck = (x.live != TRUE) & (x.value != 0.0)
            walk.groups.lock(x.group[stuck], f"{node.name}: the square of a constant other than 0 counts in it")
        super().forward(walk, node)
        y = walk.output(node)
        if y is not None:
            walk.set(node, walk.like(y, value=np.where(x.value == 0.0, 0.0, np.nan)))

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if node.index in walk.refused or x is None or y is None:
            return super().backward(walk, node)
        walk.need(x, np.full(len(x), walk.formulas.any(y.need), np.int64))


@register_rule(keras.layers.UnitNormalization)
class UnitNormalizationRule(SquaresRule):
    """`x / sqrt(sum(x ** 2))`."""


@register_rule(RMSNormalizationAnatomy)
class RMSNormalizationRule(SquaresRule, PerChannelRule):
    """`x * scale / sqrt(mean(x ** 2) + epsilon)`.

    Of n channels of which m are left the mean of squares is n / m times as large, which goes into `scale`
    and `epsilon`.
    """

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return x.value

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        left = keep.get("channels", np.ones(1, bool))
        share = len(left) / np.sum(left)
        config["epsilon"] = node.op.epsilon * share
        factor = surgery.factor(node, len(left))[left] * np.sqrt(share)
        return {"scale": [Fold(factor)]} if np.any(factor != 1.0) else {}

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        return True
