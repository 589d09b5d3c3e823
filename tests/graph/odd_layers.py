"""Layers that are hard to follow or to copy, for random networks: tied, with weights of their own, without config."""

import math

import keras
import numpy as np
from keras import ops

K = keras.layers
NAMED = [None, "relu", "tanh", ops.gelu]


@keras.saving.register_keras_serializable(package="tests")
class Holder(K.Layer):
    """A layer that is given a dense layer, which others call too."""

    supports_masking = True

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.saving.deserialize_keras_object(inner) if isinstance(inner, dict) else inner

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    def macs_of_call(self, x):
        return int(np.prod(x.shape[1:-1])) * int(np.prod(self.inner.kernel.shape))


@keras.saving.register_keras_serializable(package="tests")
class Transposed(Holder):
    """The way back through it, as in an autoencoder with tied weights."""

    def build(self, shape):
        self.offset = self.add_weight(shape=(self.inner.kernel.shape[0],), name="bias")

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.inner.kernel)) + self.offset


@keras.saving.register_keras_serializable(package="tests")
class Around(Holder):
    """Calls it, and has a weight of its own."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x):
        return self.factor * self.inner(x)


@keras.saving.register_keras_serializable(package="tests")
class Own(K.Layer):
    """Computes with weights of its own.

    Args:
        kind: "affine": a factor and an offset for each channel; "whole": one offset for each entry; "norm": by the
            mean of the squares; "token": one step more, in front; "product": a matrix.
    """

    supports_masking = True

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def build(self, shape):
        if self.kind in ("affine", "norm"):
            self.parts = [self.add_weight(shape=(shape[-1],), initializer="ones", name=name) for name in ("a", "b")]
            self.number = self.add_weight(shape=(), initializer="ones", name="number")
            return
        shapes = {"whole": (1, *shape[1:]), "token": (1, 1, shape[-1]), "product": (shape[-1], 3)}
        self.inside = {"matrix": self.add_weight(shape=shapes[self.kind], initializer="normal", name="matrix")}

    def macs_of_call(self, x):
        """For the oracle, where the layer stays whole."""
        return math.prod(x.shape[1:]) * 3 if self.kind == "product" else 0

    def call(self, x):
        if self.kind == "affine":
            return self.number * (x * self.parts[0] + self.parts[1])
        if self.kind == "norm":
            mean = ops.mean(ops.square(x), axis=-1, keepdims=True)
            return x * ops.rsqrt(mean + 1e-3) * (1.0 + self.parts[0]) + self.number * self.parts[1]
        matrix = self.inside["matrix"]
        if self.kind == "token":
            many = ops.broadcast_to(matrix, (ops.shape(x)[0], 1, x.shape[-1]))
            return ops.concatenate([many, x], axis=1)
        return ops.matmul(x, matrix) if self.kind == "product" else x + matrix

    def compute_mask(self, x, mask=None):
        return None if self.kind == "token" else mask

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="tests")
class Experts(K.Layer):
    """Three dense layers in one weight, and three back, each for all places.

    Args:
        kind: "first": the axis of the experts is the first; "joined": what they make is summed by the product, and in
            training their shares are added to the loss.
    """

    supports_masking = True

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def build(self, shape):
        sizes = {"router": (shape[-1], 3), "up": (3, shape[-1], 4), "down": (3, 4, shape[-1])}
        sizes |= {"bias": (3, 4)} if self.kind == "first" else {}
        self.parts = {name: self.add_weight(shape=sizes[name], initializer="normal", name=name) for name in sizes}

    def macs_of_call(self, x):
        """For the oracle, where the layer stays whole; a product that is summed counts too."""
        return math.prod(x.shape[1:]) * (3 + 2 * 3 * 4 + 3 * (self.kind == "first"))

    def call(self, x, training=None):
        parts = self.parts
        share = ops.softmax(ops.matmul(x, parts["router"]))
        # Of dots beside other axes Keras tells wrong shapes.
        places = "bxyzw"[: len(x.shape) - 1]
        if self.kind == "joined":
            if training:
                self.add_loss(ops.mean(ops.square(share)))
            hidden = ops.tanh(ops.einsum(f"{places}d,edf->{places}ef", x, parts["up"])) * share[..., None]
            return ops.einsum(f"{places}ef,efd->{places}d", hidden, parts["down"])
        biases = ops.reshape(parts["bias"], (3, *(1,) * (len(x.shape) - 1), 4))
        hidden = ops.relu(ops.einsum(f"{places}d,edf->e{places}f", x, parts["up"]) + biases)
        made = ops.einsum(f"e{places}f,efd->e{places}d", hidden, parts["down"])
        return ops.sum(made * ops.moveaxis(share, -1, 0)[..., None], axis=0)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="tests")
class Numbers(K.Layer):
    """Saves plain numbers."""

    supports_masking = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.height, self.offset = 1, 0.0

    def call(self, x):
        return x * float(self.height) + self.offset

    def save_own_variables(self, store):
        store["height"], store["offset"] = self.height, self.offset

    def load_own_variables(self, store):
        self.height, self.offset = int(store["height"]), float(store["offset"])


class Bare(K.Layer):
    """Takes no keywords, so that no config makes one like it."""

    supports_masking = True

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return ops.tanh(self.factor * x)


class Sized(K.Layer):
    """Takes sizes from its input, calls a function of TensorFlow where that runs, and has no config that makes it."""

    supports_masking = True

    def __init__(self, units):
        super().__init__()
        self.dense = K.Dense(units)

    def build(self, shape):
        self.dense.build((shape[0], None, shape[-1]))

    def call(self, x):
        sizes = ops.shape(x)
        y = self.dense(ops.reshape(x, (sizes[0], -1, sizes[-1])))
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            y = tf.nn.leaky_relu(y)
        return ops.reshape(y, (*sizes[:-1], self.dense.units))

    def macs_of_call(self, x):
        """For the oracle, where the layer stays whole."""
        return math.prod(x.shape[1:]) * self.dense.units


class OddSteps:
    """Steps of the builder of random networks with these layers."""

    def step_odd(self, x, dims):
        if x.sparse:
            # Keras takes the product with an array for sparse.
            return
        kind = self.pick(
            ["transposed", "transposed", "around", "around", "numbers", "bare", "own", "own", "sized", "experts"]
        )
        # No config says what a lambda is.
        made = [
            each
            for each in self.made
            if type(each[0]) is K.Dense and getattr(each[0].activation, "__name__", "") != "<lambda>"
        ]
        if kind == "own":
            own = self.pick(["affine", "affine", "whole", "norm", "product", "token"])
            fits = len(x.shape) == 3 if own == "token" else None not in x.shape[1:]
            self.add(Own(own if fits else "affine"), x)
        elif kind == "experts":
            if None not in x.shape[1:]:
                self.add(Experts(self.pick(["first", "joined"])), x)
        elif kind == "numbers":
            layer = Numbers()
            layer.height, layer.offset = self.pick([2, 3]), self.pick([0.0, 0.5])
            self.add(layer, x)
        elif kind == "bare":
            self.add(Bare(self.pick([0.5, np.float32(2.0)])), x)
        elif kind == "sized":
            self.add(Sized(self.pick([4, 6])), x)
        elif kind == "transposed":
            fitting = [layer for layer, _ in made if layer.units == x.shape[-1]]
            layer = self.pick(fitting) if fitting else K.Dense(self.width(), activation=self.pick(NAMED))
            self.add(Transposed(layer), x if fitting else self.add(layer, x))
        elif kind == "around":
            fitting = [layer for layer, shape in made if shape[-1] == x.shape[-1]]
            layer = self.pick(fitting) if fitting else K.Dense(x.shape[-1], activation=self.pick(NAMED))
            self.add(Around(layer), x if fitting else self.add(layer, x))

    def step_spread(self, x, dims):
        """Channels that are split over several axes and joined again, or that are multiplied by others of theirs."""
        size = x.shape[-1]
        kind = self.pick(["shuffle", "shuffle", "pixels", "blocks", "map", "parts", "kept"])
        factors = [f for f in (2, 3, 4) if size % f == 0 and size > f]
        places = tuple(x.shape[1:-1])
        if kind == "map" and dims == 0:
            y = K.Dense(3 * 2 * 4, use_bias=self.flag())(x)
            y = K.BatchNormalization()(y) if self.flag() else y
            y = K.Reshape((3, 2, 4) if self.flag() else (6, 4))(self.pick([K.ReLU(), K.Activation("tanh")])(y))
        elif kind == "parts":
            first, second = ops.split(K.Dense(8)(x), 2, axis=-1)
            y = first * self.pick([ops.sigmoid, ops.tanh, ops.relu])(second)
        elif kind == "pixels" and dims == 2 and max(places) <= 4:
            y = K.Conv2D(8, 1, activation=self.pick(NAMED))(x)
            if self.flag():
                y = ops.depth_to_space(y, 2)
            else:
                y = K.Permute((1, 3, 2, 4, 5))(K.Reshape((*places, 2, 2, 2))(y))
                y = K.Reshape((2 * places[0], 2 * places[1], 2))(y)
        elif kind == "blocks" and dims == 2 and all(each % 2 == 0 for each in places):
            y = ops.space_to_depth(x, 2)
        elif factors and kind in ("shuffle", "kept"):
            factor = self.pick(factors)
            y = ops.reshape(x, (-1, *places, factor, size // factor))
            if kind == "kept" and dims < 3:
                self.pool.append(y)
                return
            y = ops.reshape(ops.swapaxes(y, -1, -2), (-1, *places, size))
        else:
            return
        self.pool.append(y)

    def freeze(self, model):
        """Freezes some layer, wherever it lies, or a single variable of it."""
        layers = [each for each in model._flatten_layers(include_self=False) if each.weights]
        if layers and self.pick([True, False, False]):
            layer = self.pick(layers)
            part = self.pick(layer.weights) if self.pick([True, False, False]) else layer
            part.trainable = False
        return model


def flags(weights):
    """The shapes of weights, and whether they are trained, in no order; those of gates left out."""
    return sorted((tuple(v.shape), v.trainable) for v in weights if not getattr(v, "belongs_to_gate", False))
