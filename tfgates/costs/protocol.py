"""What a cost is: a name, a unit, and what each call of a layer costs, as a sum over the units that are left."""

import abc
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfgates.graph.rule import Term, rule_of
from tfgates.graph.sizes import counted, entries_per_example, places

# Why the size of a tensor is not known.
UNKNOWN_SIZE = "its cost needs every dimension but that of the batch: give `length`"


@dataclasses.dataclass(frozen=True)
class Summand:
    """One summand of a cost: `amount` times, for each entry of `over`, the number of its units that remain.

    Attributes:
        amount: float, for one unit of each; nan where it is not known.
        over: up to two sets of units, as `call.weights` and `Activation.over` give them. With none the summand is there
            whatever remains.
        unless: a set of units; while all of them remain the summand does not count. None: it always counts.
        why: where `amount` is nan, why it is not known.
    """

    amount: float
    over: tuple[np.ndarray, ...] = ()
    unless: np.ndarray | None = None
    why: str = UNKNOWN_SIZE


@dataclasses.dataclass(frozen=True)
class Activation:
    """A tensor that a call reads or makes.

    Attributes:
        each: float, how many numbers one example has there for each unit of `over`; nan where that is not known.
        over: `(units,)`, the channels that may be removed, or `()` where the tensor stays whole.
        dtype: str, the type of the numbers.
    """

    each: float
    over: tuple[np.ndarray, ...]
    dtype: str

    @property
    def bytes_each(self) -> float:
        """`each` in bytes."""
        if self.dtype == "bool":
            return self.each
        # "bfloat16", "uint8", "float8_e4m3fn": the first number is that of the bits; strings have none.
        bits = re.search(r"\d+", self.dtype)
        return self.each * int(bits[0]) / 8 if bits else math.nan


class Call:
    """A call of a layer or operator, as a cost sees it.

    Attributes:
        name: its name.
        layer: the layer, or None where it is an operator.
        weights: list of `tfgates.graph.Term`: blocks of weights, each with the number of parameters (`params`) and
            multiply-accumulates (`macs`) for one unit of each entry of `over`.
    """

    def __init__(self, walk: Any, node: Any, weights: Iterable[Term]) -> None:
        self._walk, self._node = walk, node
        self.name, self.layer = node.name, node.layer
        self.weights = list(weights)

    @property
    def remains(self) -> bool:
        """Whether the pruned network still has this call: not for gates and what feeds them."""
        return rule_of(self._node).remains

    @functools.cached_property
    def inputs(self) -> list[Activation]:
        """What the call reads."""
        return [self._activation(tensor) for tensor in self._node.inputs]

    @functools.cached_property
    def outputs(self) -> list[Activation]:
        """What the call makes."""
        return [self._activation(tensor) for tensor in self._node.outputs]

    def _activation(self, tensor: int) -> Activation:
        network, channels = self._walk.network, self._walk.channels[tensor]
        dtype = network.dtypes[tensor]
        if channels is not None:
            return Activation(places(network, tensor, channels.axis), (channels.group,), dtype)
        sizes = counted(network, tensor)[1:]
        each = math.nan if None in sizes else math.prod(sizes) * entries_per_example(network, tensor)
        return Activation(each, (), dtype)


class Cost(abc.ABC):
    """A kind of cost, counted both in expectation over the gates and for a choice of units.

    A subclass defines in `per_layer` what each call costs; `register_cost` makes it known. From then on budgets
    (`tfgates.Budget(NAME=...)`), penalties (`penalty={"NAME": ...}`), `tfgates.cost`, monitors and the choice of units
    count it.

    Attributes:
        name: str, a Python identifier: the argument of budgets, the attribute of tables.
        unit: str, what is counted, for headings and for texts such as `"200k bytes"`.
        heading: str, the heading of its column. Defaults to "": the name.
        shared: bool. True: what several calls of a layer have in common counts once, as weights do. False: each
            call counts. Defaults to False.

    Example:

    >>> @tfgates.costs.register_cost
    ... class ActivationBytes(tfgates.costs.Cost):
    ...     name, unit = "activation_bytes", "bytes"
    ...
    ...     def per_layer(self, call):
    ...         return [tfgates.costs.Summand(made.bytes_each, made.over) for made in call.outputs if call.remains]
    """

    name: str = ""
    unit: str = ""
    heading: str = ""
    shared: bool = False

    @abc.abstractmethod
    def per_layer(self, call: Call) -> Sequence[Summand]:
        """What a call costs, as summands over the units of the network: all of them, whatever is closed.

        Args:
            call: a `Call`.
        """

    @property
    def title(self) -> str:
        """The heading of its column."""
        return self.heading or self.name

    def __repr__(self) -> str:
        return f"<tfgates.costs.{type(self).__name__} {self.name!r} in {self.unit}>"
