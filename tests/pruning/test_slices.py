"""What pruning leaves of each variable: which positions, and what is folded into them."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gates import HardConcreteGate
from tfgates.graph.slices import Fold, folded
from tfgates.pruning.prune import rebuilt

K = keras.layers


def network():
    """Of 6 channels 1 and 4 are closed; those of the second layer are a constant behind its bias."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = HardConcreteGate(name="gate")(K.Conv2D(6, 3, name="first")(inputs))
    x = K.BatchNormalization(name="norm")(x)
    x = K.Conv2D(4, 1, activation="relu", name="second")(x)
    x = K.Dense(3, name="last")(K.Flatten()(x))
    model = keras.Model(inputs, x)
    model.get_layer("gate").logits.assign([5.0, -5.0, 0.5, 5.0, -5.0, 5.0])
    model.get_layer("norm").beta.assign(np.linspace(1.0, 2.0, 6))
    return model


def test_slices_say_which_positions_stay():
    model = network()
    slices = tfgates.plan_pruning(model).slices
    left = [0, 2, 3, 5]
    found = {each.name: {axis: kept.tolist() for axis, kept in each.kept.items()} for each in slices}
    assert found["first/kernel"] == {3: left} and found["first/bias"] == {0: left}
    assert found["norm/moving_variance"] == found["norm/gamma"] == {0: left}
    assert found["second/kernel"] == {2: left}
    assert found["last/kernel"] == found["last/bias"] == {}
    assert found["gate/logits"] == {} and slices[model.get_layer("gate").logits].dropped.startswith("it is a gate's")
    assert len(slices) == len(model.variables) and model.get_layer("first").kernel in slices


def test_what_is_shaped_like_a_variable_is_cut_alike():
    model = network()
    kernel = model.get_layer("second").kernel
    slot = np.random.default_rng(0).normal(size=kernel.shape)
    cut = tfgates.plan_pruning(model).slices[kernel].take(slot)
    np.testing.assert_array_equal(cut, slot[:, :, [0, 2, 3, 5]])


def test_folds_make_the_values_of_the_smaller_network():
    model = network()
    plan = tfgates.plan_pruning(model)
    _, surgery = rebuilt(plan)
    by_path = {heir.variable.path: heir for heir in surgery.heirs(plan.slices)}
    factor = model.get_layer("gate").test_gates()
    (fold,) = by_path["first/kernel"].folds
    np.testing.assert_array_equal(fold.factor, np.asarray(factor, np.float64)[[0, 2, 3, 5]])
    (fold,) = by_path["second/bias"].folds
    constants = 0.0 - np.array(model.get_layer("norm").moving_mean)[[1, 4]]
    constants = constants / np.sqrt(1.0 + 1e-3) + np.array(model.get_layer("norm").beta)[[1, 4]]
    expected = constants @ np.array(model.get_layer("second").kernel)[0, 0, [1, 4]]
    np.testing.assert_allclose(fold.offset, expected, rtol=1e-5)
    assert by_path["last/kernel"].folds == () and by_path["norm/gamma"].folds == ()
    for heir in by_path.values():
        np.testing.assert_allclose(np.array(heir.variable), heir.value(), rtol=1e-6)
    # Not so with another source.
    model.get_layer("second").kernel.assign_add(np.ones((1, 1, 6, 4)))
    assert np.abs(np.array(by_path["second/kernel"].variable) - by_path["second/kernel"].value()).min() > 0.5


def test_a_bias_that_was_not_there_is_made_of_folds():
    inputs = keras.Input((4,))
    x = HardConcreteGate(name="gate")(K.Dense(5, name="first")(inputs))
    x = K.Dense(3, use_bias=False, activation="relu", name="second")(K.Activation("sigmoid")(x))
    model = keras.Model(inputs, K.Dense(2)(x))
    model.get_layer("gate").logits.assign([5.0, -5.0, 5.0, 5.0, 5.0])
    plan = tfgates.plan_pruning(model)
    _, surgery = rebuilt(plan)
    (bias,) = [heir for heir in surgery.heirs(plan.slices) if heir.source is None]
    np.testing.assert_allclose(bias.value(), 0.5 * np.array(model.get_layer("second").kernel)[1], rtol=1e-6)


def test_gates_on_single_weights_are_factors():
    inputs = keras.Input((4,))
    layer = tfgates.layers.GatedDense(5, granularity="weight", name="first")
    model = keras.Model(inputs, K.Dense(2)(layer(inputs)))
    layer.gate.logits.assign(np.linspace(-4.0, 5.0, 20).reshape(4, 5))
    plan = tfgates.plan_pruning(model)
    _, surgery = rebuilt(plan)
    (kernel,) = [heir for heir in surgery.heirs(plan.slices) if heir.variable.path == "first/kernel"]
    np.testing.assert_allclose(kernel.value(), np.array(layer.gated_kernel())[kernel.source.kept[0]], rtol=1e-6)
    assert len(kernel.folds) == 1


def test_a_layer_that_goes_takes_its_variables_along():
    inputs = keras.Input((4,))
    x = K.Dense(4, name="before")(inputs)
    branch = HardConcreteGate(name="gate", axis=None)(K.Dense(4, name="branch")(x))
    model = keras.Model(inputs, K.Dense(2, name="last")(K.Add()([x, branch])))
    model.get_layer("gate").logits.assign([-5.0])
    slices = tfgates.plan_pruning(model).slices
    assert slices[model.get_layer("branch").kernel].dropped == "its layer goes"
    assert {each.name for each in slices if not each.dropped} == {
        "before/kernel", "before/bias", "last/kernel", "last/bias",
    }  # fmt: skip


def test_a_variable_of_another_model_has_no_slice():
    slices = tfgates.plan_pruning(network()).slices
    with pytest.raises(KeyError, match="of the network that the plan is for. Received: variable='first/kernel'"):
        slices[network().get_layer("first").kernel]


def test_folds_are_done_in_turn():
    value = folded(np.arange(3.0), [Fold(2.0), Fold(offset=np.ones(3)), Fold(np.array([1.0, 0.0, -1.0]), 1.0)])
    np.testing.assert_array_equal(value, [2.0, 1.0, -4.0])
