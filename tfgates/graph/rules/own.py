"""Layers of which only the anatomy is known, as those of users: nothing is taken to pass through them but zeros."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.graph import rule as rules
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.linear import altered
from tfgates.graph.rules.sequence import InputFeatures
from tfgates.graph.walk import Walk


class OwnRule(InputFeatures, DeclaredRule):
    """Inputs that are 0 go, and outputs that nothing needs; any input may reach any output of its part."""

    def supported(self, node: Node) -> str | None:
        several = "it makes several tensors" if len(node.outputs) > 1 else None
        reason = several or missing(self.anatomy(node), node.op)
        return super().supported(node) or altered(node) or (reason and f"{node.name}: {reason}")

    def forward(self, walk: Walk, node: Node) -> None:
        reason = self.supported(node)
        if reason is not None:
            return self.refuse(walk, node, reason)
        anatomy, counts = self.anatomy(node), self.counts(walk, node)
        (kind,) = anatomy.reads.values()
        shapes = (walk.shape(tensor) for tensor in (node.inputs[0], node.outputs[0]))
        in_axis, out_axis = (anatomy.channel_axis(node.op, len(shape)) for shape in shapes)
        for other in walk.inputs(node)[1:]:
            if other is not None:
                walk.groups.lock(other.group, f"{node.name}: what else it reads is kept whole")
                walk.need(other, TRUE)
        x = self.take_input(walk, node, walk.inputs(node)[0], kind, counts[kind], in_axis)
        walk.notes(node).x = x
        y = walk.fresh(out_axis, walk.shape(node.outputs[0])[out_axis])
        if anatomy.by_channel:
            y.group = walk.slot(node, "outputs", np.repeat(x.group, len(y) // len(x)))
        else:
            y.group = walk.slot(node, anatomy.makes, counts[anatomy.makes])
        self.tie_parts(walk, node, x.group, y.group)
        return walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, demand, parts = walk.notes(node).x, walk.output(node).need, self.anatomy(node).parts(node.op)
        if self.anatomy(node).by_channel:
            for column in demand.reshape(len(x), -1).T:
                walk.need(x, column)
            return None
        needs = [walk.formulas.any(part) for part in np.split(demand, parts)]
        return walk.need(x, np.repeat(needs, len(x) // parts).astype(np.int64))

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        return node.inputs

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        return (surgery.made(node) or self.smaller(surgery, node))(*args, **kwargs)


def missing(anatomy: Any, layer: Any) -> str | None:
    """None, or that no variable carries what the layer reads or makes."""
    kinds = [kind for kind in (*anatomy.reads.values(), anatomy.makes) if kind not in anatomy.counts(layer)]
    return f"its anatomy says of no variable that it carries {kinds[0]!r}" if kinds else None


_OWN = OwnRule()
_OWN.known = True


def find(op: Any) -> OwnRule | None:
    """The rule for a layer that has an anatomy and reads one tensor, else None."""
    anatomy = anatomy_of(op)
    return None if anatomy is None or len(anatomy.reads) != 1 or anatomy.inseparable else _OWN


rules.FALLBACKS.append(find)
