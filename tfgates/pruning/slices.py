"""What pruning leaves of each variable."""

from collections.abc import Iterator
from typing import Any

from tfgates.anatomy import variable_of
from tfgates.graph.rule import rule_of
from tfgates.graph.slices import Slice, Slices
from tfgates.graph.state import activation_variables


def slices_of(plan: Any) -> Slices:
    """The slices of all variables of a plan's model: those of its layers first, then what it has beside them."""
    return Slices({id(each.variable): each for each in _all(plan)}.values())


def _all(plan: Any) -> Iterator[Slice]:
    seen: set[int] = set()
    used = {id(node.op) for node in plan.network.nodes if node.index in plan.used}
    for node in plan.network.nodes:
        if node.layer is None or id(node.op) in seen or (id(node.op) in used and node.index not in plan.used):
            continue
        seen.add(id(node.op))
        for each in of_layer(plan, node, id(node.op) in used):
            # What layers share, the draws of a gate, say, is told of once.
            if id(each.variable) not in seen:
                seen.add(id(each.variable))
                yield each
    for variable in plan.model.variables:
        if id(variable) not in seen:
            yield Slice(variable.path, variable, {}, "it is of no layer of the network")


def of_layer(plan: Any, node: Any, used: bool) -> Iterator[Slice]:
    """The slices of the variables of a call's layer."""
    kept = rule_of(node).slices(plan.walk, node, plan.kept_groups) if used else {}
    copied = node.op.variables if kept is None else activation_variables(node.op) if used else []
    left: dict[int, tuple[str, Any]] = {id(variable): (variable.name, {}) for variable in copied}
    left |= {id(variable_of(node.op, path)): (path, axes) for path, axes in (kept or {}).items()}
    weights = {id(weight) for weight in node.op.weights}
    for variable in node.op.variables:
        path, axes = left.get(id(variable), (variable.name, {}))
        dropped = "" if id(variable) in left else why(used, id(variable) in weights)
        yield Slice(f"{node.name}/{path}", variable, axes, dropped)


def why(used: bool, is_weight: bool) -> str:
    """Why nothing is left of a variable."""
    if not used:
        return "its layer goes"
    return "it is a gate's, of which what is left is in the weights" if is_weight else "the smaller layer has its own"
