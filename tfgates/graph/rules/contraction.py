"""Products of tensors along an axis that all of them keep, such as that of the heads of attention."""

import math
from typing import Any

import numpy as np

from tfgates.graph.channels import Channels
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.rules.read_in_part import as_far_as_needed
from tfgates.graph.rules.summed import SummingRule, follow_sum
from tfgates.graph.sizes import counted, entries_per_example
from tfgates.graph.walk import Walk


class ContractionRule(Rule):
    """A product of tensors, position by position along one axis: where a factor is 0 the product is, too.

    A subclass says which axis that is.
    """

    reason = "channels that a product of tensors sums over stay whole"

    def tensors(self, node: Node) -> list[int]:
        """The numbers of the factors."""
        raise NotImplementedError

    def common(self, walk: Walk, node: Node) -> tuple[list[int | None], int] | None:
        """The axis that is kept in each factor, None in one that has none, and in the product; None where none is."""
        raise NotImplementedError

    def each(self, walk: Walk, node: Node, axis: int) -> float:
        """The multiply-accumulates of one position along the axis that is kept, for one example."""
        raise NotImplementedError

    def weighted(self, index: int) -> bool:
        """Whether the product is 0 where factor number `index` is."""
        return True

    def forward(self, walk: Walk, node: Node) -> None:
        if all(channels is None for channels in walk.inputs(node)):
            return walk.set(node, None)
        found = self.common(walk, node)
        if found is None:
            return self.refuse(walk, node)
        axes, made = found
        size = walk.shape(node.outputs[0])[made]
        parts: list[Channels | None] = []
        for tensor, axis in zip(self.tensors(node), axes, strict=True):
            channels = walk.channels[tensor]
            if axis is None:
                if channels is not None:
                    walk.groups.lock(channels.group, f"{node.name}: it is joined with tensors without such channels")
                    walk.need(channels, TRUE)
            elif channels is None and walk.notes(node).read_in_part.setdefault(tensor, axis) != axis:
                # It stays whole, and is read as far as it is needed: along one axis.
                return self.refuse(walk, node)
            parts.append(None if axis is None else channels)
        for tensor in set(node.inputs) - set(self.tensors(node)):
            channels = walk.channels[tensor]
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: a mask is kept whole")
                walk.need(channels, TRUE)
        walk.notes(node).factors = parts
        known = [part for part in parts if part is not None]
        for part in known[1:]:
            walk.groups.tie(known[0].group, part.group)
        live: np.ndarray = np.full(size, TRUE, np.int64)
        for i in range(len(parts)):
            live = walk.formulas.both(live, self.not_zero(parts[i], i, size))
        y = walk.fresh(made, size, live, np.where(live == TRUE, np.nan, 0.0))
        y.group = known[0].group
        return walk.set(node, y)

    def not_zero(self, part: Channels | None, index: int, size: int) -> np.ndarray:
        """Under which gates a factor lets the product be anything but 0."""
        if part is None or not self.weighted(index):
            return np.full(size, TRUE, np.int64)
        return np.where(part.value == 0.0, part.live, TRUE)

    def backward(self, walk: Walk, node: Node) -> None:
        parts = walk.notes(node).factors
        if node.index in walk.refused or parts is None:
            return super().backward(walk, node)
        y = walk.output(node)
        for i, (tensor, part) in enumerate(zip(self.tensors(node), parts, strict=True)):
            channels = walk.channels[tensor]
            if part is None or channels is None:
                continue
            need = y.need
            for j, other in enumerate(parts):
                if j != i:
                    need = walk.formulas.both(need, self.not_zero(other, j, len(y)))
            walk.need(channels, need)
        return None

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        y = walk.output(node)
        if node.index in walk.refused or y is None:
            return super().terms(walk, node)
        return [Term(node.name, 0, self.each(walk, node, y.axis), (y.group,))]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        y = surgery.walk.output(node)
        if node.index not in surgery.walk.refused and y is not None and not surgery.keep(y.group).any():
            surgery.nothing_left(node)
        return super().emit(surgery, node, *as_far_as_needed(surgery, node, args, kwargs))


