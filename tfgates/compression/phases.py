"""What `compress` trains before it prunes, and how it chooses then: by gates, or by a criterion of importance."""

import functools
from typing import Any

import keras

from tfgates.compression.prune_by import prune_by
from tfgates.gating.gate_model import gate_model
from tfgates.graph.copier import copy_of
from tfgates.graph.lengths import length_of
from tfgates.graph.network import Network
from tfgates.pruning.plan import PruningPlan
from tfgates.pruning.prune import pruned_beside
from tfgates.training.batches import first_inputs


class GatesPhase:
    """A gated network, pruned to what its gates leave open.

    Attributes:
        model: the network to train.
        folder: name of the folder for its state.
        description: what it is, for messages.
        has_gates: whether callbacks that need gates can follow it.
    """

    folder, has_gates = "gated", True

    def __init__(self, model: keras.Model, gate: Any, round_to: int, **arguments: Any) -> None:
        self.model = gate_model(model, gate, **arguments)
        self.description = f"with {len(self.model.gates)} gates, {arguments['budget']}"
        self._round_to = round_to
        check_reachable(self.model, round_to)

    def finished(self, model: Any) -> None:
        """Told of the network that was trained, which may have become another one."""
        self.model = model
        model._taught_by = None

    def pruned(self, data: Any, loss: Any, batch_size: int) -> keras.Model:
        plan = PruningPlan(self.model, round_to=self._round_to)
        return pruned_beside(self.model, functools.partial(first_inputs, data, batch_size), plan=plan)


class ImportancePhase:
    """A copy of the network without gates, pruned by `tfgates.prune_by`; attributes as of `GatesPhase`."""

    folder, has_gates = "dense", False

    def __init__(self, model: keras.Model, importance: Any, round_to: int, **arguments: Any) -> None:
        given = importance if isinstance(importance, dict) else {"importance": importance}
        taken = sorted(set(given) & {"data", "loss", "batch_size", "round_to", *arguments})
        if taken:
            raise ValueError(f"`importance` must leave to `compress` what is an argument of its own. Received: {taken}")
        gated = gate_model(model, **arguments)
        check_reachable(gated, round_to)
        network = Network(model, arguments.pop("inputs"))
        # The budget is counted at the end for what it was checked for.
        self._arguments = {**arguments, **given, "round_to": round_to, "length": length_of(gated)}
        self.model = copy_of(network)
        self.description = f"without gates, {arguments['budget']} by {given.get('importance', 'magnitude')!r}"

    def finished(self, model: Any) -> None:
        self.model = model

    def pruned(self, data: Any, loss: Any, batch_size: int) -> keras.Model:
        return prune_by(self.model, data=data, loss=loss, batch_size=batch_size, **self._arguments)


def fine_tuning_epochs(epochs: int, share: float) -> int:
    """The number of epochs after pruning: at least one, unless the share is 0."""
    if not 0.0 <= share < 1.0:
        raise ValueError(f"`fine_tune` must be a share of the epochs in [0, 1). Received: fine_tune={share}")
    least = 1 + (share > 0)
    if not isinstance(epochs, int) or epochs < least:
        raise ValueError(f"`epochs` must be an integer of at least {least}. Received: epochs={epochs}")
    return min(epochs - 1, max(1, round(share * epochs))) if share else 0


def check_reachable(gated: Any, round_to: int) -> None:
    """Refuses a budget that no choice of units keeps with these widths, before anything is trained."""
    if round_to > 1:
        PruningPlan(gated, round_to=round_to)
