"""The class that Keras makes of `keras.Model(inputs, outputs)`, which has no public name."""

from typing import Any

import keras

_tensor = keras.Input((1,))
Functional: Any = type(keras.Model(_tensor, _tensor))
