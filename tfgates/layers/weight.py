"""A weight as a tensor of the network."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tfgates")
class Weight(keras.layers.Layer):
    """A weight of one of your layers, as a layer: whatever it is called on, it returns the weight.

    Where the `call` of a layer computes with its own weights (a class token, positions, a factor for each channel),
    `tfgates.gate_model` lays it out flat: as calls of its layers, as operators, and as one `Weight` for each of these
    weights.

    Args:
        shape: tuple, the shape of the weight.
        initializer: where it starts. Defaults to `"zeros"`.
        regularizer: or None.
        constraint: or None.
        weight_dtype: str, the dtype of the weight; None: floats as the policy says.
        weight_autocast: bool, whether it is cast to the dtype that the policy computes in.
        learns: bool, whether it is trainable.

    Call arguments:
        inputs: any tensor of the model. It only ties the layer to the graph.

    Returns:
        A tensor of shape `shape`, without a batch.

    Example:

    >>> token = tfgates.layers.Weight((1, 1, 16))(inputs)
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "a weight that a layer of yours computes with; no layer of Keras holds one alone"

    def __init__(
        self,
        shape: Any,
        initializer: Any = "zeros",
        regularizer: Any = None,
        constraint: Any = None,
        weight_dtype: str | None = None,
        weight_autocast: bool = True,
        learns: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.initializer = keras.initializers.get(initializer)
        self.regularizer = keras.regularizers.get(regularizer)
        self.constraint = keras.constraints.get(constraint)
        self.weight_dtype = weight_dtype
        self.weight_autocast = weight_autocast
        self.learns = learns
        self.value: Any = None

    def build(self, input_shape: Any) -> None:
        if self.value is None:
            self.value = self.add_weight(
                shape=self.shape,
                initializer=self.initializer,
                regularizer=self.regularizer,
                constraint=self.constraint,
                dtype=self.weight_dtype,
                autocast=self.weight_autocast,
                trainable=self.learns,
                name="value",
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.convert_to_tensor(self.value)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(self.shape, dtype=self.made_dtype())

    def made_dtype(self) -> str:
        """The dtype of what the layer returns."""
        dtype = keras.backend.standardize_dtype(self.value.dtype)
        casts = self.weight_autocast and self.autocast and self.compute_dtype != self.variable_dtype
        return self.compute_dtype if casts and "float" in dtype else dtype

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            shape=list(self.shape),
            initializer=keras.initializers.serialize(self.initializer),
            regularizer=keras.regularizers.serialize(self.regularizer),
            constraint=keras.constraints.serialize(self.constraint),
            weight_dtype=self.weight_dtype,
            weight_autocast=self.weight_autocast,
            learns=self.learns,
        )
        return config
