"""The mask that a layer hands on as a layer of the network."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfgates")
class WithMask(keras.layers.Layer):
    """Passes a tensor on with the mask of steps that another tensor carries.

    A layer that holds others, such as `keras.layers.Bidirectional`, can pass on the mask of what it reads where the
    last operator that it calls passes none on: `tfgates.gate_model` lays it out flat with one `WithMask` for this mask.

    Call arguments:
        inputs: list of two tensors: one that is passed on, and one whose mask it is to carry; only the mask of the
            second is used.

    Returns:
        The first tensor.

    Example:

    >>> steps = keras.layers.Embedding(1000, 32, mask_zero=True)(keras.Input((None,), dtype="int32"))
    >>> outputs = tfgates.layers.WithMask()([keras.ops.flip(steps, axis=-1), steps])
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "a mask that a layer hands on; no layer of Keras gives a tensor the mask of another"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return None if previous_mask is None else previous_mask[1]

    def call(self, inputs: Any) -> Any:
        # Another tensor than the one that came in: Keras writes a mask on the very tensor that a layer returns.
        return keras.ops.copy(inputs[0])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)
