"""Circuits against enumeration of all states of the units."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgates.costs.circuit import Circuit, components, factorise, minimal

UNITS = 6
PROBABILITIES = np.array([0.1, 0.35, 0.5, 0.62, 0.8, 0.97])
terms_of = st.sets(st.frozensets(st.integers(0, UNITS - 1), min_size=1, max_size=4), min_size=1, max_size=7)


def enumerated(terms):
    """P(any of `terms` has all of its units open), by summing over all states."""
    total = 0.0
    for state in itertools.product((0, 1), repeat=UNITS):
        if any(all(state[u] for u in term) for term in terms):
            total += float(np.prod(np.where(state, PROBABILITIES, 1.0 - PROBABILITIES)))
    return total


def by_circuit(terms, tensor=False):
    circuit = Circuit(UNITS)
    numbers = circuit.disjunction(terms)
    circuit.pack()
    if tensor:
        values = np.asarray(circuit.evaluate_tensor(PROBABILITIES.astype("float32")))
    else:
        values = circuit.evaluate(PROBABILITIES)
    return sum(coefficient * values[circuit.position(n)] for n, coefficient in numbers.items())


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(terms_of)
def test_probability_equals_enumeration(terms):
    exact = enumerated(terms)
    assert by_circuit(minimal(terms)) == pytest.approx(exact, abs=1e-12)
    # What implies another term changes nothing.
    assert by_circuit(terms) == pytest.approx(exact, abs=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(terms_of)
def test_tensor_equals_enumeration(terms):
    assert by_circuit(minimal(terms), tensor=True) == pytest.approx(enumerated(terms), abs=2e-6)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([], 0.0),
        ([frozenset()], 1.0),
        ([frozenset([0])], 0.1),
        ([frozenset([0, 1])], 0.1 * 0.35),
        ([frozenset([0]), frozenset([1])], 1 - 0.9 * 0.65),
        ([frozenset([0, 2]), frozenset([1, 2])], (1 - 0.9 * 0.65) * 0.5),
    ],
)
def test_closed_forms(terms, expected):
    assert by_circuit(frozenset(terms)) == pytest.approx(expected)


def test_products_are_stored_once():
    circuit = Circuit(3)
    assert circuit.conjunction([0, 2]) == circuit.conjunction([2, 0]) == circuit.both(2, 4)
    assert circuit.conjunction([]) == 0
    assert circuit.both(0, 3) == 3


def test_components_share_no_unit():
    pieces = components([frozenset([0, 1]), frozenset([1, 2]), frozenset([3])])
    assert sorted(pieces, key=len) == [
        frozenset([frozenset([3])]),
        frozenset([frozenset([0, 1]), frozenset([1, 2])]),
    ]


def test_factorise_takes_products_apart():
    terms = [frozenset([a, b]) for a in (0, 1) for b in (2, 3)]
    factors = factorise(terms)
    assert sorted(sorted(map(sorted, f)) for f in factors) == [[[0], [1]], [[2], [3]]]
    assert factorise(terms[:3]) is None
