"""Slices and padding, along the channels and along places."""

from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.moving import Moved, MovingRule


@register_rule("GetItem")
class SliceRule(MovingRule):
    """`x[key]`."""

    def can_pick(self, node: Node, shape: tuple[Any, ...], x: Channels, found: list[Moved]) -> bool:
        return self.key(node, len(shape), x.axis) is not None

    def key(self, node: Node, rank: int, axis: int) -> tuple[Any, ...] | None:
        """The key with all of `axis` taken; None if it is not a slice there."""
        parts = parts_of_key(node, rank)
        if parts is None:
            return None
        axes = [i for i, part in enumerate(parts) if part is not None]
        if not isinstance(parts[axes[axis]], slice):
            return None
        parts[axes[axis]] = slice(None)
        return tuple(parts)

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk = surgery.walk
        if walk.notes(node).moved is None or walk.notes(node).whole:
            return super().emit(surgery, node, args, kwargs)
        key: Any = self.key(node, len(walk.shape(node.inputs[0])), walk.inputs(node)[0].axis)
        ((positions, axis),) = self.positions(surgery, node)
        tensor = args[0] if all(part == slice(None) for part in key) else surgery.copy(node)(args[0], key)
        return self.picked(surgery, node, tensor, positions, axis)


def parts_of_key(node: Node, rank: int) -> list[Any] | None:
    """The key of `x[key]` with a part for each axis of x, beside new axes; None if it is not of slices and numbers."""
    key = node.args[1] if len(node.args) > 1 else node.kwargs["key"]
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if not all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts):
        return None
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    if Ellipsis in parts:
        where = parts.index(Ellipsis)
        parts[where : where + 1] = [slice(None)] * (rank - taken)
    else:
        parts += [slice(None)] * (rank - taken)
    return parts


@register_rule("Pad")
class PadRule(MovingRule):
    """Padding along the channels too, as in the shortcuts of CIFAR's residual networks: constants of their own."""

    def can_pick(self, node: Node, shape: tuple[Any, ...], x: Channels, found: list[Moved]) -> bool:
        (part,) = found
        there = part.channel >= 0
        mode = getattr(node.op, "mode", None)
        return mode == "constant" and part.axis == x.axis and np.array_equal(part.channel[there], np.arange(len(x)))

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk = surgery.walk
        if walk.notes(node).moved is None or walk.notes(node).whole:
            return super().emit(surgery, node, args, kwargs)
        (moved,) = walk.notes(node).moved
        keep, there = surgery.keep(walk.output(node).group), np.flatnonzero(moved.channel >= 0)
        widths = [tuple(width) for width in node.op.pad_width]
        widths = widths * len(walk.shape(node.inputs[0])) if len(widths) == 1 else widths
        widths[moved.axis] = (int(keep[: there[0]].sum()), int(keep[there[-1] + 1 :].sum()))
        return keras.ops.pad(args[0], widths, mode="constant", constant_values=moved.filler)
