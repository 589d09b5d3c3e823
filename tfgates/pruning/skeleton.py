"""The shape of a network that was pruned, as data: layers with units or cost, where branches meet, what reads what."""

from typing import Any

from tfgates.pruning.plan import PruningPlan


def skeleton_of(plan: PruningPlan) -> list[dict[str, Any]]:
    """The calls of the network before pruning that have units or a cost, and those at which tensors meet.

    What lies between them, activations say, is passed over.

    Returns:
        In the order of the calls a dict for each: `name`, `kind`, `row` (its place in `plan.layers`, or None), `reads`
        (places in this list of what it reads) and `left` (False if nothing of it is). The model's inputs come first.
    """
    network = plan.network
    rows = {row.call: place for place, row in enumerate(plan.layers)}
    items: list[dict[str, Any]] = []
    # For each tensor the places in the list that it comes from.
    sources: dict[int, list[int]] = {}
    for tensor, made in zip(network.inputs, network.functional.inputs, strict=True):
        sources[tensor] = [len(items)]
        items.append({"name": made.name, "kind": "input", "row": None, "reads": [], "left": True})
    for node in network.nodes:
        reads = list(dict.fromkeys(place for tensor in node.inputs for place in sources.get(tensor, ())))
        row = rows.get(node.index)
        if row is not None or len(reads) > 1:
            left = node.index in plan.used
            items.append({"name": node.name, "kind": type(node.op).__name__, "row": row, "reads": reads, "left": left})
            reads = [len(items) - 1]
        for tensor in node.outputs:
            sources[tensor] = reads
    return items
