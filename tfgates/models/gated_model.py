"""A Keras model with gates."""

import keras

from tfgates import gates


def gates_of(model):
    """The gates of a model, each once, in the order of its layers."""
    found = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, gates.Gate) and not any(layer is other for other in found):
            found.append(layer)
    return found


@keras.saving.register_keras_serializable(package="tfgates")
class GatedModel(keras.Model):
    """A Keras model whose layers carry gates.

    Args:
        inputs, outputs, name: as in `keras.Model`.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)

    @property
    def gates(self):
        """The gates of the model, each once, in the order of its layers."""
        return gates_of(self)
