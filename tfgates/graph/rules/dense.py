"""Dense layers."""

from tfgates.anatomy.dense import DenseAnatomy
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.linear import LinearRule


@register_rule(DenseAnatomy)
class DenseRule(LinearRule):
    """Inputs that nothing produces channel by channel can still be picked from."""

    def unknown_input(self, walk, node, axis, size):
        # Picking would lose the mask of the steps.
        masked = walk.network.masks[node.inputs[0]] is not None
        return super().unknown_input(walk, node, axis, size) if masked else walk.local(axis, size)

    def emit(self, surgery, node, args, kwargs):
        walk, tensor = surgery.walk, args[0]
        if node.index not in walk.refused and walk.inputs(node)[0] is not walk.notes(node).x:
            keep = surgery.keep(walk.slots[id(node.op)]["inputs"])
            tensor = surgery.pick(tensor, keep, len(tensor.shape) - 1)
        return super().emit(surgery, node, (tensor, *args[1:]), kwargs)
