"""What pruning would remove, what would stay, and why."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfgates.costs import registered_costs
from tfgates.costs.terms import Counted, counted
from tfgates.graph.formula import TRUE
from tfgates.graph.gate_places import gate_places
from tfgates.graph.rule import rule_of
from tfgates.graph.shared import network_of
from tfgates.graph.slices import Slices
from tfgates.graph.walk import Walk
from tfgates.pruning.before import against_before
from tfgates.pruning.reasons import reasons_to_stay
from tfgates.pruning.rows import LayerPlan, table_of
from tfgates.pruning.slices import slices_of
from tfgates.results import Result, number
from tfgates.selection import PresetSelection, Rounding, Selection, Side, Unchanged, choose_units, held


class PruningPlan(Result):
    """What is removed and what stays, with reasons; made by `tfgates.plan_pruning`, used by `tfgates.prune`.

    `print(plan)` shows it as a table, and so do notebooks; `to_dict()` gives it for JSON, `to_pandas()` its layers.

    Attributes:
        layers: list of `LayerPlan`.
        params, macs: what the pruned network costs.
        dense_params, dense_macs: what the network costs with everything kept. MACs are nan if `uncounted`
            names layers.
        left, dense: the same as dicts from the name of each cost (`tfgates.costs.Cost`).
        uncounted: list of pairs (layer, reason): the layers whose MACs are not known.
        unknown: dict from the name of each cost that is not known for all layers to such pairs.
        kept: list of pairs (layer, reason): closed units that have to stay.
        alone: list of pairs (layer, reason): layers that are kept as they are, with everything around them.
        unmoved: of a model with a budget, list of pairs (layer, reason): layers that account for a tenth or more of
            what remains of the cost in its first bound, and cost the same whatever gates do.
        needs_tfgates: list of pairs (layer, reason): layers of tfgates in the pruned network, which make a file of it
            need tfgates to be loaded. Usually there is none.
        dropped: names of layers that vanish altogether.
        empty: names of layers that would have no unit left: pruning refuses.
        selection: the choice of units with which the model meets its budget (`tfgates.selection`); the
            pruned network computes what the model computes with the gate values `selection.values`.
        chosen: list of pairs (gate, how many units the choice closes and opens).
        slices: for each variable of the model a `tfgates.graph.slices.Slice`: which positions of its axes stay.
            `plan.slices[variable].take(value)` cuts anything shaped like the variable, an optimizer's slot, say, in the
            same way.
    """

    # Whether "before" is, of a network that shrank in training, that which its training began with.
    counts_before = True

    def __init__(
        self,
        model: Any,
        min_units: int = 0,
        round_to: int = 1,
        selection: Selection | PresetSelection | Unchanged | None = None,
    ) -> None:
        self.rounding = Rounding(min_units, round_to)
        self.model = model
        self.network = network_of(model)
        self.costs = registered_costs()
        choice: Selection | PresetSelection | Unchanged | None = selection or choose_units(model, self.rounding)
        while choice is not None:
            self.selection = choice
            self._follow()
            # None if what is left fits the budget.
            choice = self.selection.tighter(self._table())
        self.chosen = self.selection.changes()
        self.unmoved = self.selection.unmoved(self._table())
        refused = self.walk.refused
        self.alone = [(node.name, refused[node.index]) for node in self.network.nodes if node.index in refused]
        self.kept = reasons_to_stay(self.walk, self.keep, self.rounding.asks)
        left = {node.name: node.op for node in self.network.nodes if node.index in self.used}
        self.needs_tfgates = [(name, op.stays) for name, op in left.items() if getattr(op, "stays", "")]

    def _follow(self) -> None:
        """Finds out what the selection leaves."""
        with held(self.selection.values):
            self.walk = self._walk()
        self.keep = self.walk.alive == TRUE
        if self.rounding.asks:
            score = self.selection.of_groups(gate_places(self.walk), self.walk.root)
            self.keep = self.rounding.fill_up(self.keep, lambda keep: self._sides(keep, score), self.walk.closure)
        self.used = self._used()
        self._measure()

    def _walk(self) -> Walk:
        return Walk(self.network)

    def _table(self) -> dict[str, np.ndarray]:
        """By the name of each cost what is left of each call, an array."""
        table = {cost.name: np.zeros(len(self.network.nodes)) for cost in self.costs}
        for row in self.layers:
            for name, value in row.left.items() if row.call >= 0 else ():
                table[name][row.call] = value
        return table

    def kept_groups(self, groups: np.ndarray) -> np.ndarray:
        """Which of `groups` stay."""
        return self.keep[groups]

    def _used(self) -> set[int]:
        """The calls that the outputs still depend on."""
        network, used = self.network, set()
        stack = [network.producer[t] for t in network.outputs]
        while stack:
            node = stack.pop()
            if node is None or node.index in used:
                continue
            used.add(node.index)
            left = rule_of(node).sources(self.walk, node, self.kept_groups)
            stack.extend(network.producer[t] for t in left)
        return used

    def _sides(self, keep: np.ndarray, score: np.ndarray) -> Iterator[Side]:
        """The distinct sides of the layers that are left when `keep` stays."""
        self.keep = keep
        used, seen = self._used(), set()
        for node in self.network.nodes:
            slots = self.walk.slots.get(id(node.op), {}) if node.index in used else {}
            for name, groups in slots.items():
                if (id(node.op), name) not in seen and len(groups):
                    seen.add((id(node.op), name))
                    yield Side(self.walk.root, groups, score)

    def _measure(self) -> None:
        self.layers: list[LayerPlan] = []
        self.dropped: list[str] = []
        self.empty: list[str] = []
        self.unknown: dict[str, list[tuple[str, str]]] = {}
        everything = np.ones_like(self.keep)
        costs = []
        for node in self.network.nodes:
            found, reasons = counted(self.costs, self.walk, node, rule_of(node).terms(self.walk, node))
            costs.append(self._total(found, everything))
            for name, why in reasons.items():
                self.unknown.setdefault(name, []).append((node.name, why))
        # A layer that is called several times is paid for at the first call that is left.
        self.walk.count_calls(self.used)
        for node, dense in zip(self.network.nodes, costs, strict=True):
            rule = rule_of(node)
            left = dict.fromkeys(dense, 0.0)
            if node.index in self.used:
                weights = rule.terms_left(self.walk, node, self.kept_groups)
                left = self._total(counted(self.costs, self.walk, node, weights)[0], self.keep)
            groups = self.walk.units_of(node)
            if groups is None and not any(dense.values()):
                continue
            units = 0 if groups is None else len(groups)
            units_left = 0 if groups is None or node.index not in self.used else int(self.keep[groups].sum())
            note = ""
            if node.index not in self.used:
                note = "goes altogether"
                self.dropped.append(node.name)
            elif any(not self.keep[g].any() for g in self.walk.slots.get(id(node.op), {}).values() if len(g)):
                note = "nothing left"
                self.empty.append(node.name)
            self.layers.append(
                LayerPlan(
                    node.name,
                    type(node.op).__name__,
                    units,
                    units_left,
                    dense,
                    left,
                    note,
                    node.index,
                )
            )
        if self.counts_before:
            self.layers = against_before(self.model, self.layers)
        names = [cost.name for cost in self.costs]
        self.dense = {name: sum(row.dense[name] for row in self.layers) for name in names}
        self.left = {name: sum(row.left[name] for row in self.layers) for name in names}
        self.uncounted = self.unknown.get("macs", [])
        self.dense_params, self.params = round(self.dense["params"]), round(self.left["params"])
        self.dense_macs, self.macs = self.dense["macs"], self.left["macs"]

    def _total(self, summands: list[Counted], keep: np.ndarray) -> dict[str, float]:
        """By the name of each cost the sum of `summands` when the groups in `keep` (booleans) stay."""
        total = np.zeros(len(self.costs))
        for summand in summands:
            count = 1
            for groups in summand.over:
                count *= int(keep[groups].sum())
            if summand.unless is None or not keep[summand.unless].all():
                total += summand.amounts * count
        return dict(zip((cost.name for cost in self.costs), map(float, total), strict=True))

    @property
    def slices(self) -> Slices:
        """For each variable of the model which positions of its axes stay, or why nothing of it does."""
        return slices_of(self)

    @property
    def removes_nothing(self) -> bool:
        """Whether every layer keeps all of its units."""
        return not self.dropped and all(row.units_left == row.units for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """The plan for JSON; MACs are None where a dimension is unknown."""
        totals: dict[str, Any] = {}
        for name, value in self.left.items():
            totals |= {name: number(value), f"dense_{name}": number(self.dense[name])}
        return {
            "model": self.model.name,
            "min_units": self.rounding.min_units,
            "round_to": self.rounding.round_to,
            **totals,
            "layers": self.records(),
            "chosen": [{"gate": name, "change": change} for name, change in self.chosen],
            "kept": [{"gate": name, "reason": reason} for name, reason in self.kept],
            "alone": [{"layer": name, "reason": reason} for name, reason in self.alone],
            "unmoved": [{"layer": name, "reason": reason} for name, reason in self.unmoved],
            "needs_tfgates": [{"layer": name, "reason": reason} for name, reason in self.needs_tfgates],
            "uncounted": [{"layer": name, "reason": reason} for name, reason in self.uncounted],
            "dropped": list(self.dropped),
            "empty": list(self.empty),
        }

    def records(self) -> list[dict[str, Any]]:
        """The layers, a dictionary for each, with the fields of `LayerPlan`."""
        return [row.to_dict() for row in self.layers]

    def remarks(self) -> dict[str, list[tuple[str, str]]]:
        """What the choice of units changes, what stays although it is closed, and what is left as it is."""
        return {
            "chosen to keep the budget": self.chosen,
            "stays although closed": self.kept,
            "left as it is": self.alone,
            "holds much of what is left, and no gate moves it": self.unmoved,
            "needs tfgates to be loaded": self.needs_tfgates,
            **{
                f"{cost.title} not known, so there is no total of them": self.unknown.get(cost.name, [])
                for cost in self.costs
            },
        }

    def __str__(self) -> str:
        return self.table()

    def table(self, cost: Any = None) -> str:
        """The plan as text.

        Args:
            cost: the `NetworkCost` of the same model, whose expected costs get their own columns. Defaults to
                None: no such columns.
        """
        return table_of(self, cost)


def plan_pruning(model: Any, min_units: int = 0, round_to: int = 1, preset: bool = False) -> PruningPlan:
    """Says what `tfgates.prune` would remove, what would stay, and why. Nothing is changed.

    Args:
        model: a Sequential or Functional `keras.Model` with gates, or with filters that are zero.
        min_units: int, the smallest number of units left in a layer; of the closed ones the likeliest stay.
            Defaults to 0: a layer without any open unit is reported, and `prune` refuses.
        round_to: int. The number of units left in a layer is rounded up to a multiple of it by
            keeping closed ones, since hardware prefers such widths. Defaults to 1.
        preset: bool. True: plan what the class of the network that was gated can express by its arguments: one width of
            the MLPs of all layers (`intermediate_dim`), fewer heads where it has a `head_dim`, fewer layers
            (`num_layers`) where all branches of a layer are closed and nothing else of it stays. `round_to` then
            applies to the width. What is closed but stays for the width of its layer contributes nothing. Defaults to
            False.

    In a model with a budget as many units stay as fit it, the likeliest first (`tfgates.selection`): where
    the gates leave more, the least certain are closed; where they leave less, more are opened. Widths are
    rounded within the budget.

    Returns:
        A `PruningPlan`; print it.

    Raises:
        ValueError: if the model is not a graph of layers, a gate's value is not finite, or the budget cannot
            be met with these widths.
    """
    selection = PresetSelection(model, Rounding(min_units, round_to)) if preset else None
    if preset:
        # The width is rounded already.
        min_units, round_to = 0, 1
    return PruningPlan(model, min_units, round_to, selection)
