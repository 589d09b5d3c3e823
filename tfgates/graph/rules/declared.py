"""What follows from the anatomy of a layer alone: what it costs, and the smaller layer."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.anatomy import anatomy_of, take, variable_of
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, Term
from tfgates.graph.sizes import places
from tfgates.graph.slices import Fold, folded
from tfgates.graph.state import activation_variables
from tfgates.graph.walk import Walk


class DeclaredRule(Rule):
    """Base of the rules of layers that have an anatomy (`tfgates.anatomy`).

    A subclass says what is known of the channels, and calls the slots of the groups like the kinds of units
    that the anatomy names. Kinds without a slot stay whole.
    """

    def anatomy(self, node: Node) -> Any:
        return anatomy_of(node.op)

    def counts(self, walk: Walk, node: Node) -> dict[str, int]:
        """How many units of each kind the layer has, found once."""
        notes = walk.notes_of_layer(node)
        if notes.counts is None:
            notes.counts = self.anatomy(node).counts(node.op)
        return notes.counts

    def supported(self, node: Node) -> str | None:
        """None, or the reason why the layer is left alone."""
        reason = self.anatomy(node).obstacle(node.op)
        return None if reason is None else f"{node.name}: {reason}"

    def tensor(self, node: Node, name: str) -> int:
        """The number of the tensor that an anatomy calls by the name of an argument, or `"outputs"`."""
        return node.outputs[0] if name == "outputs" else node.inputs[0]

    def places(self, walk: Walk, node: Node, name: str) -> float:
        """In how many places a tensor has channels; nan where a dimension is unknown."""
        tensor = self.tensor(node, name)
        return places(walk.network, tensor, self.anatomy(node).channel_axis(node.op, len(walk.shape(tensor))))

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        if node.index in walk.refused:
            return super().terms(walk, node)
        anatomy, slots = self.anatomy(node), walk.slots[id(node.op)]
        counts, once = self.counts(walk, node), 0 if walk.seen_before(node) else 1
        products, others = [], dict[tuple[Any, ...], Term]()
        for path, each, kinds in anatomy.summands(node.op, counts):
            each *= math.prod(counts[kind] for kind in kinds if kind not in slots)
            over = tuple(slots[kind] for kind in kinds if kind in slots)
            if path in anatomy.products:
                macs = each * self.places(walk, node, anatomy.applied_at(node.op, path))
                products.append(Term(node.name, each * once, macs, over))
            else:
                others.setdefault(kinds, Term(node.name, 0, 0, over)).params += each * once
        return [*products, *others.values()]

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        return node.inputs[:1]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        return (surgery.made(node) or self.smaller(surgery, node))(args[0], **surgery.feeds(node, args, kwargs))

    def tie_parts(self, walk: Walk, node: Node, inputs: np.ndarray, outputs: np.ndarray) -> None:
        """Ties the groups of each part of the layer, which goes as a whole: the others must keep their equal sizes."""
        parts = self.anatomy(node).parts(node.op)
        if parts > 1:
            first = inputs[:: len(inputs) // parts]
            walk.groups.tie(np.repeat(first, len(inputs) // parts), inputs)
            walk.groups.tie(np.repeat(first, len(outputs) // parts), outputs)

    def kept(self, walk: Walk, node: Node, keep: Any) -> dict[str, np.ndarray]:
        """For each kind of units which of them stay, `keep` a function from groups to booleans."""
        return {kind: keep(groups) for kind, groups in walk.slots[id(node.op)].items()}

    def smaller(self, surgery: Any, node: Node) -> keras.Layer:
        """The layer that is left, with its weights."""
        anatomy, layer = self.anatomy(node), node.op
        keep = self.kept(surgery.walk, node, surgery.keep)
        if not all(left.any() for left in keep.values()):
            surgery.nothing_left(node)
        kind, config = surgery.shell(layer, anatomy.plain(layer))
        anatomy.resize(layer, config, keep)
        kept = anatomy.kept(layer, keep)
        folds = self.folds(surgery, node, keep, config)
        weights = {}
        for path in dict.fromkeys((*kept, *folds)):
            # A variable that was not there begins as 0.
            there = path in kept
            value = take(surgery.walk.weight(variable_of(layer, path)), kept[path]) if there else np.zeros(())
            weights[path] = folded(value, folds.get(path, ()))
        surgery.remember_folds(node, folds)
        return surgery.make(node, kind, config, by_attribute(layer, weights))

    def folds(self, surgery: Any, node: Node, keep: Any, config: dict[Any, Any]) -> dict[str, list[Fold]]:
        """What each variable of the smaller layer takes up: factors, constants.

        What a variable that the layer has not had takes up makes it; `config` is to say that it is there.
        """
        return {}

    def slices(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, dict[int, np.ndarray]] | None:
        if node.index in walk.refused:
            return super().slices(walk, node, keep)
        return self.anatomy(node).kept(node.op, self.kept(walk, node, keep))


def by_attribute(layer: keras.Layer, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """`weights` with those of an activation that is a layer as a list, which the anatomy knows by their numbers."""
    variables = activation_variables(layer)
    if not variables:
        return weights
    inside = {id(variable_of(layer, path)): v for path, v in weights.items() if path.startswith("activation.")}
    found: dict[str, Any] = {path: v for path, v in weights.items() if not path.startswith("activation.")}
    found["activation"] = [inside.get(id(v), np.asarray(keras.ops.convert_to_numpy(v))) for v in variables]
    return found
