"""Multi-head attention with a gate on its heads."""

from typing import Any

import keras

from tfgates.layers.gated_heads import GatedHeads, HeadProjection, scaled_by


@keras.saving.register_keras_serializable(package="tfgates")
class GatedMultiHeadAttention(GatedHeads, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` with a gate on its heads.

    `sum_h z_h * softmax(q_h k_h^T / sqrt(d)) v_h W_h + b`. With one draw per batch z multiplies the kernel of the
    output projection, which costs next to nothing. A closed head owns its parts of the four projections, their
    biases, its scores and its context: `tfgates.prune` removes all of them, and a
    `keras.layers.MultiHeadAttention` with fewer heads remains. Masks, causal masks and cross-attention are as in Keras.

    The penalty is `l0 * |g| * sum(P(open))`, `|g|` the number of weights of one head.

    Args:
        num_heads, key_dim, ...: as in `keras.layers.MultiHeadAttention`.
        gate: a `tfgates.gates.Gate`, its name as a string, or its config; its units are the heads. Defaults to
            `"hard_concrete"`.
        granularity: must be `"unit"`.

    Call arguments:
        logits, noise: as in `tfgates.gates.Gate`; the others as in `keras.layers.MultiHeadAttention`.

    Example:

    >>> layer = tfgates.layers.GatedMultiHeadAttention(12, 64, gate="hard_concrete")
    >>> y = layer(x, x, use_causal_mask=True)

    Reference: Voita et al. 2019, arXiv 1905.09418, section 6 (hard concrete gates on heads).
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        gate: Any = "hard_concrete",
        granularity: str = "unit",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_heads,
            key_dim,
            value_dim=value_dim,
            dropout=dropout,
            use_bias=use_bias,
            output_shape=output_shape,
            attention_axes=attention_axes,
            sliding_window=sliding_window,
            flash_attention=flash_attention,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            use_gate=use_gate,
            seed=seed,
            **kwargs,
        )
        self._set_gate(gate, granularity)

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        super().build(query_shape, value_shape, key_shape)
        self._build_gate(self.num_heads)

    def _make_output_dense(self, query_shape: Any, common_kwargs: dict[str, Any], name: str | None = None) -> Any:
        plain = super()._make_output_dense(query_shape, common_kwargs, name)
        return HeadProjection(
            plain.equation, plain.partial_output_shape, bias_axes=plain.bias_axes, name=name, **common_kwargs
        )

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: Any = None,
        use_causal_mask: bool = False,
        logits: Any = None,
        noise: Any = None,
    ) -> Any:
        with scaled_by(self._scale(query, training, logits, noise)):
            return super().call(
                query,
                value,
                key,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                return_attention_scores=return_attention_scores,
                training=training,
                use_causal_mask=use_causal_mask,
            )
