"""The figures of `tfgates.cost`."""

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.oracle import macs_of
from tests.slow import others_slow
from tfgates import layers

K = keras.layers

# Parameters: the table of https://keras.io/api/applications (to the unit: `count_params`).
# MACs at 224 x 224: VGG16 15.5 G (Simonyan and Zisserman 2015, arXiv 1409.1556; 15.47 G counted by
# the model zoos); ResNet50 3.8 G (He et al. 2016, arXiv 1512.03385, table 1: "FLOPs", which are
# multiply-adds there; its first 1x1 convolutions carry the strides, as in Keras); MobileNetV2 300 M
# (Sandler et al. 2018, arXiv 1801.04381, table 4).
PUBLISHED = {
    "VGG16": (138_357_544, 15.47e9, 0.005),
    "ResNet50": (25_636_712, 3.8e9, 0.02),
    "MobileNetV2": (3_538_984, 300e6, 0.01),
}


@pytest.mark.parametrize("name", others_slow(PUBLISHED, ["MobileNetV2"]))
def test_dense_cost_is_the_published_one(name):
    params, macs, tolerance = PUBLISHED[name]
    model = getattr(keras.applications, name)(weights=None)
    cost = tfgates.cost(model)
    assert cost.dense_params == cost.params == model.count_params() == params
    assert cost.dense_macs == cost.macs == macs_of(model)
    assert cost.dense_macs == pytest.approx(macs, rel=tolerance)
    assert cost.expected_params == pytest.approx(params)
    assert cost.expected_macs == pytest.approx(cost.dense_macs)


def gated(logits=(5.0, -5.0, 5.0, -5.0), shape=(6, 6, 3)):
    inputs = keras.Input(shape)
    convolution = layers.GatedConv2D(4, 3)
    model = tfgates.GatedModel(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(convolution(inputs))))
    convolution.gate.logits.assign(np.array(logits))
    return model


def test_actual_expected_and_dense():
    cost = tfgates.cost(gated())
    p = 1.0 / (1.0 + np.exp(-np.array([5.0, -5.0]) - 2.0 / 3.0 * np.log(11.0)))
    open_units = 2 * p.sum()
    assert (cost.params, cost.macs) == (2 * 28 + 2 * 2 + 2, 16 * 27 * 2 + 2 * 2)
    assert (cost.dense_params, cost.dense_macs) == (4 * 28 + 4 * 2 + 2, 16 * 27 * 4 + 4 * 2)
    assert cost.expected_params == pytest.approx(open_units * 30 + 2, rel=1e-5)
    assert cost.expected_macs == pytest.approx(open_units * (16 * 27 + 2), rel=1e-5)
    assert sum(layer.params for layer in cost.layers) == cost.params
    assert sum(layer.macs for layer in cost.layers) == cost.macs
    assert sum(layer.expected_macs for layer in cost.layers) == pytest.approx(cost.expected_macs)


def test_table():
    text = str(tfgates.cost(gated()))
    assert text.splitlines()[0].split() == [
        "layer", "parameters", "expected", "dense", "MACs", "expected", "dense",
    ]  # fmt: skip
    assert "gated_conv2d" in text and text.splitlines()[-1].startswith("total")
    assert "62 " in text.splitlines()[-1] and "868" in text.splitlines()[-1]


def test_representation():
    assert repr(tfgates.cost(gated())).startswith(
        "NetworkCost(params=62 of 122 (expected 64), macs=868 of 1,736 (expected 895))"
    )


def test_unknown_sizes_have_parameters_but_no_macs():
    cost = tfgates.cost(gated(shape=(None, None, 3)))
    assert cost.params == 62
    for name in ("macs", "dense_macs", "expected_macs"):
        with pytest.raises(ValueError, match="no total of MACs .*not counted: gated_conv2d .*every dimension but the"):
            getattr(cost, name)
    assert [name for name, _ in cost.uncounted] == ["gated_conv2d"]
    for shown in (str(cost), repr(cost), str(tfgates.plan_pruning(gated(shape=(None, None, 3))))):
        assert "nan" not in shown and "unknown" in shown
    assert (
        str(cost).splitlines()[-1].startswith("MACs not known, so there is no total of them: gated_conv2d (MACs need")
    )


def test_a_budget_decides_the_actual_cost():
    model = tfgates.GatedModel(
        *(lambda m: (m.inputs, m.outputs))(gated(logits=(5.0, 4.0, 3.0, 2.0))), budget=tfgates.Budget(macs=0.6)
    )
    chosen, standing = tfgates.cost(model), tfgates.cost(model, chosen=False)
    assert standing.macs == standing.dense_macs
    assert chosen.macs == round(0.5 * chosen.dense_macs)
    assert chosen.macs == macs_of(tfgates.prune(model))


def test_subclassed_models_are_refused():
    class Subclass(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="`model` must be a Sequential or Functional .* Received: model=Subclass"):
        tfgates.cost(Subclass())


def test_summary_prints_the_table():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    printed = []
    tfgates.summary(model, print_fn=printed.append)
    assert printed == [str(tfgates.cost(model))]


def test_layers_add_up_where_one_is_called_twice():
    inputs = [keras.Input((5,)) for _ in range(2)]
    shared = keras.layers.Dense(8, name="shared")
    x = keras.layers.Add()([tfgates.layers.GatedDense(6, gate="hard_concrete")(shared(x)) for x in inputs])
    cost = tfgates.cost(tfgates.GatedModel(inputs, keras.layers.Dense(2)(x)))
    for name in ("params", "macs", "expected_params", "expected_macs", "dense_params", "dense_macs"):
        assert sum(getattr(layer, name) for layer in cost.layers) == pytest.approx(getattr(cost, name), rel=1e-6)
    first, second = (layer for layer in cost.layers if layer.name == "shared")
    assert (first.params, first.expected_params) == (48, pytest.approx(48.0))
    # Computed twice, stored once.
    assert (second.params, second.expected_params) == (0, 0.0) and second.expected_macs == first.expected_macs == 40.0


def test_a_plain_network_has_one_column_for_each_cost():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="only")])
    assert str(tfgates.cost(model)).splitlines() == [
        "layer  parameters  MACs",
        "-----------------------",
        "only            8     6",
        "-----------------------",
        "total           8     6",
    ]


def test_what_is_no_model_is_said():
    with pytest.raises(ValueError, match=r"`model` must be a keras.Model; load one .* Received: model='model.keras'"):
        tfgates.cost("model.keras")
