"""The layers of a gated network by the names that they had, and a backbone that is frozen and unfrozen."""

import keras
import numpy as np
import pytest

import tfgates

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = X[:, :2]


def network(frozen=True):
    """A backbone of two parts, one of them a model inside of it, with a head."""
    part = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, activation="relu", name="b")], name="part")
    backbone = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", name="a"),
            keras.layers.BatchNormalization(name="n"),
            part,
        ],
        name="backbone",
    )
    backbone.trainable = not frozen
    inputs = keras.Input((6,), name="features")
    outputs = keras.layers.Dense(2, name="head")(backbone(inputs))
    return keras.Model(inputs, outputs)


def names(layers):
    return [layer.name for layer in layers]


@pytest.mark.parametrize("copy_weights", [True, False])
def test_layers_of_a_nested_model(copy_weights, tmp_path):
    gated = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.5), copy_weights=copy_weights)
    for model in (gated, reloaded(gated, tmp_path)) if copy_weights else (gated,):
        assert names(model.layers_of("backbone")) == ["a", "n", "b"]
        assert names(model.layers_of("part")) == names(model.layers_of("backbone/part")) == ["b"]
        assert names(model.layers_of("backbone/a")) == names(model.layers_of("a")) == ["a"]
        assert model.layers_of("head") == [model.get_layer("head")]
    small = tfgates.prune(gated)
    assert all(small.get_layer(layer.name) for layer in gated.layers_of("backbone"))


def reloaded(model, folder):
    model.save(folder / "gated.keras")
    return keras.saving.load_model(folder / "gated.keras")


def test_a_layer_that_is_called_in_two_models_is_found_in_both():
    shared = keras.layers.Dense(6, activation="relu", name="shared")
    inputs = keras.Input((6,))
    parts = [keras.Sequential([keras.Input((6,)), shared], name=name) for name in ("first", "second")]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()([part(inputs) for part in parts])))
    gated = tfgates.gate_model(model)
    assert names(gated.layers_of("first")) == names(gated.layers_of("second")) == names(gated.layers_of("shared"))
    assert len(gated.layers_of("shared")) == 1


def test_a_model_with_gates_by_hand_has_its_own_names():
    inputs = keras.Input((6,))
    model = tfgates.GatedModel(inputs, tfgates.layers.GatedDense(2, gate="hard_concrete", name="own")(inputs))
    assert model.layers_of("own") == [model.get_layer("own")]


@pytest.mark.parametrize("name", ["back", "backbone/head", "bone"])
def test_unknown_names(name):
    gated = tfgates.gate_model(network())
    with pytest.raises(
        ValueError,
        match=f"`name` must be that of a layer .* Received: name='{name}', which is none.*'backbone', 'features'",
    ):
        gated.layers_of(name)


@pytest.mark.parametrize("name", ["", "/", 3, None])
def test_refused_names(name):
    with pytest.raises(ValueError, match="`name` must be that of a layer or a nested model. Received: name="):
        tfgates.gate_model(network()).layers_of(name)


def test_a_frozen_backbone_is_unfrozen_and_pruned():
    """Frozen weights and averages stand still while gates learn; unfrozen they learn."""
    model = network()
    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    backbone = gated.layers_of("backbone")
    assert not any(layer.trainable for layer in backbone) and all(gate.trainable for gate in gated.gates)

    def values():
        kernels = [np.array(layer.kernel) for layer in backbone if hasattr(layer, "kernel")]
        return (
            kernels,
            [np.array(gate.logits) for gate in gated.gates],
            [np.array(v) for v in gated.layers_of("n")[0].weights[2:]],
        )

    def train(epochs):
        gated.compile("adam", "mse", gate_optimizer=keras.optimizers.Adam(0.1))
        gated.fit(X, Y, epochs=epochs, batch_size=16, verbose=0)

    start = values()
    train(2)
    frozen = values()
    assert all(np.all(a == b) for a, b in zip(start[0], frozen[0], strict=True))
    np.testing.assert_array_equal(start[2], frozen[2])
    assert all(np.any(a != b) for a, b in zip(start[1], frozen[1], strict=True))
    for layer in backbone:
        layer.trainable = True
    train(20)
    unfrozen = values()
    for i in (0, 2):
        assert all(np.any(a != b) for a, b in zip(frozen[i], unfrozen[i], strict=True))
    small = tfgates.finish(gated, (X, Y))
    assert tfgates.cost(small).macs <= 0.5 * tfgates.cost(model).macs
    assert all(small.get_layer(layer.name).trainable for layer in backbone)


def test_what_is_frozen_stays_frozen_in_what_pruning_leaves():
    gated = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.5))
    small = tfgates.prune(gated)
    assert names(layer for layer in small.layers if layer.weights and not layer.trainable) == ["a", "n", "b"]


@pytest.mark.slow
def test_a_backbone_of_keras_applications():
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg", name="backbone"
    )
    backbone.trainable = False
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head")(backbone(inputs)))
    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.6))
    assert set(names(gated.layers)) - set(names(gated.layers_of("backbone"))) == {"head", gated.layers[0].name}
    x, y = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32"), np.arange(16) % 3
    for layer in gated.layers_of("backbone"):
        layer.trainable = True
    gated.compile("adam", loss="sparse_categorical_crossentropy")
    gated.fit(x, y, verbose=0)
    small = tfgates.finish(gated, (x, y))
    assert tfgates.cost(small).macs <= 0.6 * tfgates.cost(model).macs
