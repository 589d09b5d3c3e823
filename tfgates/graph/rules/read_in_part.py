"""What is read of tensors that stay whole beside others that lose channels."""

from typing import Any

from keras import tree

from tfgates.graph.network import Node, Ref


def as_far_as_needed(surgery: Any, node: Node, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a call, with what its output keeps of the channels of tensors that stay whole.

    Args:
        surgery: the surgery, whose walk has noted these tensors (`CallNotes.read_in_part`).
        node: the call.
        args, kwargs: the arguments of the new call.
    """
    walk = surgery.walk
    whole, y = walk.notes(node).read_in_part, walk.output(node)
    if not whole or y is None or node.index in walk.refused:
        return args, kwargs
    keep = surgery.keep(y.group)

    def pick(ref: Any, x: Any) -> Any:
        axis = whole.get(ref.tensor) if isinstance(ref, Ref) else None
        return x if axis is None else surgery.pick(x, keep, axis)

    found: tuple[Any, Any] = tree.map_structure(pick, (node.args, node.kwargs), (args, kwargs))
    return found
