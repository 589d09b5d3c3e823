"""The choice of units that an instance of the model's own class can have: one width for all layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgates.graph.original import original_of
from tfgates.selection.ranking import Ranking
from tfgates.selection.rounding import Rounding
from tfgates.selection.selection import WORTH_A_WARNING, expected_cost_of
from tfgates.selection.target_shape import TargetShape, target_shape

# The gate value of a closed unit that stays for the width of its layer: it changes no digit of what it is added to,
# and is not 0, which would be removed.
STAYS = 1e-20

# How often a choice is made again for what the network costs that it leaves.
ROUNDS = 25


class PresetSelection:
    """Which units stay when the result has to be of the model's own class; used like `Selection`.

    All layers get one width, and, where the class can express it, one number of heads; closed layers are removed. In
    each layer the likeliest units stay; the k-th units of all layers go together, by their mean openness. Nothing that
    is closed is opened: where it stays for the width it contributes nothing. Only gates on wholes that end with
    a normalisation are opened fully where their layer stays: the class cannot express half of one.

    Args:
        model: a gated network whose `Original` is known.
        rounding: a `Rounding`: of the width.
        targets: the largest count allowed for each bound, if not its target.
        round: how often the choice has been repeated.

    Attributes:
        values: gate values by gate.
        shape: a `TargetShape`, with the widths that were chosen among its arguments.
        gone: the layers that are removed, by number.

    Raises:
        ValueError: for a model that is not of such a class, and where no choice fits the bounds.
    """

    def __init__(self, model: Any, rounding: Rounding, targets: np.ndarray | None = None, round: int = 0) -> None:
        original = original_of(model)
        if original is None:
            raise ValueError(
                "`preset=True` needs a network that `gate_model` made of an instance of a class with arguments of its "
                f"own, such as a backbone or a task of KerasHub, and that did not shrink since (`shrink=False`). "
                f"Received: model={model.name!r}, made of no such class, or of less than all of its layers"
            )
        self._model, self._rounding, self._round, self._targets = model, rounding, round, targets
        structure = getattr(model, "_structure", None)
        self._bounds = [] if structure is None else structure.bounds
        if targets is None:
            self._targets = np.array([bound.target for bound in self._bounds])
        self._cost = cost = expected_cost_of(model)
        self._gates = cost.gates
        self._ranking = Ranking(cost.gates)
        self.shape = target_shape(original, cost)
        if not (self.shape.of_width or self.shape.of_heads or self.shape.layers):
            raise ValueError(
                "`preset=True` needs gates on units, heads or branches that an argument of the class counts. "
                f"Received: model={model.name!r}, of {original.kind} with {sorted(self.shape.arguments)}"
            )
        self._rank()
        self._start()
        self._tighten()
        self._write()

    # What there is to choose from.

    def _rank(self) -> None:
        """In each gate the likeliest units first, and how open the k-th ones of all layers are."""
        place: np.ndarray = np.empty(len(self._ranking.order), np.int64)
        place[self._ranking.order] = np.arange(len(place))
        self._order = {i: np.argsort(place[self._ranking.units(i)]) for i in range(len(self._gates))}
        self._scores = {"width": self._score(self.shape.of_width)}
        self._scores["heads"] = self._score(self.shape.of_heads if self.shape.heads else {})
        layers = self.shape.of_layers if self.shape.layers else {}
        self._layer_scores = {
            layer: float(np.mean([self._ranking.scores[self._ranking.units(i)].mean() for i in gates]))
            for layer, gates in layers.items()
        }

    def _score(self, gates: Mapping[int, list[int]]) -> np.ndarray:
        sorted_scores = [
            self._ranking.scores[self._ranking.units(i)][self._order[i]] for each in gates.values() for i in each
        ]
        return np.mean(sorted_scores, axis=0) if sorted_scores else np.zeros(0)

    def _is_open(self, gate: int) -> np.ndarray:
        return self._ranking.open_now[self._ranking.units(gate)]

    def _start(self) -> None:
        """What closed units leave, without a bound."""
        closed = {n for n, gates in self.shape.of_layers.items() if not any(self._is_open(i).any() for i in gates)}
        self.gone = closed if self.shape.layers else set()
        self._closed = frozenset(self.gone)
        if len(self.gone) == len(self.shape.names):
            self.gone.discard(max(self.gone, key=lambda layer: self._layer_scores[layer]))
        self._kept = {}
        for name, gates in (("width", self.shape.of_width), ("heads", self.shape.of_heads)):
            here = [i for layer, each in gates.items() if layer not in self.gone for i in each]
            self._kept[name] = max([1, *(int(self._is_open(i).sum()) for i in here)])
        if not self.shape.heads:
            self._kept["heads"] = 0
        self._kept["width"] = self._rounded(self._kept["width"])

    def _rounded(self, width: int) -> int:
        return self._rounding.wanted(width, len(self._scores["width"])) if len(self._scores["width"]) else 0

    # What fits.

    def _tighten(self) -> None:
        """Takes away what is least open, until every bound holds; then widens as far as that fits."""
        if not self._bounds or self._fits():
            return
        start = dict(self._kept), set(self.gone)
        steps: list[tuple[float, int, str, int]] = []
        for name, scores in self._scores.items():
            steps += [(float(scores[k]), k, name, k) for k in range(1, self._kept[name])]
        left = sorted(set(self._layer_scores) - self.gone, key=lambda layer: self._layer_scores[layer])
        must = len(self.shape.names) - len(self.gone) - len(left) > 0
        steps += [(self._layer_scores[n], 0, "layer", n) for n in (left if must else left[:-1])]
        # Of a width the last unit goes first, whatever rounding has made of equal scores.
        steps.sort(key=lambda step: (step[0], -step[1]))
        low, high = 0, len(steps)
        while low < high:
            middle = (low + high) // 2
            self._take(start, steps[:middle])
            low, high = (low, middle) if self._fits() else (middle + 1, high)
        self._take(start, steps[:low])
        if not self._fits():
            raise self._impossible(self._costs())
        for name in ("width", "heads"):
            step = self._rounding.round_to if name == "width" else 1
            while self._kept[name] and self._kept[name] < start[0][name]:
                before = self._kept[name]
                self._kept[name] = min(before + step, start[0][name])
                if not self._fits():
                    self._kept[name] = before
                    break

    def _take(self, start: Any, steps: list[tuple[float, int, str, int]]) -> None:
        self._kept, self.gone = dict(start[0]), set(start[1])
        for _, _, name, number in steps:
            if name == "layer":
                self.gone.add(number)
            else:
                self._kept[name] = min(self._kept[name], number)
        self._kept["width"] = self._rounded(self._kept["width"])

    def _chosen(self) -> np.ndarray:
        """Which units stay, a boolean per unit."""
        chosen: np.ndarray = np.ones(len(self._ranking.order), bool)
        for name, gates in (("width", self.shape.of_width), ("heads", self.shape.of_heads if self.shape.heads else {})):
            for i in (i for each in gates.values() for i in each):
                units: np.ndarray = np.zeros(self._gates[i].units, bool)
                units[self._order[i][: self._kept[name]]] = True
                chosen[self._ranking.units(i)] = units
        for layer in self.gone:
            for gates in (self.shape.of_layers, self.shape.of_width, self.shape.of_heads):
                for i in gates.get(layer, ()):
                    chosen[self._ranking.units(i)] = False
        return chosen

    def _costs(self) -> np.ndarray:
        truths = self._cost.widths.truths(self._chosen())
        table = self._cost.widths.table(self._cost.widths.kept(truths), truths)
        return np.array([bound.of_table(table) for bound in self._bounds])

    def _fits(self) -> bool:
        return bool(np.all(self._costs() <= self._targets))

    def _write(self) -> None:
        """The values of the gates, and the arguments of the class."""
        self._stay = self._chosen()
        self.values = {}
        for i, gate in enumerate(self._gates):
            test = self._ranking.values[i]
            values = np.where(test != 0.0, test, STAYS) if i not in self.shape.wholes else np.ones(gate.units)
            values = np.where(self._stay[self._ranking.units(i)], values, 0.0)
            self.values[gate] = values.reshape(gate.unit_shape).astype("float32")
        layers = len(self.shape.names) - len(self.gone)
        self.shape.set(self._kept["width"] or None, self._kept["heads"] or None, layers if self.shape.layers else None)

    # As of `Selection`.

    def of_groups(self, places: Any, root: np.ndarray) -> np.ndarray:
        """See `Ranking.of_groups`."""
        return self._ranking.of_groups(places, root)

    def tighter(self, table: Mapping[str, np.ndarray]) -> "PresetSelection | None":
        """None if the pruned network fits the budget, else another, smaller choice; see `Selection.tighter`."""
        found = np.array([bound.of_column(table[bound.name]) for bound in self._bounds])
        excess = found - np.array([bound.target for bound in self._bounds])
        if not np.any(excess > 0):
            return None
        if self._round == ROUNDS:
            raise self._impossible(found)
        targets = self._targets - np.maximum(excess, 0.0)
        return PresetSelection(self._model, self._rounding, targets, self._round + 1)

    def changes(self) -> list[tuple[str, str]]:
        """Pairs (gate, how many open units of it are closed, or from which value it is opened)."""
        found = []
        for i, gate in enumerate(self._gates):
            units = self._ranking.units(i)
            count = int(np.sum(self._ranking.open_now[units] & ~self._stay[units]))
            if count:
                found.append((gate.name, f"closes {count}"))
        for i in self.shape.wholes:
            if self._stay[self._ranking.units(i)].all() and self._ranking.values[i].item() != 1.0:
                found.append((self._gates[i].name, f"opens fully, from {self._ranking.values[i].item():.3g}"))
        return found

    def unmoved(self, table: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
        """See `Selection.unmoved`; and the arguments that have to stay, with the reason."""
        found = []
        if self._bounds:
            name = self._bounds[0].name
            found = [
                (each.name, f"{each.share:.0%} of the {name} that are left: {each.why}")
                for each in self._cost.unmoved(table[name])
            ]
        return [*found, *self.shape.why.items()]

    def warning(self) -> str | None:
        """What to say where more than a tenth of what training had left open is closed, else None."""
        before = self._ranking.open_now.copy()
        for layer in self._closed:
            # With a branch that is closed its units go, open or not.
            for i in (*self.shape.of_width.get(layer, ()), *self.shape.of_heads.get(layer, ())):
                before[self._ranking.units(i)] = False
        opened = [
            i for i in self.shape.wholes if not self._is_open(i).all() and self._stay[self._ranking.units(i)].all()
        ]
        if opened:
            return (
                "The class of the network cannot leave out a part of a layer with its normalisation, so what training "
                "had closed is opened: gate it by `residual='block'`, or fine-tune what is left. "
                f"Received: closed gates {', '.join(self._gates[i].name for i in opened)}"
            )
        closed = int(np.sum(before & ~self._stay))
        share = closed / max(int(before.sum()), 1)
        if share <= WORTH_A_WARNING:
            return None
        return (
            f"To give all layers one width within the budget, {closed:,} of the {int(before.sum()):,} units "
            f"that training left open ({share:.0%}) are closed at once, of which the weights know nothing: "
            "fine-tune what is left."
        )

    def _impossible(self, found: np.ndarray) -> ValueError:
        pairs = [
            f"{bound}: {cost:,.0f} for a budget of {bound.target:,.0f}"
            for bound, cost in zip(self._bounds, found, strict=True)
            if cost > bound.target
        ]
        why = "; ".join(f"`{name}` stays: {reason}" for name, reason in self.shape.why.items())
        return ValueError(
            "`budget` cannot be kept by a network of the model's own class (`preset=True`): with as little as its "
            f"arguments can say it is exceeded{f' ({why})' if why else ''}. Received: {'; '.join(pairs)}"
        )


def shape_of(selection: Any) -> TargetShape | None:
    """The shape that a choice of units was made in, or None."""
    return selection.shape if isinstance(selection, PresetSelection) else None
