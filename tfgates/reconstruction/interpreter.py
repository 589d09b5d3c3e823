"""A network computed call by call on batches, no further than is asked for."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from keras import ops, tree

from tfgates.graph.calls import inputs_in_order
from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.phase import heeds


class Interpreter:
    """Computes a network at inference, one call after the other, on all batches at once.

    What no later call reads is forgotten, unless somebody will still ask for it.

    Args:
        network: a `Network`.
        batches: list of what the model can be called on.
        asked: the calls that `inputs` will be asked of, each once, in whatever order.
    """

    def __init__(self, network: Network, batches: list[Any], asked: Iterable[Node] = ()) -> None:
        self._network = network
        self._next = 0
        # Per tensor a list of its values on the batches.
        self._values: dict[int, list[Any]] = {number: [] for number in network.inputs}
        for batch in batches:
            given = inputs_in_order(network.functional, batch)
            if given is None:
                raise ValueError(
                    f"`data` must have the inputs of the model: {[t.name for t in network.functional.inputs]}. "
                    f"Received: {tree.map_structure(lambda x: getattr(x, 'shape', None), batch)}"
                )
            for number, value in zip(network.inputs, given, strict=True):
                value = ops.convert_to_tensor(value, dtype=network.dtypes[number])
                if len(value.shape) == len(network.shapes[number]) - 1:
                    value = ops.expand_dims(value, -1)
                self._values[number].append(value)
        self._batches = len(batches)
        # The last call that reads each tensor.
        self._last = {tensor: node.index for node in network.nodes for tensor in node.inputs}
        self._asked = Counter(node.inputs[0] for node in asked)

    def inputs(self, node: Node) -> list[Any]:
        """What a call reads first, batch by batch; everything before it is computed."""
        self._advance(node.index)
        tensor = node.inputs[0]
        found = self._values[tensor]
        self._asked[tensor] -= 1
        self._forget(tensor)
        return found

    def _advance(self, index: int) -> None:
        """Computes the calls before number `index`."""
        while self._next < index:
            node = self._network.nodes[self._next]
            made: list[list[Any]] = [[] for _ in node.outputs]
            for batch in range(self._batches):
                for values, output in zip(made, tree.flatten(self._call(node, batch)), strict=True):
                    values.append(output)
            self._values.update(zip(node.outputs, made, strict=True))
            self._next += 1
            for tensor in set(node.inputs):
                self._forget(tensor)

    def _forget(self, tensor: int) -> None:
        if self._last[tensor] < self._next and self._asked[tensor] < 1:
            self._values.pop(tensor, None)

    def _call(self, node: Node, batch: int) -> Any:
        def value(x: Any) -> Any:
            return self._values[x.tensor][batch] if isinstance(x, Ref) else x

        args, kwargs = tree.map_structure(value, (node.args, node.kwargs))
        if heeds(node.op):
            kwargs["training"] = False
        return node.op(*args, **kwargs)
