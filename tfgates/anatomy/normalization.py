"""Normalisations, and layers that scale their channels."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.axes import Keep
from tfgates.anatomy.declare import register_anatomy
from tfgates.anatomy.linear import ChannelAnatomy
from tfgates.layers import GatedBatchNormalization

layers = keras.layers


def keeps_averages(layer: Any) -> bool:
    """Whether a layer is a batch normalisation, of a class of the user's too: at inference it takes averages."""
    return isinstance(layer, layers.BatchNormalization)


@register_anatomy(layers.BatchNormalization, GatedBatchNormalization)
class BatchNormalizationAnatomy(ChannelAnatomy):
    variables = dict.fromkeys(
        ("gamma", "beta", "moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"),
        ("channels",),
    )

    def channel_axis(self, layer: Any, rank: int) -> int:
        return layer.axis % rank


class AveragingAnatomy(ChannelAnatomy):
    """A normalisation whose statistics run over the channels."""

    variables = {"gamma": ("channels",), "beta": ("channels",)}
    inseparable = "its statistics are averaged over the channels, so none of them can go"


@register_anatomy(layers.LayerNormalization)
class LayerNormalizationAnatomy(AveragingAnatomy):
    def declared(self, layer: Any) -> Mapping[str, tuple[Any, ...]]:
        several = isinstance(layer.axis, (list, tuple)) and len(layer.axis) > 1
        return dict.fromkeys(self.variables, (...,)) if several else self.variables

    def channel_axis(self, layer: Any, rank: int) -> int:
        axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
        return axis % rank


@register_anatomy(layers.GroupNormalization)
class GroupNormalizationAnatomy(ChannelAnatomy):
    """Statistics of each group of channels: a group goes as a whole; single channels where each is its own group."""

    variables = {"gamma": ("channels",), "beta": ("channels",)}

    def parts(self, layer: Any) -> int:
        return layer.groups

    def resize(self, layer: Any, config: dict[str, Any], keep: Keep) -> None:
        if "channels" in keep:
            config["groups"] = int(np.sum(keep["channels"].reshape(layer.groups, -1).any(axis=1)))

    def channel_axis(self, layer: Any, rank: int) -> int:
        return layer.axis % rank


@register_anatomy(layers.RMSNormalization)
class RMSNormalizationAnatomy(LayerNormalizationAnatomy):
    """`x * scale / sqrt(mean(x ** 2) + epsilon)`: channels that are 0 go, by another scale and epsilon."""

    variables = {"scale": ("channels",)}
    inseparable = ""


@register_anatomy("LayerScale")
class LayerScaleAnatomy(ChannelAnatomy):
    """`x * gamma`, as in keras.applications.convnext."""

    variables = {"gamma": ("channels",)}
    widths = {"projection_dim": "channels"}
    keeps_zero = True


@register_anatomy(layers.PReLU)
class PReLUAnatomy(ChannelAnatomy):
    """`max(x, 0) + alpha * min(x, 0)`, with alpha of one entry for each channel, or one for all."""

    variables = {"alpha": (...,)}
    keeps_zero = True

    def declared(self, layer: Any) -> Mapping[str, tuple[Any, ...]]:
        shape = layer.alpha.shape if layer.built else ()
        long = [axis for axis, size in enumerate(shape) if size > 1]
        # Weights along several axes stay whole.
        return {"alpha": tuple("channels" if long == [axis] else None for axis in range(len(shape)))}

    def channel_axis(self, layer: Any, rank: int) -> int:
        carried = self.declared(layer)["alpha"]
        return 1 + carried.index("channels") if "channels" in carried else rank - 1
