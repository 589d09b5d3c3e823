"""Registering costs: what is refused, and that a class can be defined again."""

import pytest

from tfgates.costs import Cost, Summand, cost_named, register_cost, registered_costs, unregister_cost


def cost_class(**attributes):
    return type("Own", (Cost,), {"unit": "things", "per_layer": lambda self, call: [Summand(1.0)], **attributes})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": "two words"}, "`name` of a cost must be an identifier.*Received: name='two words' of Own"),
        ({"name": "dense_bytes"}, "must be an identifier that does not begin with"),
        ({"name": "ramp"}, "must not be taken: those are params, macs, per_layer.*Received: name='ramp'"),
        ({"name": "macs"}, "must not be taken.*Received: name='macs'"),
        ({"name": "things", "unit": ""}, "`unit` of a cost must say what is counted. Received: unit=''"),
    ],
)
def test_what_is_refused(attributes, message):
    before = [cost.name for cost in registered_costs()]
    with pytest.raises(ValueError, match=message):
        register_cost(cost_class(**attributes))
    assert [cost.name for cost in registered_costs()] == before
    assert before[:2] == ["params", "macs"]


def test_it_must_be_a_cost():
    with pytest.raises(ValueError, match="takes a subclass of tfgates.costs.Cost. Received: <class 'int'>"):
        register_cost(int)


def test_a_class_that_is_defined_again_takes_the_place_of_the_first():
    before = [cost.unit for cost in registered_costs()]
    for unit in ("things", "others"):
        register_cost(cost_class(name="own", unit=unit))
    assert [cost.unit for cost in registered_costs()] == [*before, "others"]
    unregister_cost("own")
    for name in ("own", "macs"):
        with pytest.raises(ValueError, match=f"one of .*Received: name='{name}'"):
            unregister_cost(name)


def test_names_that_nobody_knows():
    with pytest.raises(ValueError, match="no cost of that name. Did you mean `macs`.*Received: 'mac'"):
        cost_named("mac")
