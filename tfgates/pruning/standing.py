"""What the gates of a network would leave as they stand, without going through the network again."""

import numpy as np

from tfgates.costs import ExpectedCost
from tfgates.pruning.rows import LayerPlan


class Standing:
    """What is left with the gates as inference uses them, whatever the weights are.

    It is told from the analysis of a network that was made before, so that it can be asked for after every epoch. A
    `PruningPlan` looks at the weights too: of filters that are zero it may leave less.

    Args:
        cost: the `ExpectedCost` of the network.

    Attributes:
        layers: list of `LayerPlan`.
        left, dense: dicts from the name of each cost to what is left of it and what there is.
        params, macs, dense_params, dense_macs, uncounted: as of a `PruningPlan`.
    """

    def __init__(self, cost: ExpectedCost) -> None:
        widths, columns = cost.widths, cost.columns
        chosen = np.concatenate([np.zeros(0), *map(np.ravel, cost.test_gates())]) != 0.0
        truths = widths.truths(chosen)
        keep, used = widths.kept(truths), widths.used(truths)
        left, dense = widths.table(keep, truths), cost.layers([np.ones(gate.units) for gate in cost.gates])
        self.layers: list[LayerPlan] = []
        for call, (name, kind, groups) in enumerate(zip(cost.names, cost.kinds, widths.units, strict=True)):
            if groups is None and not dense[call].any():
                continue
            units = 0 if groups is None else len(groups)
            units_left = int(keep[groups].sum()) if units and used[call] else 0
            before, after = (dict(zip(columns, map(float, table[call]), strict=True)) for table in (dense, left))
            self.layers.append(LayerPlan(name, kind, units, units_left, before, after, call=call))
        self.uncounted, self.unknown = cost.uncounted, cost.unknown
        self.dense = dict(zip(columns, map(float, dense.sum(axis=0)), strict=True))
        self.left = dict(zip(columns, map(float, left.sum(axis=0)), strict=True))
        self.params, self.dense_params = round(self.left["params"]), round(self.dense["params"])
        self.macs, self.dense_macs = self.left["macs"], self.dense["macs"]
