"""Slices and padding, along the channels and along places."""

from typing import Any

import keras
import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.network import Node
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.moving import Moved, MovingRule
from tfgates.graph.walk import Walk


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
    """Padding along the channels too, as in the shortcuts of CIFAR's residual networks: constants of their own.

    Where channels are added, those in front and behind go one by one, so that streams are chosen apart:
    what is left picks the channels in front that are still read, and has the constant in the place of others.
    """

    def begins_stream(self, walk: Walk, node: Node) -> bool:
        """Whether what the call makes are channels of their own, and not those that it reads."""
        return walk.notes(node).moved is not None and not walk.notes(node).whole

    def channels(self, walk: Walk, x: Channels, moved: Moved) -> Channels:
        y = super().channels(walk, x, moved)
        there = moved.channel >= 0
        if not there.all():
            y = walk.fresh(y.axis, len(y), y.live, y.value)
            # A closed channel that is the constant needs not be there to be picked.
            picked = there & (x.value[moved.channel] != moved.filler)
            walk.imply(y.group[picked], x.group[moved.channel[picked]])
        return y

    def can_pick(self, node: Node, shape: tuple[Any, ...], x: Channels, found: list[Moved]) -> bool:
        (part,) = found
        there = part.channel >= 0
        mode = getattr(node.op, "mode", None)
        return mode == "constant" and part.axis == x.axis and np.array_equal(part.channel[there], np.arange(len(x)))

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        walk = surgery.walk
        if not self.begins_stream(walk, node):
            return super().emit(surgery, node, args, kwargs)
        (moved,) = walk.notes(node).moved
        stays = surgery.keep(walk.inputs(node)[0].group)
        channel = moved.channel[surgery.keep(walk.output(node).group)]
        picked = (channel >= 0) & stays[channel]
        tensor = self.picked(surgery, node, args[0], (np.cumsum(stays) - 1)[channel[picked]], moved.axis)
        widths = [tuple(width) for width in node.op.pad_width]
        widths = widths * len(walk.shape(node.inputs[0])) if len(widths) == 1 else widths
        there = np.flatnonzero(picked)
        first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
        in_a_row = last - first == len(there)
        # With constants in between they are taken from one position in front.
        widths[moved.axis] = (first, len(picked) - last) if in_a_row else (1, 0)
        padded = keras.ops.pad(tensor, widths, mode="constant", constant_values=moved.filler)
        if in_a_row:
            return padded
        return keras.ops.take(padded, np.where(picked, np.cumsum(picked), 0).astype("int32"), axis=moved.axis)
