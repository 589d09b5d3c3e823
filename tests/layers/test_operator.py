"""A function of Keras or TensorFlow as a layer."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import tensorflow
from tfgates.layers import Operator

ROWS = [{"size": [[0, 0]]}, {"size": [[0, 1]], "times": 2, "plus": 0}, 4]


def apart():
    return Operator("keras.ops.reshape", [{"tensor": 0}], {"newshape": ROWS}, name="apart")


def test_sizes_are_those_of_other_tensors():
    x, like = np.arange(48.0).reshape(12, 4), np.zeros((2, 3, 1))
    np.testing.assert_array_equal(apart()([x], [like]), x.reshape(2, 6, 4))
    with pytest.raises(Exception, match=r"(?i)reshape|shape .* is invalid"):
        apart()([x], [np.zeros((2, 2, 1))])


def test_in_a_model_and_its_file(tmp_path):
    first, like = keras.Input((4,)), keras.Input((None, 1))
    y = apart()([first], [like])
    assert tuple(y.shape)[2:] == (4,)
    model = keras.Model(
        [first, like], Operator("getitem", [{"tensor": 0}, [{"ellipsis": 1}, {"slice": [None, 2, None]}]])([y])
    )
    x = [np.arange(48.0, dtype="float32").reshape(12, 4), np.zeros((2, 3, 1), "float32")]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        np.testing.assert_array_equal(each(x), x[0].reshape(2, 6, 4)[..., :2])


def test_masks_end_here():
    masked = keras.layers.Masking()(keras.Input((3, 2)))
    made = Operator("keras.ops.negative", [{"tensor": 0}])([masked])
    assert getattr(made, "_keras_mask", None) is None


@pytest.mark.parametrize(
    "name",
    ["keras.ops.nothing", "os.system", "tensorflow.py_function", "tensorflow.io.write_file", "tensorflow.keras.Input"],
)
def test_only_functions_that_compute(name):
    with pytest.raises(ValueError, match=r"`function` must be 'getitem', or the name .* Received: function="):
        Operator(name)


def test_functions_of_tensorflow():
    tensorflow("a function of it")
    x = np.ones((3, 3), "float32")
    made = Operator("tensorflow.linalg.band_part", [{"tensor": 0}, 0, -1])([ops.convert_to_tensor(x)])
    np.testing.assert_array_equal(made, np.triu(x))
