"""Normalisations over channels: groups go, channels whose squares count nothing go, and where means are taken none."""

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.units import close_half, randomised, same_outputs

K = keras.layers


def normalised(norm):
    inputs = keras.Input((6, 6, 3))
    x = K.ReLU()(norm(K.Conv2D(8, 3, padding="same", name="before")(inputs)))
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(K.Conv2D(6, 3, padding="same", name="behind")(x))))


@pytest.mark.parametrize(
    ("arguments", "units"),
    [
        ({"groups": 4}, 4),
        ({"groups": -1}, 8),
        ({"groups": 2, "scale": False, "center": False}, 2),
        ({"groups": 4, "scale": False}, 4),
    ],
    ids=str,
)
def test_groups_of_a_group_normalisation(arguments, units):
    gated = tfgates.gate_model(normalised(K.GroupNormalization(**arguments, name="norm")), layers="before")
    (gate,) = gated.gates
    assert gate.units == units
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    left = pruned.get_layer("norm")
    assert left.groups == units // 2 and pruned.get_layer("before").filters == 4
    assert plan.params == pruned.count_params() and not plan.kept
    same_outputs(gated, pruned)


def test_constants_behind_a_group_of_constants():
    """Two biases without a kernel in a group: what a group normalisation makes of them is folded."""
    inputs = keras.Input((5, 5, 3))
    x = K.Conv2D(6, 1, name="before")(inputs)
    model = keras.Model(inputs, K.Conv2D(4, 3, name="behind")(K.GroupNormalization(3, name="norm")(x)))
    randomised(model)
    kernel = model.get_layer("before").kernel
    kernel.assign(np.array(kernel) * [1, 1, 0, 0, 1, 0])
    pruned = tfgates.prune(model)
    assert pruned.get_layer("before").filters == 4 and pruned.get_layer("norm").groups == 2
    same_outputs(model, pruned)


def test_groups_of_a_grouped_convolution_and_of_its_normalisation():
    inputs = keras.Input((6, 6, 4))
    x = K.GroupNormalization(6, name="norm")(K.Conv2D(12, 3, groups=4, name="before")(K.Conv2D(4, 1)(inputs)))
    gated = tfgates.gate_model(keras.Model(inputs, K.Conv2D(2, 1)(x)), layers="before")
    # Stretches of 3 and of 2 channels fall together in stretches of 6.
    assert [gate.units for gate in gated.gates] == [2]
    randomised(gated)
    close_half(gated)
    pruned = tfgates.prune(gated)
    assert (pruned.get_layer("before").groups, pruned.get_layer("norm").groups) == (2, 3)


def stream(norm):
    inputs = keras.Input((5, 6))
    x = K.Dense(8, name="stream")(inputs)
    y = K.Dense(7, activation="relu", name="inner")(norm(name="norm")(x))
    x = K.Add()([x, K.Dense(8, name="back")(y)])
    return keras.Model(inputs, K.Dense(2)(norm(name="last")(x)))


@pytest.mark.parametrize("kind", [K.RMSNormalization, K.UnitNormalization])
def test_a_stream_whose_squares_are_normalised(kind):
    gated = tfgates.gate_model(stream(kind), residual="tied")
    assert {gate.units for gate in gated.gates} == {8, 7}
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert pruned.get_layer("stream").units == pruned.get_layer("back").units == 4
    assert plan.params == pruned.count_params()
    same_outputs(gated, pruned)


def test_the_scale_and_epsilon_of_fewer_squares():
    layer = K.RMSNormalization(epsilon=0.5, name="norm")
    inputs = keras.Input((6,))
    gate = tfgates.gates.HardConcreteGate()
    model = keras.Model(inputs, K.Dense(2)(layer(gate(K.Dense(8)(inputs)))))
    randomised(model)
    gate.logits.assign(np.where(np.arange(8) < 6, -5.0, 5.0))
    left = tfgates.prune(model).get_layer("norm")
    assert left.epsilon == 0.5 * 8 / 2
    np.testing.assert_allclose(np.array(left.scale), 2.0 * np.array(layer.scale)[6:], rtol=1e-6)


def test_a_mean_over_all_channels_keeps_them():
    report = tfgates.gate_model(stream(K.LayerNormalization), residual="tied").report
    assert [name for name, _ in report.gated] == ["inner"]
    assert all("its statistics are averaged" in dict(report.skipped)[name] for name in ("stream", "back", "norm"))
