"""Functions of TensorFlow in the `call` of a layer or model are followed."""

import keras
import numpy as np
import pytest

from tests.calculus import tensorflow
from tests.graph.test_own_weights import half_closed
from tfgates.graph.own_weights import following
from tfgates.layers import Operator

K = keras.layers


class Edges(keras.Model):
    """Side outputs at the size of the image, as in HED."""

    def __init__(self):
        super().__init__()
        self.first = K.Conv2D(6, 3, padding="same", name="first")
        self.second = K.Conv2D(8, 3, strides=2, padding="same", name="second")
        self.near, self.side, self.fuse = (K.Conv2D(1, 1, name=name) for name in ("near", "side", "fuse"))

    def call(self, x):
        tf = tensorflow("its functions")
        height, width = tf.shape(x)[1], tf.shape(x)[2]
        y = tf.nn.relu(self.first(x))
        z = tf.image.resize(self.side(tf.nn.gelu(self.second(y))), (height, width), method="bilinear")
        return tf.sigmoid(self.fuse(tf.concat([self.near(y), z], axis=-1)))


def test_a_model_that_calls_them_is_opened(tmp_path):
    tensorflow("its functions")
    keras.utils.set_random_seed(0)
    model = Edges()
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    model(x)
    gated, pruned = half_closed(model)
    assert {"first", "second"} <= {name for name, _ in gated.report.gated}
    # What Keras has too is an operator of Keras.
    assert {layer.function for layer in gated.layers if isinstance(layer, Operator)} == {
        "tensorflow.image.resize",
        "tensorflow.nn.gelu",
    }
    np.testing.assert_allclose(pruned(x), gated(x), atol=1e-5)
    pruned.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(x), pruned(x), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nn.relu", "Relu"),
        ("sigmoid", "Sigmoid"),
        ("reduce_mean", "Mean"),
        ("math.erf", "Operator"),
        ("nn.gelu", "Operator"),
        ("math.reduce_std", "Operator"),
    ],
)
def test_what_they_become(name, kind):
    tf = tensorflow("its functions")
    function, x = tf, keras.KerasTensor((None, 4, 6))
    for part in name.split("."):
        function = getattr(function, part)
    with following(True):
        made = function(x)
    assert type(made._keras_history.operation).__name__ == kind
    # Not where nothing is followed.
    with pytest.raises(ValueError, match="cannot be used as input to a TensorFlow function"):
        function(x)


def test_sizes_are_numbers_where_they_are_known():
    tf = tensorflow("its functions")
    with following(True):
        batch, steps, width = tf.shape(keras.KerasTensor((None, 4, 6)))
        assert tf.shape(keras.KerasTensor((2, 4, 6))) == (2, 4, 6)
    assert (steps, width) == (4, 6)
    assert tuple(batch.shape) == ()
