"""Layers without weights that others have to tell apart."""

import inspect

import keras
import numpy as np
import pytest

from tfgates.anatomy.normalization import keeps_averages
from tfgates.anatomy.weightless import NOISE, holds_function, is_dropout, is_input, noise_attributes

K = keras.layers
NOISY = [
    kind
    for kind in vars(K).values()
    if inspect.isclass(kind) and {"rate", "stddev"} & {*inspect.signature(kind.__init__).parameters}
]


@pytest.mark.parametrize("kind", NOISY)
def test_every_layer_that_makes_noise_is_silent_at_zero(kind):
    layer, x = kind(0.5), np.ones((2,) + (6,) * int(kind.__name__[-2:-1] if kind.__name__.endswith("D") else 1) + (3,))
    (name,) = noise_attributes(layer)
    assert np.any(np.asarray(layer(x, training=True)) != x)
    setattr(layer, name, 0.0)
    np.testing.assert_array_equal(layer(x, training=True), x)
    assert is_dropout(layer) == ("Dropout" in kind.__name__ and kind not in (K.AlphaDropout, K.GaussianDropout))


def test_all_kinds_of_noise_are_among_them():
    assert {*NOISE} <= {*NOISY} and len(NOISY) >= 7


def test_cells_make_noise_of_two_kinds():
    assert noise_attributes(K.LSTMCell(2, dropout=0.5)) == ("dropout", "recurrent_dropout")
    assert noise_attributes(K.Dense(2)) == ()


def test_classes_of_users():
    class Mine(K.Dropout):
        pass

    class Averages(K.BatchNormalization):
        pass

    class Function(K.Lambda):
        pass

    assert noise_attributes(Mine(0.5)) == () and is_dropout(Mine(0.5))
    assert is_input(keras.Input((2,))._keras_history.operation) and not is_input(Mine(0.5))
    assert keeps_averages(Averages()) and not keeps_averages(K.LayerNormalization())
    assert holds_function(K.Lambda(abs)) and not holds_function(Function(abs))
