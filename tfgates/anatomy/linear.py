"""What all layers have in common that sum products over their inputs: y = act(x W + b)."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgates.anatomy.base import Anatomy


class LinearAnatomy(Anatomy):
    """A layer that computes `activation(x W + b)` at each place, where b is a variable named `bias` or absent.

    Compared with an `Anatomy` it says in addition: constants pass through the layer, and those of inputs that are
    removed can be added to the bias. W is made of `products`.
    """

    def mixing(self, layer: keras.Layer, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """What each input that is 1 everywhere adds to each output, `(inputs, outputs)`, ignoring borders.

        Args:
            layer: a built layer.
            values: the arrays to use instead of the variables `products`.
        """
        (path,) = self.products
        axes, value = self.axes(layer)[path], values[path]
        others = tuple(i for i, axis in enumerate(axes) if axis not in ("inputs", "outputs"))
        matrix = value.sum(axis=others, dtype=np.float64) if others else value
        left = [axis for axis in axes if axis in ("inputs", "outputs")]
        return matrix if left.index("inputs") < left.index("outputs") else matrix.T

    def uniform(self, layer: keras.Layer) -> bool:
        """Whether a constant input gives the same at all places: no padding is seen."""
        return True

    def may_have_bias(self, layer: keras.Layer) -> bool:
        """Whether `add_bias` can give the layer a bias: whether `use_bias` is in the config of a user's."""
        return type(layer).__module__.partition(".")[0] in ("keras", "tfgates") or "use_bias" in layer.get_config()

    def add_bias(self, layer: keras.Layer, config: dict[str, Any]) -> None:
        """Writes into `config` that the layer has a bias."""
        config["use_bias"] = True


class ChannelAnatomy(Anatomy):
    """A layer that treats each channel separately, in the same way at all places, with weights per channel.

    Attributes:
        keeps_zero: bool, whether it makes 0 of 0 whatever its weights are. Defaults to False.
    """

    keeps_zero: bool = False

    products: tuple[str, ...] = ()
    reads = {"inputs": "channels"}
    makes = "channels"
