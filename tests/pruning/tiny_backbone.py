"""A class of networks as KerasHub has them: a graph of composite layers, made by a few numbers."""

import functools

import keras
import numpy as np

import tfgates


@keras.saving.register_keras_serializable("tiny")
class Block(keras.layers.Layer):
    """Attention and an MLP, with normalisation in front of each, or behind the sum."""

    def __init__(self, heads, head_width, width, normalize_first=True, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.head_width, self.width, self.normalize_first = heads, head_width, width, normalize_first
        # Its variables come in another order than its calls.
        self.out = None
        self.norms = [keras.layers.LayerNormalization(name=f"norm_{i}") for i in range(2)]
        self.attention = keras.layers.MultiHeadAttention(heads, head_width, name="attention")
        self.hidden = keras.layers.Dense(width, activation="relu", name="hidden")
        self.dropout = keras.layers.Dropout(0.1, name="dropout")

    def build(self, shape):
        for norm in self.norms:
            norm.build(shape)
        self.attention.build(shape, shape)
        self.hidden.build(shape)
        self.out = keras.layers.Dense(shape[-1], name="out")
        self.out.build((*shape[:-1], self.width))

    def call(self, x, training=None):
        first, second = self.norms
        if self.normalize_first:
            y = first(x)
            x = x + self.dropout(self.attention(y, y), training=training)
            return x + self.out(self.hidden(second(x)))
        x = first(x + self.dropout(self.attention(x, x), training=training))
        return second(x + self.out(self.hidden(x)))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = {name: getattr(self, name) for name in ("heads", "head_width", "width", "normalize_first")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tiny")
class Backbone(keras.Model):
    """`head_dim` None: as wide as the heads make `hidden_dim`."""

    def __init__(
        self, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=8, head_dim=None, first=True, **kwargs
    ):
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = keras.layers.Embedding(11, hidden_dim, name="embedding")(tokens)
        for i in range(num_layers):
            width = head_dim or hidden_dim // num_heads
            x = Block(num_heads, width, intermediate_dim, first, name=f"layer_{i}")(x)
        super().__init__(tokens, x, **kwargs)
        self.arguments = {
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
            "head_dim": head_dim,
            "first": first,
        }

    def get_config(self):
        return {"name": self.name, **self.arguments}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("tiny")
class WithoutHeads(Backbone):
    """It has no argument for the width of a head."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        del self.arguments["head_dim"]


def backbone(kind=Backbone, **arguments):
    """One with weights as training may leave them."""
    model = kind(**arguments)
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.normal(size=variable.shape) * 0.3)
    return model


def close(gated, width, heads, layers=()):
    """Leaves so many units and heads open in each layer, the last ones, and closes the branches of `layers`."""
    for gate in gated.gates:
        layer = int(gate.name.split("_")[1])
        if gate.axis is None:
            logits = np.full(gate.units, -4.6 if layer in layers else 4.6)
        else:
            left = (heads if "attention" in gate.name else width)[layer]
            logits = np.where(np.arange(gate.units) >= gate.units - left, 4.6, -4.6)
        gate.logits.assign(logits.reshape(gate.unit_shape))


@functools.cache
def gated_backbone():
    """One for all tests, which `close` its gates as they like."""
    return tfgates.gate_model(backbone(), residual=("inner", "block"), length=5)
