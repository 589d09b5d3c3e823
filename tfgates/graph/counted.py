"""Saying whose multiply-accumulates are not known."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfgates.graph.network import Node

if TYPE_CHECKING:
    from tfgates.graph.rule import Term


def why_uncounted(node: Node, terms: "Iterable[Term]") -> list[tuple[str, str]]:
    """The layer and why its MACs are not known, a pair in a list; an empty one if they are."""
    reasons = [term.why for term in terms if math.isnan(term.macs)]
    return [(node.name, reasons[0])] if reasons else []


def incomplete(uncounted: Iterable[tuple[str, str]], most: int = 8) -> str:
    """The end of a message about MACs that are not known of all layers: which, and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in dict(uncounted).items():
        by_reason.setdefault(reason, []).append(name)
    parts = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - most} more" if len(names) > most else ""
        parts.append(f"{', '.join(names[:most])}{more} ({reason})")
    return "; ".join(parts)
