"""The table of formulas against truth tables."""

import itertools

import numpy as np
import pytest

from tfgates.graph.formula import FALSE, MOST_TERMS, TRUE, Formulas

UNITS = 4
STATES = list(itertools.product((False, True), repeat=UNITS))


def truth(table, formula):
    """For each state of the units whether the formula holds."""
    return np.array([any(all(s[u] for u in term) for term in table.terms[formula]) for s in STATES])


@pytest.fixture
def table():
    """Formulas over four units, with both constants."""
    made = Formulas()
    found = [FALSE, TRUE, *(made.literal(u) for u in range(UNITS))]
    generator = np.random.default_rng(0)
    for _ in range(30):
        a, b = generator.choice(found, 2)
        found.append(int((made.both if generator.random() < 0.5 else made.either)(a, b)))
    return made, np.array(sorted(set(found)))


def test_conjunction_and_disjunction(table):
    made, found = table
    for a, b in itertools.product(found, repeat=2):
        np.testing.assert_array_equal(truth(made, int(made.both(a, b))), truth(made, a) & truth(made, b))
        np.testing.assert_array_equal(truth(made, int(made.either(a, b))), truth(made, a) | truth(made, b))


def test_arrays_are_broadcast(table):
    made, found = table
    np.testing.assert_array_equal(made.both(found, TRUE), found)
    np.testing.assert_array_equal(made.either(found, FALSE), found)
    np.testing.assert_array_equal(made.both(found, FALSE), np.zeros_like(found))
    assert made.either(found[:0], TRUE).shape == (0,)


def test_equal_formulas_have_one_number():
    made = Formulas()
    a, b = made.literal(0), made.literal(1)
    assert made.both(a, b) == made.both(b, a)
    # Absorption: a or (a and b) is a.
    assert made.either(a, made.both(a, b)) == a


def test_any_is_implied_by_each(table):
    made, found = table
    for pair in itertools.combinations(found, 2):
        whole = truth(made, made.any(np.array(pair)))
        assert np.all(whole | ~truth(made, pair[0])) and np.all(whole | ~truth(made, pair[1]))
    assert made.any(np.array([FALSE, FALSE])) == FALSE
    assert made.any(np.array([TRUE, FALSE])) == TRUE
    a = made.literal(0)
    assert made.any(np.array([a, FALSE, a])) == a
    both = made.both(np.array([a, a]), np.array([made.literal(1), made.literal(2)]))
    assert made.any(both) == a


def test_units_that_are_taken_to_be_open():
    made = Formulas()
    a, b = made.literal(0), made.literal(1)
    assert made.without(made.both(a, b).item(), frozenset([0])) == b
    assert made.without(a, frozenset([0])) == TRUE
    assert made.common([made.both(a, b).item(), a]) == frozenset([0])


def test_too_many_terms_become_what_they_have_in_common():
    made = Formulas()
    shared = made.literal(0)
    wide = FALSE
    for unit in range(1, MOST_TERMS + 2):
        wide = int(made.either(wide, made.both(shared, made.literal(unit))))
    assert wide == shared


def test_arrays_are_what_single_pairs_are(table):
    made, found = table
    a, b = (each.ravel() for each in np.meshgrid(found, found))
    for kind, whole in (("and", made.both(a, b)), ("or", made.either(a, b))):
        assert whole.tolist() == [made._pair(kind, int(x), int(y)) for x, y in zip(a, b, strict=True)]


def test_what_holds_another_conjunction_is_left_out(table):
    made, found = table
    for formula in found:
        terms = made.terms[formula]
        assert not any(one < other for one, other in itertools.permutations(terms, 2))
