"""Numbers as a tensor of the network."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="tfgates")
class Constant(keras.layers.Layer):
    """An array as a layer: whatever it is called on, it returns the array.

    Where the `call` of one of your layers calls other layers on numbers (an embedding on `0, 1, 2, ...`),
    `tfgates.gate_model` lays the layer out flat with one `Constant` for these numbers.

    Args:
        value: the array, or nested lists of numbers.
        value_dtype: str, the dtype of the array. Defaults to that of `value`.

    Call arguments:
        inputs: any tensor of the model. It only ties the layer to the graph.

    Returns:
        A tensor like `value`, without a batch.

    Example:

    >>> positions = keras.layers.Embedding(50, 16)(tfgates.layers.Constant(range(50))(inputs))
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "numbers that a layer of yours computes with; no layer of Keras holds them alone"

    def __init__(self, value: Any, value_dtype: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        array = np.asarray(list(value) if isinstance(value, range) else value)
        self.value_dtype = value_dtype or keras.backend.standardize_dtype(array.dtype)
        # Kept by numpy: what is made in one graph is of no use in another.
        self.value = array if self.value_dtype == "bfloat16" else array.astype(self.value_dtype)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.convert_to_tensor(self.value, dtype=self.value_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.value.shape, dtype=self.value_dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(value=self.value.tolist(), value_dtype=self.value_dtype)
        return config
