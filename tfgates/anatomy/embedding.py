"""Tables that are looked up."""

import keras

from tfgates.anatomy.base import Anatomy
from tfgates.anatomy.declare import register_anatomy


@register_anatomy(keras.layers.Embedding)
class EmbeddingAnatomy(Anatomy):
    """What is read are numbers of rows, not channels."""

    variables = {"embeddings": (None, "outputs")}
    widths = {"output_dim": "outputs"}
    products = ()
    reads = {}