@register_rule("Einsum")
class EinsumRule(SummingRule, ContractionRule):
    """`einsum("aecd,abcd->acbe", key, query)`: c stays, position by position."""

    def tensors(self, node: Node) -> list[int]:
        return [x.tensor for x in node.args if isinstance(x, Ref)]

    def letters(self, node: Node) -> tuple[list[str], str] | None:
        """The letters of each factor and of the product; None where they are not all named."""
        left, arrow, made = node.op.subscripts.replace(" ", "").partition("->")
        factors = left.split(",")
        named = arrow and "." not in left + made and all(len(set(each)) == len(each) for each in factors)
        return (factors, made) if named and len(factors) == len(self.tensors(node)) == len(node.args) else None

    def common(self, walk: Walk, node: Node) -> tuple[list[int | None], int] | None:
        found = self.letters(node)
        if found is None:
            return None
        factors, made = found
        known = [walk.channels[tensor] for tensor in self.tensors(node)]
        several = any(x is not None and len(x) > 1 for x in known)
        # The one head of keys and values that all heads of queries read stays.
        kept = {
            each[x.axis]
            for each, x in zip(factors, known, strict=True)
            if x is not None and (len(x) > 1 or not several)
        }
        if len(kept) != 1 or not kept <= set(made[1:]):
            return None
        (letter,) = kept
        axes = [each.index(letter) if letter in each else None for each in factors]
        sizes = {walk.shape(t)[a] for t, a in zip(self.tensors(node), axes, strict=True) if a is not None}
        return (axes, made.index(letter)) if len(sizes) == 1 else None

    def forward(self, walk: Walk, node: Node) -> None:
        if not self.follow_sum(walk, node):
            super().forward(walk, node)

    def follow_sum(self, walk: Walk, node: Node) -> bool:
        """Notes what is known of a letter that is summed over; False where all that is known is kept."""
        found, tensors = self.letters(node), self.tensors(node)
        if found is None or len(tensors) != 2:
            return False
        factors, made = found
        known = {
            each[x.axis] for each, x in zip(factors, [walk.channels[t] for t in tensors], strict=True) if x is not None
        }
        letter = known.pop() if len(known) == 1 else made[0]
        if letter in made or not all(letter in each for each in factors):
            return False
        return follow_sum(walk, node, tensors, [each.index(letter) for each in factors])

    def each(self, walk: Walk, node: Node, axis: int) -> float:
        letters_of: Any = self.letters(node)
        (factors, made), sizes = letters_of, dict[str, Any]()
        for tensor, letters in zip(self.tensors(node), factors, strict=True):
            sizes |= dict(zip(letters, counted(walk.network, tensor), strict=True))
        found = [size for letter, size in sizes.items() if letter not in (made[0], made[axis])]
        return math.nan if None in found else math.prod(found) * entries_per_example(walk.network, node.outputs[0])


@register_rule("DotProductAttention")
class DotProductAttentionRule(ContractionRule):
    """`softmax(q k^T) v` of tensors `(batch, steps, heads, width)`, head by head."""

    def tensors(self, node: Node) -> list[int]:
        given = dict(zip(("query", "key", "value"), node.args, strict=False)) | node.kwargs
        return [given[name].tensor for name in ("query", "key", "value")]

    def common(self, walk: Walk, node: Node) -> tuple[list[int | None], int] | None:
        shapes = [walk.shape(tensor) for tensor in self.tensors(node)]
        others = [walk.shape(tensor) for tensor in set(node.inputs) - set(self.tensors(node))]
        # A mask or bias that differs from head to head would have to lose them too.
        by_head = any(len(shape) > 1 and shape[1] != 1 for shape in others)
        known = [x for x in (walk.channels[tensor] for tensor in self.tensors(node)) if x is not None]
        same = len({shape[2] for shape in shapes}) == 1 and all(len(shape) == 4 for shape in shapes)
        return ([2, 2, 2], 2) if same and not by_head and all(x.axis == 2 for x in known) else None

    def weighted(self, index: int) -> bool:
        # Of queries and keys that are 0 the mean over the values is left.
        return index == 2

    def each(self, walk: Walk, node: Node, axis: int) -> float:
        (_, steps, _, width), (_, read, _, value) = (counted(walk.network, self.tensors(node)[i]) for i in (0, 2))
        examples = entries_per_example(walk.network, node.outputs[0])
        return math.nan if None in (steps, read) else steps * read * (width + value) * examples

    def why(self, node: Node) -> str:
        return f"{node.name} ({type(node.op).__name__}): its tensors do not have the same heads on axis 2"
