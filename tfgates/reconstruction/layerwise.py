"""Weights of a pruned network that give back what the network before computed, without labels."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfgates.anatomy import anatomy_of
from tfgates.anatomy.normalization import BatchNormalizationAnatomy, keeps_averages
from tfgates.gates import gates_of
from tfgates.graph.kept import values_kept
from tfgates.graph.network import Network, Node
from tfgates.pruning.lineage import names_of, origins_of
from tfgates.reconstruction.interpreter import Interpreter
from tfgates.reconstruction.least_squares import Solution, TooLargeError
from tfgates.reconstruction.linear import (
    add_to_weights,
    before_activation,
    channel_axis,
    groups_of,
    patches,
    why_not,
)
from tfgates.results import Result, number
from tfgates.training.batches import batches_of, check_data, in_tuple


class Reconstruction(Result):
    """What `tfgates.reconstruct` changed, and what it could not.

    Attributes:
        layers: list of dicts with `layer`, `error_before` and `error_after`. The errors are the mean square of the
            difference between the layer's outputs (before the activation) and those of the network before pruning, as a
            fraction of the variance of the latter.
        unchanged: list of pairs (layer with weights, why its weights were left as they are).
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.unchanged: list[tuple[str, str]] = []

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {"layers": self.records(), "unchanged": [list(pair) for pair in self.unchanged]}

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each."""
        return [dict(row) for row in self.layers]

    def remarks(self) -> dict[str, list[tuple[str, str]]]:
        """The layers that were left as they are."""
        return {"Left as they are": self.unchanged}

    def __str__(self) -> str:
        rows = [f"{row['layer']}: {row['error_before']:.4f} -> {row['error_after']:.4f}" for row in self.layers]
        return "\n".join(rows + [f"{name}: left as it is, {reason}" for name, reason in self.unchanged])


def reconstruct(
    small: keras.Model,
    dense: keras.Model,
    data: Any,
    ridge: float = 1e-2,
    batch_size: int = 128,
    steps: int = 4,
    verbose: int = 0,
) -> Reconstruction:
    """Gives a pruned network the weights that best reproduce the outputs of the network before pruning, layer by layer.

    The Dense layers and convolutions of `small` are treated in the order of the network. For each of them, X are the
    patches of its inputs as the layers before it, already reconstructed, make them; Y are the outputs before the
    activation of the same layer of `dense`, at the units that remain; and W, b are the current weights. The new weights
    V, c solve

        min over V, c of |X V + c - Y|^2 + ridge * s * |V - W|^2,     s = mean over entries of the squares of X,

    in closed form. c becomes the bias. Where a layer has no bias and only a batch normalisation reads it, c goes into
    its moving mean; in all other cases there is no c. No labels and no gradients are needed, and a few hundred examples
    are enough. It does not give the equal outputs that `tfgates.prune` promises: it compensates for what was removed.
    Fine-tuning can follow.

    Args:
        small: what `tfgates.prune`, `tfgates.prune_by` or `tfgates.finish` returned in this process. Its weights
            are changed in place, those of frozen layers too; its optimizer is not.
        dense: the trained `keras.Model` that it was pruned from, without gates. It is left untouched.
        data: a `tf.data.Dataset` of batches `x` or `(x, ...)`, or arrays, `x` or a tuple `(x, ...)`. Of arrays a fixed
            random selection is used. What follows `x` is ignored.
        ridge: float > 0, see above. Defaults to 1e-2.
        batch_size: int, for arrays. Defaults to 128.
        steps: int > 0, the largest number of batches. They are held in memory with what the layers compute from them.
            Defaults to 4.
        verbose: 1 prints a line for each layer. Defaults to 0.

    Returns:
        A `tfgates.reconstruction.Reconstruction`.

    Raises:
        ValueError: for a `small` for which it is not known where its layers come from, a `dense` with gates or with
            other layers, settings that are not positive, or data without a batch. Nothing is changed then.

    Reference: the layer-wise least squares of He et al., "Channel Pruning for Accelerating Very Deep Neural
    Networks", ICCV 2017, arXiv 1707.06168, section 3.1.

    Example:

    >>> small = tfgates.prune_by(trained, tfgates.Budget(macs=0.5))
    >>> print(tfgates.reconstruct(small, trained, x))
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value}")
    if not ridge > 0.0:
        raise ValueError(f"`ridge` must be positive. Received: ridge={ridge}")
    origins = origins_of(small) if isinstance(small, keras.Model) else None
    if origins is None:
        raise ValueError(
            "`small` must be what `tfgates.prune`, `tfgates.prune_by` or `tfgates.finish` has returned in this "
            "process. "
            f"Received: small={getattr(small, 'name', small)!r}"
        )
    if gates_of(dense):
        raise ValueError(f"`dense` must have no gates: give the network before them. Received: dense={dense.name!r}")
    data = in_tuple(data)
    check_data(data, small)
    batches = [batch[0] for batch in batches_of(data, batch_size, steps)]
    if not batches:
        raise ValueError("`data` must have at least one batch. Received: none")
    network, before = Network(small), Network(dense)
    calls, calls_before = names_of(network), names_of(before)
    layers = {name: nodes for name, nodes in calls.items() if nodes[0].layer is not None}
    reasons = {name: _why_not(nodes, calls_before.get(name, [])) for name, nodes in layers.items()}
    # The two may stand in another order: branches of nested models.
    sources = [origins[name].name for name, reason in reasons.items() if reason is None and name in origins]
    asked = [calls_before[name][0] for name in sources if name in calls_before]
    here, there = Interpreter(network, batches), Interpreter(before, batches, asked)
    found = Reconstruction()
    with values_kept(small.variables, only_on_error=True):
        for node in network.nodes:
            layer = node.layer
            if layer is None or not layer.weights or node is not calls[layer.name][0]:
                continue
            reason = reasons[layer.name]
            if reason is None and layer.name in origins:
                origin = origins[layer.name]
                source = _source(calls_before, origin, layer)
                try:
                    row = _fit(network, node, here, there, source, origin.kept, ridge)
                except TooLargeError as error:
                    reason = str(error)
                else:
                    found.layers.append(row)
                    if verbose:
                        print(f"{layer.name}: {row['error_before']:.4f} -> {row['error_after']:.4f}", flush=True)
            if reason is not None and not keeps_averages(layer):
                found.unchanged.append((layer.name, reason))
    return found


