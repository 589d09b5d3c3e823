"""The layer of keras.applications.convnext, which does not export it."""

import keras


class LayerScale(keras.Layer):
    """`x * gamma`, 0 at the start."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        return x * self.gamma

    def get_config(self):
        # As there: the number of channels stands in the config.
        return {**super().get_config(), "projection_dim": self.gamma.shape[0]}

    @classmethod
    def from_config(cls, config):
        config.pop("projection_dim", None)
        return cls(**config)


# Its rule goes by the name of a class of Keras.
LayerScale.__module__ = "keras.test"
