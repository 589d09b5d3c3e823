"""Probabilities of many formulas over independent units, by products alone.

A disjunction of conjunctions is taken apart into independent pieces: "a and c, or b and c" is
"(a or b) and c", so that P = (1 - (1 - P(a)) (1 - P(b))) P(c). Where no such pieces exist it is
split on a unit: P = P(u) P(f with u open) + (1 - P(u)) P(f with u closed).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

# A conjunction: the units that must be open.
Term = frozenset[int]

# Factors of one product.
WIDEST = 8


class Circuit:
    """Products (`and`) and co-products (`or`) over units, each distinct one stored once.

    Numbers: 0 is always open, 1 is never open, `2 + i` is unit i; the others follow.

    Args:
        units: int, number of units.
    """

    def __init__(self, units: int) -> None:
        self.units = units
        self._nodes: list[tuple[str, tuple[int, ...]]] = []
        self._ids: dict[tuple[str, tuple[int, ...]], int] = {}
        self._levels = [0] * (units + 2)
        self._memo: dict[frozenset[Term], dict[int, float]] = {}

    def _node(self, kind: str, children: Sequence[int]) -> int:
        children = tuple(sorted(set(children)))
        if len(children) == 1:
            return children[0]
        key = (kind, children)
        if key not in self._ids:
            self._ids[key] = len(self._levels)
            self._levels.append(1 + max(self._levels[c] for c in children))
            self._nodes.append(key)
        return self._ids[key]

    def conjunction(self, units: Iterable[int]) -> int:
        """Number of "all of `units` are open"."""
        numbers = [2 + u for u in sorted(units)]
        # Of many units in steps: the table of a level is as wide as its widest product.
        while len(numbers) > WIDEST:
            numbers = [self._node("and", numbers[i : i + WIDEST]) for i in range(0, len(numbers), WIDEST)]
        return self._node("and", numbers) if numbers else 0

    def both(self, a: int, b: int) -> int:
        """Number of the product of two independent ones."""
        if a == 0 or b == 0:
            return max(a, b)
        return self._node("and", [a, b])

    def disjunction(self, terms: Iterable[Term]) -> dict[int, float]:
        """`{number: coefficient}` whose weighted sum is the probability of a disjunction."""
        terms = frozenset(terms)
        if terms not in self._memo:
            self._memo[terms] = self._disjunction(terms)
        return self._memo[terms]

    def _disjunction(self, terms: frozenset[Term]) -> dict[int, float]:
        if not terms:
            return {}
        if frozenset() in terms:
            return {0: 1.0}
        if len(terms) == 1:
            return {self.conjunction(next(iter(terms))): 1.0}
        shared = frozenset.intersection(*terms)
        if shared:
            rest = self.disjunction(t - shared for t in terms)
            return self._times(self.conjunction(shared), rest)
        pieces = components(terms)
        if len(pieces) > 1:
            return self._combine("or", [self.disjunction(piece) for piece in pieces], terms)
        factors = factorise(terms)
        if factors is not None:
            return self._combine("and", [self.disjunction(factor) for factor in factors], terms)
        return self._split(terms)

    def _times(self, number: int, sums: Mapping[int, float]) -> dict[int, float]:
        result: dict[int, float] = {}
        for other, coefficient in sums.items():
            product = self.both(number, other)
            result[product] = result.get(product, 0.0) + coefficient
        return result

    def _combine(self, kind: str, parts: Sequence[dict[int, float]], terms: frozenset[Term]) -> dict[int, float]:
        if all(len(part) == 1 and next(iter(part.values())) == 1.0 for part in parts):
            return {self._node(kind, [next(iter(part)) for part in parts]): 1.0}
        return self._split(terms)

    def _split(self, terms: frozenset[Term]) -> dict[int, float]:
        """On the unit that occurs most often."""
        counts: dict[int, int] = {}
        for term in terms:
            for unit in term:
                counts[unit] = counts.get(unit, 0) + 1
        unit = max(sorted(counts), key=lambda unit: counts[unit])
        opened = minimal(t - {unit} for t in terms)
        closed = frozenset(t for t in terms if unit not in t)
        result = self._times(2 + unit, self.disjunction(opened))
        for number, coefficient in self.disjunction(closed).items():
            result[number] = result.get(number, 0.0) + coefficient
            product = self.both(2 + unit, number)
            result[product] = result.get(product, 0.0) - coefficient
        return {number: coefficient for number, coefficient in result.items() if coefficient}

    def pack(self) -> None:
        """Fixes the order of evaluation; afterwards `position` translates numbers."""
        first = self.units + 2
        order = sorted(range(len(self._nodes)), key=lambda i: self._levels[first + i])
        self._position = np.arange(first + len(self._nodes))
        for place, i in enumerate(order):
            self._position[first + i] = first + place
        self._tables = []
        for level in range(1, 1 + max(self._levels)):
            nodes = [self._nodes[i] for i in order if self._levels[first + i] == level]
            width = max(len(children) for _, children in nodes)
            # Fillers that change nothing: always open in a product, never open in a co-product.
            table = [
                [*(self._position[c] for c in children), *[0 if kind == "and" else 1] * (width - len(children))]
                for kind, children in nodes
            ]
            product = np.array([kind == "and" for kind, _ in nodes])
            self._tables.append((np.array(table, "int32"), product))

    def position(self, number: int) -> int:
        """Index of a number in what `evaluate` returns."""
        return int(self._position[number])

    def evaluate(self, probabilities: Any) -> np.ndarray:
        """All probabilities, as a float64 array, from those of the units (an array)."""
        values = np.concatenate([[1.0, 0.0], np.asarray(probabilities, np.float64)])
        for table, product in self._tables:
            inputs = values[table]
            new = np.where(product, inputs.prod(axis=-1), 1.0 - (1.0 - inputs).prod(axis=-1))
            values = np.concatenate([values, new])
        return values

    def evaluate_tensor(self, probabilities: Any) -> Any:
        """The same as a float32 tensor, differentiable in the tensor `probabilities`."""
        constants = np.array([1.0, 0.0], "float32")
        values = ops.concatenate([ops.convert_to_tensor(constants), probabilities])
        for table, product in self._tables:
            inputs = ops.take(values, table, axis=0)
            parts = []
            if product.all():
                parts = [ops.prod(inputs, axis=-1)]
            elif not product.any():
                parts = [1.0 - ops.prod(1.0 - inputs, axis=-1)]
            else:
                column = product[:, None]
                inverted = ops.prod(ops.where(column, inputs, 1.0 - inputs), axis=-1)
                parts = [ops.where(product, inverted, 1.0 - inverted)]
            values = ops.concatenate([values, *parts])
        return values


def minimal(terms: Iterable[Term]) -> frozenset[Term]:
    """A disjunction without the conjunctions that others imply."""
    terms = frozenset(terms)
    return frozenset(t for t in terms if not any(other < t for other in terms))


def components(terms: frozenset[Term]) -> list[frozenset[Term]]:
    """The terms grouped so that different groups share no unit."""
    groups: list[tuple[frozenset[int], list[frozenset[int]]]] = []
    for term in sorted(terms, key=sorted):
        touching = [g for g in groups if g[0] & term]
        groups = [g for g in groups if not g[0] & term]
        units = term.union(*(g[0] for g in touching))
        members = [term, *(t for g in touching for t in g[1])]
        groups.append((units, members))
    return [frozenset(members) for _, members in groups]


def factorise(terms: frozenset[Term]) -> list[frozenset[Term]] | None:
    """Disjunctions over different units whose conjunction is the disjunction of `terms`, or None."""
    units = sorted(frozenset().union(*terms))
    together: dict[int, set[int]] = {u: set() for u in units}
    for term in terms:
        for unit in term:
            together[unit] |= term
    left, factors = set(units), []
    while left:
        # Units that never occur in one term with all others belong into one factor with them.
        stack, factor = [min(left)], set()
        while stack:
            unit = stack.pop()
            if unit not in factor:
                factor.add(unit)
                stack.extend(left - together[unit] - factor)
        left -= factor
        factors.append(frozenset(factor))
    if len(factors) == 1:
        return None
    projected = [frozenset(t & factor for t in terms) for factor in factors]
    count = 1
    for projection in projected:
        count *= len(projection)
    return projected if count == len(terms) else None
