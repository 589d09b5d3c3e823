"""The order in which units stay."""

import numpy as np

import tfgates
from tfgates.selection import Ranking
from tfgates.selection.ranking import spread_order


def test_spread_order():
    owner = np.repeat([0, 1], [2, 4])
    # By key alone where all differ.
    np.testing.assert_array_equal(spread_order([np.array([3.0, 1.0, 5.0, 0.0, 2.0, 4.0])], owner), [2, 5, 0, 4, 1, 3])
    # All equal: at shares 1/4, 3/4 of the first, 1/8, 3/8, 5/8, 7/8 of the second owner.
    np.testing.assert_array_equal(spread_order([np.zeros(6)], owner), [2, 0, 3, 4, 1, 5])
    # The first key decides, the second among its equals; only what is equal in both is spread.
    keys = [np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0]), np.array([0.0, 2.0, 1.0, 3.0, 0.0, 0.0])]
    np.testing.assert_array_equal(spread_order(keys, owner), [3, 1, 2, 4, 0, 5])
    assert len(spread_order([np.zeros(0)], np.zeros(0, int))) == 0


def built(units, name):
    gate = tfgates.gates.HardConcreteGate(name=name)
    gate.build((None, units))
    return gate


def test_open_units_come_first_then_the_likeliest():
    first, second = built(3, "first"), built(2, "second")
    first.logits.assign([4.0, -6.0, 1.0])
    second.logits.assign([2.0, -5.0])
    ranking = Ranking([first, second])
    np.testing.assert_array_equal(ranking.order, [0, 3, 2, 4, 1])
    np.testing.assert_array_equal(ranking.open_now, [True, False, True, True, False])


def test_scores_alone_decide_where_they_are_given():
    first, second = built(3, "first"), built(2, "second")
    first.logits.assign([-6.0, -6.0, -6.0])
    ranking = Ranking([first, second], {first: np.array([0.1, 0.5, 0.3]), second: np.array([0.2, 0.4])})
    np.testing.assert_array_equal(ranking.order, [1, 4, 2, 3, 0])
    assert ranking.open_now.all()


def test_the_score_of_a_group_is_the_highest_on_it():
    gate = built(2, "gate")
    ranking = Ranking([gate], {gate: np.array([1.0, 3.0])})
    # Groups 0 and 2 go together, as do 1 and 3; group 4 has no gate on it.
    root = np.array([0, 1, 0, 1, 4])
    places = [(gate, np.array([0, 2, 1, 3])), (built(1, "other"), np.array([4]))]
    np.testing.assert_array_equal(ranking.of_groups(places, root)[[0, 1, 4]], [1.0, 3.0, -np.inf])