def _why_not(nodes: list[Node], before: list[Node]) -> str | None:
    """Why a layer, given by its calls in both networks, keeps its weights, or None."""
    reason = why_not(nodes[0].op)
    if reason is None and max(len(nodes), len(before)) > 1:
        reason = "it is called more than once"
    return reason


def _source(calls: dict[str, list[Node]], origin: Any, layer: Any) -> Node:
    """The call of `dense` that a layer comes from."""
    nodes = calls.get(origin.name, [])
    units = None if not nodes or why_not(nodes[0].op) else nodes[0].op.kernel.shape[-1]
    wanted = layer.kernel.shape[-1] if origin.kept is None else len(origin.kept)
    if units != wanted:
        raise ValueError(
            f"`dense` must be the network that `small` was pruned from: layer {origin.name!r} of it had {wanted} "
            f"units. Received: a network with {'no such layer' if units is None else f'{units} units there'}"
        )
    return nodes[0]


def _fit(
    network: Network,
    node: Node,
    here: Interpreter,
    there: Interpreter,
    source: Node,
    kept: np.ndarray | None,
    ridge: float,
) -> dict[str, Any]:
    """Changes the weights of one layer; returns its row of the report."""
    layer: Any = node.op
    targets = [before_activation(source.op, x) for x in there.inputs(source)]
    if kept is not None:
        targets = [y[:, kept] for y in targets]
    inputs = here.inputs(node)
    residuals = [y - before_activation(layer, x) for x, y in zip(inputs, targets, strict=True)]
    mean = sum(y.sum(0, dtype=np.float64) for y in targets) / sum(len(y) for y in targets)
    variance = sum(float(np.sum((y - mean) ** 2)) for y in targets)
    reader = network.reader(node.outputs[0])
    absorbs = layer.bias is None and reader is not None and _normalises(reader.op, layer, node, network)
    units = layer.kernel.shape[-1] // groups_of(layer)
    offset = np.zeros(layer.kernel.shape[-1])
    errors = np.zeros(2)
    for group in range(groups_of(layer)):
        columns = slice(group * units, (group + 1) * units)

        def pairs(group: int = group, columns: slice = columns) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for x, residual in zip(inputs, residuals, strict=True):
                yield patches(layer, x, group), residual[:, columns]

        solution = Solution(pairs, ridge, layer.bias is not None or absorbs)
        add_to_weights(layer, group, solution.change)
        offset[columns] = solution.intercept
        errors += solution.before, solution.after
    if layer.bias is not None:
        layer.bias.assign_add(offset.astype("float32"))
    elif absorbs:
        for mean in ("moving_mean", "renorm_mean") if reader.op.renorm else ("moving_mean",):
            getattr(reader.op, mean).assign_add(-offset.astype("float32"))
    before, after = errors / variance if variance else np.zeros(2)
    return {"layer": layer.name, "error_before": number(before), "error_after": number(after)}


def _normalises(reader: Any, layer: Any, node: Node, network: Network) -> bool:
    """Whether a reader is a batch normalisation whose moving mean can take up what a layer's outputs lack."""
    if not isinstance(anatomy_of(reader), BatchNormalizationAnatomy):
        return False
    rank = len(network.shapes[node.outputs[0]])
    once = sum(other.op is reader for other in network.nodes) == 1
    return once and reader.axis % rank == channel_axis(layer) % rank
