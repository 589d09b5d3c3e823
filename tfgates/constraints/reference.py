"""The dense network that budgets and penalties count against."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="tfgates")
class DenseReference:
    """What a network costs with everything kept: the reference for shares of a budget, penalties and expected costs.

    A `GatedModel` counts its own cost when it is made, and keeps that as its reference. A model with fewer units that
    is made from it in the middle of its training continues against the same numbers if they are passed on:
    `GatedModel(inputs, outputs, budget=gated.budget, dense_reference=gated.dense_reference)`.

    Args:
        totals: dict from the name of a cost (`"params"`, `"macs"`, one of your own) to that of the whole
            network; None or nan where it is not known.
        layers: dict from the name of a layer to a list with such a dict for each of its calls. Defaults to
            None: bounds on single layers refer to the network that they are set for.

    Raises:
        ValueError: for totals that are not numbers.
    """

    def __init__(
        self,
        totals: Mapping[str, float | None],
        layers: Mapping[str, Sequence[Mapping[str, float | None]]] | None = None,
    ) -> None:
        self.totals = {name: number(value) for name, value in totals.items()}
        self.layers = {
            layer: [{name: number(value) for name, value in call.items()} for call in calls]
            for layer, calls in (layers or {}).items()
        }

    @classmethod
    def of(cls, cost: Any) -> "DenseReference":
        """The reference of the network of an `ExpectedCost`."""
        layers: dict[str, list[dict[str, float]]] = {}
        for name, row in zip(cost.names, cost.layers([np.ones(gate.units) for gate in cost.gates]), strict=True):
            layers.setdefault(name, []).append(dict(zip(cost.columns, map(float, row), strict=True)))
        return cls(dict(zip(cost.columns, cost.dense, strict=True)), layers)

    def of_call(self, name: str, layer: str, call: int, otherwise: float) -> float:
        """The cost `name` of a call of a layer; `otherwise` where it is not given.

        Args:
            name: the name of a cost.
            layer: the name of a layer.
            call: which of its calls.
            otherwise: what the network in question costs.
        """
        calls = self.layers.get(layer, [])
        return calls[call].get(name, otherwise) if call < len(calls) else otherwise

    def get_config(self) -> dict[str, Any]:
        # JSON has no nan.
        def plain(values: Mapping[str, float]) -> dict[str, float | None]:
            return {name: None if math.isnan(value) else value for name, value in values.items()}

        return {
            "totals": plain(self.totals),
            "layers": {layer: [plain(call) for call in calls] for layer, calls in self.layers.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DenseReference":
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DenseReference) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]


def number(value: Any) -> float:
    """A cost as a float, nan for None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float, np.number))):
        raise ValueError(f"`totals` and `layers` of a DenseReference must hold numbers or None. Received: {value!r}")
    return math.nan if value is None else float(value)
