"""Attention: what the heads own."""

from collections.abc import Mapping
from typing import Any

from keras import layers

from tfgates.anatomy.base import Anatomy
from tfgates.anatomy.declare import register_anatomy
from tfgates.keras_internals import widths_of_attention
from tfgates.layers import GatedMultiHeadAttention


@register_anatomy(layers.MultiHeadAttention, GatedMultiHeadAttention)
class AttentionAnatomy(Anatomy):
    """`sum_h softmax(q_h k_h) v_h W_h + b`: a head is its part of four kernels, of five with `use_gate`."""

    variables = {
        "_query_dense.kernel": ("query", "heads", None),
        "_query_dense.bias": ("heads", None),
        "_key_dense.kernel": ("key", "heads", None),
        "_key_dense.bias": ("heads", None),
        "_value_dense.kernel": ("value", "heads", None),
        "_value_dense.bias": ("heads", None),
        "_gate_dense.kernel": ("query", "heads", None),
        "_gate_dense.bias": ("heads", None),
        "_output_dense.kernel": ("heads", None, "outputs"),
        "_output_dense.bias": ("outputs",),
    }
    widths = {"num_heads": "heads", "output_shape": "outputs"}
    products = tuple(path for path in variables if path.endswith("kernel"))
    reads = {"query": "query", "value": "value", "key": "key"}
    applied = {f"_{name}_dense.kernel": name for name in reads} | dict.fromkeys(
        ("_gate_dense.kernel", "_output_dense.kernel"), "query"
    )

    def scores(self, layer: Any, places: Mapping[str, float]) -> float:
        """MACs of one head that are with no weights: queries with keys, and what they weigh with values."""
        return places["query"] * places["key"] * sum(widths_of_attention(layer))

    def macs(self, layer: Any, places: Mapping[str, float], counts: Mapping[str, int] | None = None) -> float:
        heads = (counts or {}).get("heads", self.counts(layer)["heads"])
        return super().macs(layer, places, counts) + heads * self.scores(layer, places)


@register_anatomy(layers.GroupQueryAttention)
class GroupQueryAttentionAnatomy(AttentionAnatomy):
    """A head of the keys and values goes with all the heads of the queries that share it.

    What it makes has as many channels as the queries and the values.
    """

    variables = {
        **AttentionAnatomy.variables,
        "_query_dense.kernel": ("channels", "heads", None),
        "_value_dense.kernel": ("channels", "heads", None),
        "_gate_dense.kernel": ("channels", "heads", None),
        "_output_dense.kernel": ("heads", None, "channels"),
        "_output_dense.bias": ("channels",),
    }
    widths = {"num_key_value_heads": "heads"}
    reads = {"query": "channels", "value": "channels", "key": "key"}
    makes = "channels"

    def resize(self, layer: Any, config: dict[str, Any], keep: Any) -> None:
        super().resize(layer, config, keep)
        if "heads" in keep:
            each = layer.num_query_heads // layer.num_key_value_heads
            config["num_query_heads"] = config["num_key_value_heads"] * each

    def scores(self, layer: Any, places: Mapping[str, float]) -> float:
        each = layer.num_query_heads // layer.num_key_value_heads
        return places["query"] * places["key"] * 2 * layer.head_dim * each
