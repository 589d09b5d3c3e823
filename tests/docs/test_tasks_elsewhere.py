"""The four tasks of somebody new once more, on networks that are less like those of the pages."""

import pathlib

import keras
import numpy as np
import pytest

import tfgates
from tests.docs.test_tasks import share

K = keras.layers


@keras.saving.register_keras_serializable(package="tests.docs")
class Bottleneck(K.Layer):
    """A block of a residual network with squeeze and excitation, as people write it: one layer."""

    def __init__(self, filters, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides
        self.convolutions = [
            K.Conv2D(filters, 1, use_bias=False),
            K.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False),
            K.Conv2D(4 * filters, 1, use_bias=False),
        ]
        self.normalisations = [K.BatchNormalization() for _ in range(3)]
        self.shortcut = K.Conv2D(4 * filters, 1, strides=strides)
        self.pool = K.GlobalAveragePooling2D(keepdims=True)
        self.squeeze, self.excite = K.Dense(filters // 2, "relu"), K.Dense(4 * filters, "sigmoid")

    def build(self, shape):
        behind = shape
        for convolution, normalisation in zip(self.convolutions, self.normalisations, strict=True):
            convolution.build(behind)
            behind = convolution.compute_output_shape(behind)
            normalisation.build(behind)
        self.shortcut.build(shape)
        self.squeeze.build((None, 1, 1, 4 * self.filters))
        self.excite.build((None, 1, 1, self.filters // 2))

    def call(self, inputs, training=None):
        x = inputs
        for number, (convolution, normalisation) in enumerate(
            zip(self.convolutions, self.normalisations, strict=True), start=1
        ):
            x = normalisation(convolution(x), training=training)
            x = keras.ops.relu(x) if number < 3 else x
        x = x * self.excite(self.squeeze(self.pool(x)))
        return keras.ops.relu(x + self.shortcut(inputs))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.float32(data.images / 16)[..., None]
    return (images[:1400], data.target[:1400]), (images[1400:], data.target[1400:])


@pytest.mark.slow
def test_prune_my_resnet_without_training(digits, tmp_path):
    """It comes from a file, and its blocks are layers of its own."""
    train, test = digits
    inputs = keras.Input((8, 8, 1))
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)))
    x = Bottleneck(16, name="third")(Bottleneck(16, 2, name="second")(Bottleneck(8, name="first")(x)))
    model = keras.Model(inputs, K.Dense(10, activation="softmax")(K.Dropout(0.2)(K.GlobalAveragePooling2D()(x))))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train, epochs=20, batch_size=32, verbose=0)
    tfgates.reestimate_statistics(model, train)
    model.save(tmp_path / "mine.keras")
    model = keras.saving.load_model(tmp_path / "mine.keras")
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5))
    pruned = small.evaluate(*test, verbose=0)[1]
    tfgates.reconstruct(small, model, (train[0],))
    accuracy = small.evaluate(*test, verbose=0)[1]
    print(f"dense {model.evaluate(*test, verbose=0)[1]:.3f}, pruned {pruned:.3f}, reconstructed {accuracy:.3f}")
    assert share(small, model) <= 0.5 and accuracy > pruned


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_halve_the_macs_of_my_model(digits, tmp_path):
    """Depthwise convolutions, logits, a loss with an argument, a data set that shuffles itself."""
    import tensorflow as tf

    def block(x, filters, strides=1):
        x = K.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = K.Conv2D(filters, 1, use_bias=False)(K.ReLU(6.0)(K.BatchNormalization()(x)))
        return K.ReLU(6.0)(K.BatchNormalization()(x))

    train, test = (
        tf.data.Dataset.from_tensor_slices((x, np.eye(10, dtype="float32")[y])).shuffle(1400, seed=0).batch(32)
        for x, y in digits
    )
    inputs = keras.Input((8, 8, 1))
    x = K.ReLU(6.0)(K.BatchNormalization()(K.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    x = block(block(block(x, 32), 64, 2), 64)
    model = keras.Model(inputs, K.Dense(10)(K.GlobalAveragePooling2D()(x)))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    small = tfgates.compress(
        model,
        train,
        budget=tfgates.Budget(macs=0.5),
        loss=loss,
        metrics=["accuracy"],
        epochs=20,
        validation_data=test,
        report=tmp_path / "run.html",
        verbose=0,
    )
    accuracy = small.evaluate(test, verbose=0)[1]
    print(f"{share(small, model):.3f} of the MACs, {accuracy:.3f}")
    assert share(small, model) <= 0.5 and accuracy > 0.85 and (tmp_path / "run.html").exists()


def test_why_is_this_layer_kept():
    """A network with a skip and a normalisation over the channels: the report's reasons stand on the page of limits."""
    inputs = keras.Input((8, 8, 2))
    start = K.Conv2D(4, 3, padding="same", activation="relu", name="down")(inputs)
    x = K.LayerNormalization(name="norm")(K.Conv2D(6, 3, strides=2, padding="same", name="low")(start))
    x = K.Concatenate()([K.Conv2DTranspose(4, 2, strides=2, name="up")(x), start])
    x = K.Add()([K.Conv2D(4, 3, padding="same", activation="elu", name="mix")(x), start])
    x = K.Dense(3, activation=lambda z: z * keras.ops.mean(z, -1, keepdims=True), name="odd")(x)
    model = keras.Model(inputs, K.Dense(2, name="mask")(x))
    # Of all layers by name: streams are gated otherwise, since there is little else.
    report = str(tfgates.gate_model(model, layers=".*", l0=0.1).report)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "limits.md").read_text("utf-8")
    for reason in (
        "its statistics are averaged over the channels",
        "its activation treats channels or places differently, or mixes them",
        "a residual stream",
        "an output of the model",
    ):
        assert reason in report and reason in page, reason


@keras.saving.register_keras_serializable(package="tests.docs")
class LowRank(K.Layer):
    """`x U V + b` with a thin middle."""

    def __init__(self, units, rank, **kwargs):
        super().__init__(**kwargs)
        self.units, self.rank = units, rank

    def build(self, input_shape):
        self.thin = self.add_weight(shape=(input_shape[-1], self.rank), name="thin")
        self.wide = self.add_weight(shape=(self.rank, self.units), name="wide")
        self.bias = self.add_weight(shape=(self.units,), initializer="ones", name="bias")

    def call(self, inputs):
        return keras.ops.matmul(keras.ops.matmul(inputs, self.thin), self.wide) + self.bias

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rank": self.rank}


def test_add_a_rule_for_my_layer():
    """Five lines, as on the page of layers of one's own; the middle stays."""
    inputs = keras.Input((5,))
    x = K.ReLU()(LowRank(8, 3, name="low")(K.Dense(6, activation="relu", name="mine")(inputs)))
    model = keras.Model(inputs, K.Dense(3)(x))

    @tfgates.anatomy.register_anatomy(LowRank)
    class LowRankAnatomy(tfgates.anatomy.Anatomy):
        variables = {"thin": ("inputs", None), "wide": (None, "outputs"), "bias": ("outputs",)}
        widths = {"units": "outputs"}
        products = ("thin", "wide")

    tfgates.anatomy.check_anatomy(LowRank(4, 2), np.random.default_rng(0).normal(size=(4, 6)))
    gated = tfgates.gate_model(model, l0=0.1)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) % 3, 4.0, -4.0))
    small = tfgates.prune(gated)
    assert (small.get_layer("mine").units, small.get_layer("low").units, small.get_layer("low").rank) == (4, 5, 3)
