"""The shape that a class can say by its arguments: so many layers, each of one width, and of so many heads."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgates.costs import ExpectedCost
from tfgates.graph.original import Original

# Arguments that say how wide the hidden layer of each MLP is, how many layers there are, and how wide a head is.
WIDTHS = ("intermediate_dim", "mlp_dim", "feedforward_dim")
LAYERS, HEAD_WIDTH = "num_layers", "head_dim"
# Heads of queries, and of keys and values where these are fewer.
QUERIES, KEYS = ("num_heads", "num_query_heads"), "num_key_value_heads"

BRANCH, LAYER, HEADS = "branch", "layer", "heads"


@dataclasses.dataclass
class TargetShape:
    """Which arguments of a class are widths, and the gates that they are the widths of.

    Attributes:
        config: all arguments.
        arguments: the dict within them that has the widths: that of a backbone within a task.
        width: name of the argument for the width of MLPs, or None; `factor`: how many times a gate's units it counts.
        heads: names of the arguments for the numbers of heads, those of a gate's units first, where fewer can be said.
        layers: name of the argument for the number of layers, where fewer can be said.
        of_width, of_heads, of_layers: by layer the numbers of its gates on units of the MLP, on heads, and on branches
            or wholes that end with a normalisation; `wholes`: the numbers of the last.
        names: the layers, by number.
        why: by argument why it has to stay as it is.
    """

    config: dict[str, Any]
    arguments: dict[str, Any]
    width: str | None = None
    factor: int = 1
    heads: tuple[str, ...] = ()
    layers: str | None = None
    of_width: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    of_heads: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    of_layers: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    wholes: list[int] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    why: dict[str, str] = dataclasses.field(default_factory=dict)

    def set(self, width: int | None, heads: int | None, layers: int | None) -> None:
        """Writes widths into the arguments; None leaves one as it is."""
        if width is not None and self.width is not None:
            self.arguments[self.width] = width * self.factor
        if heads is not None and self.heads:
            before = {name: self.arguments[name] for name in self.heads}
            if self.arguments.get(HEAD_WIDTH) is None:
                self.arguments[HEAD_WIDTH] = self.arguments["hidden_dim"] // self.arguments[self.heads[-1]]
            for name in self.heads:
                self.arguments[name] = before[name] // before[self.heads[0]] * heads
        if layers is not None and self.layers is not None:
            self.arguments[self.layers] = layers


def target_shape(original: Original, cost: ExpectedCost) -> TargetShape:
    """Finds the widths among the arguments of a class, by the units of the gates.

    Args:
        original: what the network was before.
        cost: the `ExpectedCost` of the gated network.
    """
    config = original_config(original)
    arguments = config["backbone"]["config"] if isinstance(config.get("backbone"), dict) else config
    shape = TargetShape(config, arguments)
    found = {i: pairs[0] for i, gate in enumerate(cost.gates) if len(pairs := original.places.get(gate.name, [])) == 1}
    on_units = {i: path for i, (path, word) in found.items() if word not in (BRANCH, LAYER, HEADS)}
    for name in WIDTHS:
        value = arguments.get(name)
        if isinstance(value, int) and shape.width is None:
            own = {i: path for i, path in on_units.items() if value in (cost.gates[i].units, 2 * cost.gates[i].units)}
            if own:
                shape.width, shape.factor = name, value // cost.gates[next(iter(own))].units
                on_units = own
    if shape.width is None:
        on_units = {}
    on_heads = {i: path for i, (path, word) in found.items() if word == HEADS}
    by_layer = prefixes(list((on_units or on_heads).values()))
    shape.names = list(by_layer)
    for numbers, each in ((on_units, shape.of_width), (on_heads, shape.of_heads)):
        _into(each, numbers, by_layer)
    _into(shape.of_layers, {i: path for i, (path, word) in found.items() if word in (BRANCH, LAYER)}, by_layer)
    shape.wholes = [i for i, (_, word) in found.items() if word == LAYER]
    _name_heads(shape, cost)
    _name_layers(shape, original, cost)
    return shape


def original_config(original: Original) -> dict[str, Any]:
    """The arguments of a class, to be changed."""
    return Original.from_dict(original.to_dict()).config


def prefixes(paths: Sequence[str]) -> dict[str, int]:
    """The layers that paths lead into, with their numbers: the shortest beginnings that tell all of them apart."""
    parts = [path.split("/") for path in paths]
    for depth in range(1, max(map(len, parts), default=0)):
        found = ["/".join(each[:depth]) for each in parts]
        if len(set(found)) == len(found):
            return {name: i for i, name in enumerate(found)}
    return {path.rpartition("/")[0]: 0 for path in paths} if len(paths) == 1 else {}


def _into(layers: dict[int, list[int]], gates: Mapping[int, str], by_layer: Mapping[str, int]) -> None:
    """Sorts gates, numbers with paths, into layers."""
    for gate, path in gates.items():
        for name, layer in by_layer.items():
            if path.startswith(f"{name}/"):
                layers.setdefault(layer, []).append(gate)


def _name_heads(shape: TargetShape, cost: ExpectedCost) -> None:
    """Finds out whether fewer heads can be said."""
    queries = next((name for name in QUERIES if isinstance(shape.arguments.get(name), int)), None)
    if queries is None or not shape.of_heads:
        return
    names = (KEYS, queries) if isinstance(shape.arguments.get(KEYS), int) else (queries,)
    if HEAD_WIDTH not in shape.arguments:
        shape.why[queries] = f"the class has no argument `{HEAD_WIDTH}`: fewer heads would be wider ones"
    elif any(cost.gates[i].units != shape.arguments[names[0]] for each in shape.of_heads.values() for i in each):
        shape.why[queries] = f"the gates are not on as many heads as `{names[0]}` says"
    elif len(shape.of_heads) != shape.arguments.get(LAYERS):
        shape.why[queries] = "not every layer has gates on its heads"
    else:
        shape.heads = names


def _name_layers(shape: TargetShape, original: Original, cost: ExpectedCost) -> None:
    """Finds out whether fewer layers can be said, and which can go."""
    count = shape.arguments.get(LAYERS)
    if not isinstance(count, int):
        return
    if not shape.of_layers:
        shape.why[LAYERS] = "no gates are on branches: gate the model with `residual=('inner', 'block')`"
        shape.of_layers = {}
        return
    if count != len(shape.names):
        shape.why[LAYERS] = f"`{LAYERS}` says {count} layers, and {len(shape.names)} have gates"
        shape.of_layers = {}
        return
    starts = np.cumsum([0, *(gate.units for gate in cost.gates)])
    left = []
    for layer, gates in list(shape.of_layers.items()):
        chosen: np.ndarray = np.ones(starts[-1], bool)
        for i in (*gates, *shape.of_width.get(layer, ()), *shape.of_heads.get(layer, ())):
            chosen[starts[i] : starts[i + 1]] = False
        truths = cost.widths.truths(chosen)
        params = cost.widths.table(cost.widths.kept(truths), truths)[:, cost.columns.index("params")]
        inside = [original.paths.get(name, "").startswith(f"{shape.names[layer]}/") for name in cost.names]
        if params[inside].any():
            left.append(next(name for name, own, n in zip(cost.names, inside, params, strict=True) if own and n))
            del shape.of_layers[layer]
    if shape.of_layers:
        shape.layers = LAYERS
    else:
        shape.why[LAYERS] = f"of a layer whose branches are closed something stays, {left[0]!r}"
