"""What a layer adds to the loss as a layer of the network."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfgates")
class AddedLoss(keras.layers.Layer):
    """Passes a tensor on, and adds others to the loss of the model.

    Where the `call` of one of your layers calls `self.add_loss`, such as the loss that balances the load of the experts
    of a mixture in training, `tfgates.gate_model` lays the layer out flat with one `AddedLoss` for it.

    Args:
        always: bool, whether they are added at inference too. Defaults to False.

    Call arguments:
        inputs: a tensor, which is passed on.
        losses: list of tensors, each summed.
        training: bool, whether the model trains.

    Returns:
        `inputs`.

    Example:

    >>> outputs = tfgates.layers.AddedLoss()(outputs, [1e-3 * keras.ops.mean(outputs**2)])
    """

    # Said of it where it is left in a pruned network: loading that needs this class.
    stays = "a loss that a layer of yours adds; no layer of Keras adds what another one makes"

    def __init__(self, always: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.always = always
        self.supports_masking = True
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask

    def call(self, inputs: Any, losses: Any, training: Any = None) -> Any:
        if training or self.always:
            self.add_loss(losses)
        return inputs

    def compute_output_spec(self, inputs: Any, losses: Any, training: Any = None) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "always": self.always}
