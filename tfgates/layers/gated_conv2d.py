"""Convolution with a gate."""

from typing import Any

import keras
from keras import ops

from tfgates.layers.gated import GatedLayer


@keras.saving.register_keras_serializable(package="tfgates")
class GatedConv2D(GatedLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a gate on its output maps or its weights.

    `activation(z * (conv(x, kernel) + bias))` for gated maps,
    `activation(conv(x, z * kernel) + bias)` for gated weights.

    With one draw per batch z multiplies kernel and bias instead of the activations whenever that
    is cheaper. The penalty is `l0 * |g| * sum(P(open))`, where a gated map owns its part of
    the kernel and its bias.

    Args:
        filters, kernel_size, ...: as in `keras.layers.Conv2D`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config. Defaults to
            `"hard_concrete"`.
        granularity: `"unit"` gates whole output maps, `"weight"` each entry of the kernel.
            Defaults to `"unit"`.

    Example:

    >>> layer = tfgates.layers.GatedConv2D(20, 5, activation="relu", gate="hard_concrete")

    Reference: Louizos et al. 2018, arXiv 1712.01312, section 2.3 (group form of the penalty).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        gate: Any = "hard_concrete",
        granularity: str = "unit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self._channel_axis = -1 if self.data_format == "channels_last" else 1
        self._set_gate(gate, granularity, self._channel_axis)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.granularity == "weight":
            self.gate.build_units(self.kernel.shape)
            return
        output_shape = [None] * 4
        output_shape[self._channel_axis] = self.filters
        self.gate.build(output_shape)
        owned = 1
        for size in self.kernel.shape[:-1]:
            owned *= size
        self.gate.weights_per_unit = (self.filters // self.gate.units) * (owned + int(self.use_bias))

    def call(self, inputs: Any, logits: Any = None, noise: Any = None, training: Any = None) -> Any:
        z = self._draw(inputs, training, logits, noise)
        kernel, bias, scale = self.kernel, self.bias, None
        output_shape = self.compute_output_shape(inputs.shape)
        if self.granularity == "weight":
            kernel = kernel * ops.cast(z, kernel.dtype)
        elif self._cheaper_on_kernel(z, output_shape):
            z = ops.cast(self.gate.positions(z, self.filters), kernel.dtype)
            kernel = kernel * z
            bias = None if bias is None else bias * z
        else:
            scale = self.gate.broadcastable(z, output_shape)
        outputs = self.convolution_op(inputs, kernel)
        if bias is not None:
            shape = [1] * 4
            shape[self._channel_axis] = self.filters
            outputs = ops.add(outputs, ops.reshape(ops.cast(bias, outputs.dtype), shape))
        if scale is not None:
            outputs = outputs * ops.cast(scale, outputs.dtype)
        return outputs if self.activation is None else self.activation(outputs)
