"""One example for all."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfgates")
class AsMany(keras.layers.Layer):
    """Repeats the one entry along the first axis as many times as there are examples: a class token for each image.

    Call arguments:
        inputs: a tensor with one entry along its first axis.
        like: a tensor with as many examples as there should be.

    Returns:
        A tensor like `inputs`, with as many entries along its first axis as `like` has.

    Example:

    >>> token = tfgates.layers.Weight((1, 1, 16))(patches)
    >>> x = keras.ops.concatenate([tfgates.layers.AsMany()(token, patches), patches], axis=1)
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "repeats one example for all of a batch, which no layer of Keras does"

    def call(self, inputs: Any, like: Any) -> Any:
        return ops.broadcast_to(inputs, (ops.shape(like)[0], *inputs.shape[1:]))

    def compute_output_spec(self, inputs: Any, like: Any) -> keras.KerasTensor:
        return keras.KerasTensor((like.shape[0], *inputs.shape[1:]), dtype=inputs.dtype)
