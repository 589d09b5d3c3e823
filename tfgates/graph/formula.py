"""Boolean formulas over gate units: under which gates is a position alive?

A formula is a small integer that names an entry of a table, so that one array holds the formulas
of all positions of a tensor. Entries are monotone: a disjunction of conjunctions of units
("unit 3 and unit 7, or unit 9"). With actual gates only `FALSE` and `TRUE` occur; with symbolic
ones the same walk yields the exact expected cost.
"""

from typing import Any

import numpy as np

FALSE, TRUE = 0, 1

# A disjunction with more conjunctions than this is replaced by what they have in common: an upper
# bound, reached only where many differently gated tensors are added.
MOST_TERMS = 128


class Formulas:
    """Table of formulas, each stored once."""

    def __init__(self) -> None:
        self.terms: list[frozenset[frozenset[int]]] = [frozenset(), frozenset([frozenset()])]
        self._ids = {self.terms[0]: FALSE, self.terms[1]: TRUE}
        self._memo: dict[tuple[str, int, int], int] = {}

    def _intern(self, terms: frozenset[frozenset[int]]) -> int:
        if len(terms) > 1:
            terms = frozenset(t for t in terms if not any(other < t for other in terms))
        return self._store(terms)

    def _store(self, terms: frozenset[frozenset[int]]) -> int:
        """The number of a disjunction in which no conjunction holds another one."""
        if len(terms) > MOST_TERMS:
            terms = frozenset([frozenset.intersection(*terms)])
        if terms not in self._ids:
            self._ids[terms] = len(self.terms)
            self.terms.append(terms)
        return self._ids[terms]

    def literal(self, unit: int) -> int:
        """The formula "this unit is open"."""
        return self._intern(frozenset([frozenset([unit])]))

    def _pair(self, kind: str, a: int, b: int) -> int:
        a, b = (a, b) if a <= b else (b, a)
        if kind == "and":
            # a <= b, so that only a can be FALSE unless both are.
            if a == FALSE:
                return FALSE
            if a in (TRUE, b):
                return b
        else:
            if a in (FALSE, b):
                return b
            if a == TRUE or b == TRUE:
                return TRUE
        key = (kind, a, b)
        if key not in self._memo:
            left, right = self.terms[a], self.terms[b]
            if kind == "and":
                self._memo[key] = self._intern(frozenset(x | y for x in left for y in right))
            else:
                # Within each of them no conjunction holds another one.
                kept = [t for t in left if not any(other <= t for other in right)]
                self._memo[key] = self._store(frozenset([*kept, *(t for t in right if not any(k < t for k in kept))]))
        return self._memo[key]

    def _arrays(self, kind: str, a: Any, b: Any) -> np.ndarray:
        a, b = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
        neutral, other = (TRUE, FALSE) if kind == "and" else (FALSE, TRUE)
        result = np.where(b == neutral, a, b)
        result[(a == other) | (b == other)] = other
        # What is left are pairs of two different formulas, neither of them a constant.
        pairs = (a > TRUE) & (b > TRUE) & (a != b)
        if pairs.any():
            size = len(self.terms)
            distinct, inverse = np.unique(a[pairs] * size + b[pairs], return_inverse=True)
            found = np.array([self._pair(kind, int(p // size), int(p % size)) for p in distinct], np.int64)
            result[pairs] = found[inverse]
        return result

    def both(self, a: Any, b: Any) -> np.ndarray:
        """Elementwise conjunction of two arrays of formulas."""
        return self._arrays("and", a, b)

    def either(self, a: Any, b: Any) -> np.ndarray:
        """Elementwise disjunction of two arrays of formulas."""
        return self._arrays("or", a, b)

    def some(self, formulas: list[Any]) -> int:
        """Exact disjunction of a list of formulas."""
        result = FALSE
        for formula in formulas:
            result = self._pair("or", result, int(formula))
        return result

    def any(self, formulas: np.ndarray) -> int:
        """One formula implied by each of `formulas`: exact when they agree or one is TRUE.

        Otherwise what all their conjunctions have in common: that one of many independent units is
        open is taken for granted.
        """
        distinct = [int(f) for f in np.unique(formulas) if f != FALSE]
        if not distinct:
            return FALSE
        if TRUE in distinct:
            return TRUE
        if len(distinct) == 1:
            return distinct[0]
        return self._intern(frozenset([self.common(distinct)]))

    def common(self, formulas: Any) -> frozenset[int]:
        """The units that occur in every conjunction of every formula (FALSE ones left out)."""
        shared = None
        for f in np.unique(formulas):
            for term in self.terms[int(f)]:
                shared = term if shared is None else shared & term
                if not shared:
                    return frozenset()
        return shared or frozenset()

    def without(self, formula: int, units: frozenset[int]) -> int:
        """`formula` with `units` taken to be open."""
        return self._intern(frozenset(term - units for term in self.terms[int(formula)]))

    def renumbered(self, formula: int, numbers: dict[int, int | None]) -> int:
        """`formula` of other units: for each that is in `numbers` the one there, None for one that is open."""
        terms = ((numbers.get(unit, unit) for unit in term) for term in self.terms[int(formula)])
        return self._intern(frozenset(frozenset(unit for unit in term if unit is not None) for term in terms))
