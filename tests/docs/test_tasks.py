"""What somebody new wants of tfgates, written from the pages of the site alone."""

import keras
import numpy as np
import pytest

import tfgates
from tests.opaque import needs_values

SHAPE = (16, 16, 1)
K = keras.layers


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.float32(np.kron(data.images / 16, np.ones((1, 2, 2))))[..., None]
    return (images[:1400], data.target[:1400]), (images[1400:], data.target[1400:])


def block(x, filters, strides):
    start = x
    x = K.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = K.ReLU()(K.BatchNormalization()(x))
    x = K.BatchNormalization()(K.Conv2D(filters, 3, padding="same", use_bias=False)(x))
    start = K.Conv2D(filters, 1, strides=2)(start) if strides == 2 else start
    return K.ReLU()(K.Add()([start, x]))


@pytest.fixture(scope="module")
def resnet(digits):
    """Trained for six epochs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)))
    x = K.GlobalAveragePooling2D()(block(block(x, 16, 1), 32, 2))
    model = keras.Model(inputs, K.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*digits[0], epochs=6, batch_size=32, verbose=0)
    tfgates.reestimate_statistics(model, digits[0])
    return model


def share(small, model):
    return tfgates.cost(small).macs / tfgates.cost(model).macs


@pytest.mark.slow
@pytest.mark.parametrize(("macs", "least"), [(0.5, 0.9), (0.25, 0.7)])
def test_prune_my_resnet_without_training(resnet, digits, macs, least):
    train, test = digits
    small = tfgates.prune_by(resnet, tfgates.Budget(macs=macs))
    pruned = small.evaluate(*test, verbose=0)[1]
    tfgates.reconstruct(small, resnet, (train[0],))
    accuracy = small.evaluate(*test, verbose=0)[1]
    print(f"dense {resnet.evaluate(*test, verbose=0)[1]:.3f}, pruned {pruned:.3f}, reconstructed {accuracy:.3f}")
    assert share(small, resnet) <= macs and pruned < accuracy and accuracy > least


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_halve_the_macs_of_my_model(resnet, digits, tmp_path):
    train, test = digits
    small = tfgates.compress(
        resnet,
        train,
        budget=tfgates.Budget(macs=0.5),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        epochs=10,
        batch_size=32,
        verbose=0,
    )
    small.save(tmp_path / "small.keras")
    assert share(small, resnet) <= 0.5 and small.evaluate(*test, verbose=0)[1] > 0.9


def test_why_is_this_layer_kept():
    inputs = keras.Input(SHAPE)
    x = K.ReLU()(K.Conv2D(4, 3, padding="same", name="stem")(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(block(x, 4, 1))))
    report = str(tfgates.gate_model(model, l0=0.1).report)
    assert "stem" in report.split("skipped")[1] and "a residual stream: see `residual`" in report


@keras.saving.register_keras_serializable(package="tests.docs")
class Scaled(K.Layer):
    """A factor and an offset for each channel."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        self.offset = self.add_weight(shape=(input_shape[-1],), name="offset")

    def call(self, inputs):
        return needs_values(inputs) * self.factor + self.offset


def test_add_a_rule_for_my_layer():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, K.Dense(3)(Scaled(name="scaled")(K.Dense(8, name="mine")(inputs))))
    with pytest.raises(ValueError, match="scaled.*tfgates has no rule for this layer"):
        tfgates.gate_model(model, l0=0.1)

    @tfgates.anatomy.register_anatomy(Scaled)
    class ScaledAnatomy(tfgates.anatomy.ChannelAnatomy):
        variables = {"factor": ("channels",), "offset": ("channels",)}

    tfgates.anatomy.check_anatomy(Scaled(), np.random.default_rng(0).normal(size=(4, 6)))
    gated = tfgates.gate_model(model, l0=0.1)
    gated.gates[0].logits.assign(np.where(np.arange(8) < 2, -4.0, 4.0))
    assert tfgates.prune(gated).get_layer("mine").units == 6
