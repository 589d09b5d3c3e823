"""Batch normalisation with a gate."""

from typing import Any

import keras
from keras import ops

from tfgates.layers.gated import GatedLayer


@keras.saving.register_keras_serializable(package="tfgates")
class GatedBatchNormalization(GatedLayer, keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with a gate on its output channels.

    `z * (gamma * (x - mean) / sqrt(variance + epsilon) + beta)`. With one draw per batch this is
    batch normalisation with `z * gamma` and `z * beta`: the gate needs no pass over the
    activations. A closed channel is exactly 0, whatever beta is, because the gate comes last.

    The penalty is `l0 * |g| * sum(P(open))`; `|g|` is `weights_per_unit` of the gate, which is
    1 unless `tfgates.gate_model` set it to the weights of the convolution before.

    Args:
        axis, momentum, ...: as in `keras.layers.BatchNormalization`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config. Defaults to
            `"hard_concrete"`.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, Any] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        gate: Any = "hard_concrete",
        granularity: str = "unit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            renorm=renorm,
            renorm_clipping=renorm_clipping,
            renorm_momentum=renorm_momentum,
            synchronized=synchronized,
            **kwargs,
        )
        if granularity != "unit":
            raise ValueError(
                "`granularity` must be 'unit' for a normalisation, whose weights are its units. "
                f"Received: granularity={granularity!r}"
            )
        self._set_gate(gate, granularity, channel_axis=self.axis)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.gate.build(input_shape)

    # As all gated layers: what a gate is given comes behind the inputs.
    def call(  # type: ignore[override]
        self, inputs: Any, logits: Any = None, noise: Any = None, training: Any = None, mask: Any = None
    ) -> Any:
        z = self._draw(inputs, training, logits, noise)
        simple = not (self.synchronized or self.renorm) and mask is None
        if len(z.shape) > 1 or not simple or not (training and self.trainable):
            outputs = super().call(inputs, training=training, mask=mask)
            return outputs * ops.cast(self.gate.broadcastable(z, outputs.shape), outputs.dtype)
        axis = self.axis % len(inputs.shape)
        reduction = [i for i in range(len(inputs.shape)) if i != axis]
        x = ops.cast(inputs, "float32") if self.compute_dtype in ("float16", "bfloat16") else inputs
        mean, variance = ops.moments(x, axes=reduction)
        averages: Any = ((self.moving_mean, mean), (self.moving_variance, variance))
        for average, batch in averages:
            old = ops.cast(average, x.dtype)
            average.assign(old * self.momentum + ops.cast(batch, x.dtype) * (1.0 - self.momentum))
        z = ops.cast(self.gate.positions(z, inputs.shape[axis]), x.dtype)
        gamma = z if self.gamma is None else z * ops.cast(self.gamma, x.dtype)
        beta = None if self.beta is None else z * ops.cast(self.beta, x.dtype)
        outputs = ops.batch_normalization(x, mean, variance, axis=axis, offset=beta, scale=gamma, epsilon=self.epsilon)
        return ops.cast(outputs, self.compute_dtype)
