"""Sums of tensors: a constant tensor is dropped when something else is left to carry the shape."""

from typing import Any

import keras
import numpy as np

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.masks import why_mixed
from tfgates.graph.network import Node, Ref
from tfgates.graph.rule import register_rule, rule_for
from tfgates.graph.rules.merge import MergeRule, Part
from tfgates.graph.walk import Walk
from tfgates.keras_internals import call_of, history_of

layers = keras.layers


@register_rule(layers.Add, "Add")
class AddRule(MergeRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.sum(values, axis=0)

    def droppable(
        self, walk: Walk, node: Node, operands: list[Any], parts: list[Part], shape: tuple[Any, ...], axis: int
    ) -> dict[int, np.ndarray]:
        """Constant operands, if another one has the output's shape: `{operand: constants}`.

        Where all that have it are constants, by weights that training has closed, say, one stays: what is not 0 before
        what is, as a closed gate makes it, and what was made earlier before what was made of it.
        """
        if walk.symbolic or not self.may_drop(walk, node):
            return {}
        constant = {
            i: p.value
            for i, p in enumerate(parts)
            if p.group is not None and not p.weight and np.all(p.live == FALSE) and np.all(np.isfinite(p.value))
        }
        carriers = [i for i, o in enumerate(operands) if isinstance(o, Ref) and walk.shape(o.tensor) == shape]
        if carriers and all(i in constant for i in carriers):
            del constant[min(carriers, key=lambda i: (not np.any(constant[i]), operands[i].tensor))]
        return constant if carriers else {}

    def reads(self, walk: Walk, node: Node) -> dict[int, int]:
        """A constant operand is dropped where one that is never constant carries the shape."""
        state = walk.notes(node).parts
        if state is None or not self.may_drop(walk, node):
            return super().reads(walk, node)
        shape, operands, parts = walk.shape(node.outputs[0]), self.operands(node), state[1]
        live = [walk.formulas.any(part.live) for part in parts]
        carriers = {i for i, o in enumerate(operands) if walk.shape(o.tensor) == shape and live[i] == TRUE}
        found: dict[int, list[int]] = {}
        for i, operand in enumerate(operands):
            drops = parts[i].group is not None and not parts[i].weight and carriers - {i} and self.can_drop(i)
            found.setdefault(operand.tensor, []).append(live[i] if drops else TRUE)
        return {tensor: walk.formulas.some(formulas) for tensor, formulas in found.items()}

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        """Of a whole layer with an open gate, `x + (y - x)`, the layer is left: y."""
        terms = self.operands_of(args)
        history = history_of(terms[-1]) if len(terms) == 2 and type(self) is AddRule else None
        if history is not None and isinstance(rule_for(history.operation), SubtractRule):
            read = call_of(history).input_tensors
            if len(read) == 2 and read[1] is terms[0] and read[0].shape == read[1].shape:
                return read[0]
        result = super().emit(surgery, node, args, kwargs)
        history = history_of(result)
        read = call_of(history).input_tensors
        if type(self) is AddRule and node.layer is None and len(read) == 2:
            first, second = read
            if type(history.operation) is type(node.op) and taken_for_bias(second) and not taken_for_bias(first):
                return surgery.copy(node)(second, first)
        return result

    def can_drop(self, index: int) -> bool:
        """Whether operand number `index` can be left out where it is constant."""
        return True

    def may_drop(self, walk: Walk, node: Node) -> bool:
        """Whether what is left is the sum, with the mask of the sum."""
        return all(isinstance(o, Ref) for o in self.operands(node)) and why_mixed(walk.network, node) is None


def taken_for_bias(tensor: Any) -> bool:
    """Whether a tensor has entries along one axis alone, and that is not the last.

    With TensorFlow, `keras.ops.add` adds such a second operand to axis 1 or to the last one, where their sizes agree by
    chance: biases of three experts, of which one unit is left, to the places of three examples.
    """
    wide = [axis for axis, size in enumerate(tensor.shape) if size != 1]
    return len(wide) == 1 and wide[0] < len(tensor.shape) - 1


@register_rule(layers.Subtract, "Subtract")
class SubtractRule(MergeRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return values[0] - np.sum(values[1:], axis=0)


@register_rule(layers.Average)
class AverageRule(MergeRule):
    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return np.mean(values, axis=0)


@register_rule("CustomScaleLayer")
class ScaledAddRule(AddRule):
    """`x1 + scale * x2`, as in keras.applications.inception_resnet_v2."""

    def combine(self, node: Node, values: list[np.ndarray]) -> np.ndarray:
        return values[0] + node.op.scale * values[1]

    def droppable(
        self, walk: Walk, node: Node, operands: list[Any], parts: list[Part], shape: tuple[Any, ...], axis: int
    ) -> dict[int, np.ndarray]:
        found = super().droppable(walk, node, operands, parts, shape, axis)
        return {1: node.op.scale * found[1]} if 1 in found else {}

    def can_drop(self, index: int) -> bool:
        return index == 1
