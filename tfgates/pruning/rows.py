"""The rows of a plan, and its table as text."""

import dataclasses
from typing import Any

from tfgates.results import number
from tfgates.tables import aligned, whole


@dataclasses.dataclass
class LayerPlan:
    """One layer of the plan: its channels and what it costs, before and after.

    Attributes:
        name, kind: the layer, and its class.
        units, units_left: its channels.
        dense, left: dict from the name of each cost (`tfgates.costs.Cost`) to what the layer costs.
        note: what else there is to say.
        call: which call of the network it is; a layer that is called several times has a row for each.
    """

    name: str
    kind: str
    units: int
    units_left: int
    dense: dict[str, float]
    left: dict[str, float]
    note: str = ""
    call: int = -1

    @property
    def params(self) -> int:
        """Its parameters before."""
        return round(self.dense["params"])

    @property
    def params_left(self) -> int:
        """Its parameters after."""
        return round(self.left["params"])

    @property
    def macs(self) -> float:
        """Its MACs before."""
        return self.dense["macs"]

    @property
    def macs_left(self) -> float:
        """Its MACs after."""
        return self.left["macs"]

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON; costs are None where they are not known."""
        found: dict[str, Any] = {each: getattr(self, each) for each in ("name", "kind", "units", "units_left")}
        for name, value in self.dense.items():
            found |= {name: number(value), f"{name}_left": number(self.left[name])}
        return {**found, "note": self.note}


def table_of(plan: Any, cost: Any = None) -> str:
    """See `PruningPlan.table`."""
    heads, expected = [("layer", "kind", "units")], [] if cost is None else cost.expected_columns()
    for row in plan.layers:
        heads.append((row.name, row.kind, f"{row.units_left} of {row.units}" if row.units else ""))
    heads.append(("total", "", ""))
    notes = ["", *(row.note for row in plan.layers), ""]
    rows: list[tuple[str, ...]] = [(*head, note) for head, note in zip(heads, notes, strict=True)]
    for number_of, each in enumerate(plan.costs):
        pairs = [*((row.left[each.name], row.dense[each.name]) for row in plan.layers)]
        pairs.append((plan.left[each.name], plan.dense[each.name]))
        # A layer without any parameters says so, as Keras's summary does.
        texts = [f"{whole(a)} of {whole(b)}" if b or each.name == "params" else "" for a, b in pairs]
        texts = [each.title, *(texts[:-1]), f"{whole(pairs[-1][0])} of {whole(pairs[-1][1])}"]
        rows = [(*row[:-1], text, row[-1]) for row, text in zip(rows, texts, strict=True)]
        if expected:
            rows = [
                (*row[:-1], columns[number_of] if text else "", row[-1])
                for row, text, columns in zip(rows, texts, expected, strict=True)
            ]
    lines = aligned(rows, left=(0, 1, len(rows[0]) - 1))
    for title, pairs in plan.remarks().items():
        if pairs:
            lines.append(f"{title}:")
            lines.extend(f"  {name}: {reason}" for name, reason in pairs)
    return "\n".join(lines)
