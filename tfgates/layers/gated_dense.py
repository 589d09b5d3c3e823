"""Dense layer with a gate."""

from typing import Any

import keras
from keras import ops

from tfgates.gates.arguments import check_choice
from tfgates.layers.gated import GatedLayer


@keras.saving.register_keras_serializable(package="tfgates")
class GatedDense(GatedLayer, keras.layers.Dense):
    """`keras.layers.Dense` with a gate on its outputs, its inputs or its weights.

    `activation(z * (x @ kernel + bias))` for gated outputs,
    `activation((z * x) @ kernel + bias)` for gated inputs,
    `activation(x @ (z * kernel) + bias)` for gated weights.

    With one draw per batch z multiplies kernel and bias instead of the activations whenever that
    is cheaper. The penalty is `l0 * |g| * sum(P(open))`: a gated output owns its column of
    the kernel and its bias, a gated input its row of the kernel, a gated weight itself.

    Args:
        units, activation, ...: as in `keras.layers.Dense`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config. Defaults to
            `"hard_concrete"`.
        gated: `"outputs"` or `"inputs"` (as L0-HC and L0-ARM do). Defaults to `"outputs"`.
        granularity: `"unit"` gates whole outputs or inputs, `"weight"` each entry of the kernel.
            Defaults to `"unit"`.

    Example:

    >>> layer = tfgates.layers.GatedDense(100, activation="relu", gate="hard_concrete")

    Reference: Louizos et al. 2018, arXiv 1712.01312, section 2.3 (group form of the penalty).
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        gate: Any = "hard_concrete",
        gated: Any = "outputs",
        granularity: str = "unit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            quantization_config=quantization_config,
            **kwargs,
        )
        self.gated = check_choice("gated", gated, ("outputs", "inputs"))
        self._set_gate(gate, granularity, channel_axis=-1)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.granularity == "weight":
            self.gate.build_units(self.kernel.shape)
            return
        size = input_shape[-1] if self.gated == "inputs" else self.units
        self.gate.build((None, size))
        group = size // self.gate.units
        owned = self.units if self.gated == "inputs" else input_shape[-1] + int(self.use_bias)
        self.gate.weights_per_unit = group * owned

    # As all gated layers: what a gate is given comes behind the inputs.
    def call(  # type: ignore[override]
        self, inputs: Any, logits: Any = None, noise: Any = None, training: Any = None
    ) -> Any:
        z = self._draw(inputs, training, logits, noise)
        kernel, bias, scale = self.kernel, self.bias, None
        output_shape = (*inputs.shape[:-1], self.units)
        if self.granularity == "weight":
            kernel = kernel * ops.cast(z, kernel.dtype)
        elif self.gated == "inputs":
            if self._cheaper_on_kernel(z, inputs.shape):
                z = self.gate.positions(z, inputs.shape[-1])
                kernel = kernel * ops.expand_dims(ops.cast(z, kernel.dtype), -1)
            else:
                inputs = inputs * ops.cast(self.gate.broadcastable(z, inputs.shape), inputs.dtype)
        elif self._cheaper_on_kernel(z, output_shape):
            z = ops.cast(self.gate.positions(z, self.units), kernel.dtype)
            kernel = kernel * z
            bias = None if bias is None else bias * z
        else:
            scale = self.gate.broadcastable(z, output_shape)
        outputs = ops.matmul(inputs, kernel)
        if bias is not None:
            outputs = ops.add(outputs, ops.cast(bias, outputs.dtype))
        if scale is not None:
            outputs = outputs * ops.cast(scale, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["gated"] = self.gated
        return config
