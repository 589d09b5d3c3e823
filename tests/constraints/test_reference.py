"""What shares refer to: the dense network that training began with."""

import json
import math

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.test_traced import Until
from tfgates.callbacks import watched
from tfgates.constraints import DenseReference


def gated(filters=8, **arguments):
    keras.utils.clear_session()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(filters, 3, activation="relu", name="first")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    made = tfgates.gate_model(model)
    return tfgates.GatedModel(made.inputs, made.outputs, **arguments)


def smaller(reference, **arguments):
    """A network of half as many units as that which `reference` is of."""
    return gated(4, dense_reference=reference, **arguments)


def test_a_budget_goes_on_to_count_against_the_network_that_training_began_with():
    large = gated(budget=tfgates.Budget(macs=0.4))
    small = smaller(large.dense_reference, budget=large.budget)
    (one,), (other,) = large._structure.bounds, small._structure.bounds
    assert (one.target, one.dense) == (other.target, other.dense)
    # The control: by itself it would be held to half as much.
    (own,) = gated(4, budget=large.budget)._structure.bounds
    assert own.target == pytest.approx(0.5 * other.target)
    with pytest.raises(ValueError, match="cannot be reached"):
        smaller(large.dense_reference, budget=tfgates.Budget(macs=0.01))


def test_bounds_on_layers_refer_to_the_layers_of_the_reference():
    large = gated(budget=tfgates.Budget(params=0.5, per_layer=True))
    small = smaller(large.dense_reference, budget=large.budget)
    targets = [{b.layer_name: b.target for b in model._structure.bounds} for model in (large, small)]
    assert targets[0] == targets[1]
    # What the reference does not name counts against itself.
    unnamed = smaller(DenseReference(large.dense_reference.totals), budget=large.budget)
    assert {b.layer_name: b.target for b in unnamed._structure.bounds} != targets[0]


def test_expected_costs_and_penalties_are_shares_of_the_reference():
    large = gated(penalty={"macs": 1.0})
    small, alone = smaller(large.dense_reference, penalty={"macs": 1.0}), gated(4, penalty={"macs": 1.0})
    losses = [float(model.structure_loss(training=False)) for model in (small, alone)]
    assert losses[0] == pytest.approx(0.5 * losses[1], rel=1e-5)
    shown = [watched.fractions(model._structure.cost, model)["macs"] for model in (large, small, alone)]
    np.testing.assert_allclose(shown, [1.0, 0.5, 1.0])


def test_a_saved_model_keeps_its_reference(tmp_path):
    large = gated(budget=tfgates.Budget(macs=0.4))
    small = smaller(large.dense_reference, budget=large.budget)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert loaded.dense_reference == large.dense_reference
    assert loaded._structure.bounds[0].target == large._structure.bounds[0].target


def test_what_is_not_known_is_kept_as_that():
    inputs = keras.Input((7, 5))
    x = Until(1, name="odd")(keras.layers.Dense(5, name="first")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    reference = DenseReference.of(tfgates.costs.ExpectedCost(model))
    assert math.isnan(reference.totals["macs"]) and reference.totals["params"] == model.count_params()
    assert math.isnan(reference.of_call("macs", "odd", 0, 3.0)) and reference.of_call("macs", "odd", 1, 3.0) == 3.0
    again = DenseReference.from_config(json.loads(json.dumps(reference.get_config(), allow_nan=False)))
    assert again == reference != DenseReference({"params": 1})


def test_totals_must_be_numbers():
    with pytest.raises(ValueError, match="must hold numbers or None. Received: 'many'"):
        DenseReference({"params": "many"})
