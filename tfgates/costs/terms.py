"""The summands of a network's cost, each with the gates under which it is there."""

import dataclasses
from typing import Any

from tfgates.graph.rule import Term
from tfgates.graph.walk import Walk


def with_existence(walk: Walk, node: Any, terms: list[Term]) -> list[tuple[Term, int]]:
    """Pairs of a term and the formula under which it is there, those that count nothing left out.

    MACs are there with their call, parameters with any call of their layer, or of one that
    shares them.

    Args:
        walk: a finished symbolic `Walk`.
        node: the call that the terms are of.
        terms: what its rule says it costs.
    """
    here = anywhere = walk.used[node.index]
    if node.tie is not None:
        anywhere = walk.formulas.some([walk.used[index] for index in node.tie.calls])
    elif not walk.called_once(node):
        anywhere = walk.formulas.some([walk.used[n.index] for n in walk.network.nodes if n.op is node.op])
    found: list[tuple[Term, int]] = []
    for term in terms:
        if here == anywhere:
            parts = [(term, here)]
        else:
            parts = [(dataclasses.replace(term, macs=0), anywhere), (dataclasses.replace(term, params=0), here)]
        found.extend((part, exists) for part, exists in parts if part.params or part.macs)
    return found
