"""Layers without a rule of their own: their MACs against formulas written by hand."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import array
from tests.graph.test_reasons import Unknown
from tests.opaque import needs_values
from tfgates.graph import traced
from tfgates.graph.uncounted import UncountedError

K = keras.layers
BACKEND = keras.backend.backend()
TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow alone")


class Loop(K.Layer):
    """`rounds` products with one square matrix."""

    def __init__(self, rounds, **kwargs):
        super().__init__(**kwargs)
        self.rounds = rounds

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return ops.fori_loop(0, self.rounds, lambda i, y: ops.matmul(y, self.kernel), x)


class Scan(Loop):
    def call(self, x):
        return ops.scan(lambda y, i: (ops.matmul(y, self.kernel), y), x, ops.arange(float(self.rounds)))[0]


class Mapped(Loop):
    """A product for each of the `rounds` places."""

    def call(self, x):
        return ops.transpose(ops.map(lambda y: ops.matmul(y, self.kernel), ops.transpose(x, (1, 0, 2))), (1, 0, 2))


class Until(Loop):
    """As often as the data ask for."""

    def call(self, x):
        return ops.while_loop(lambda y: ops.max(y) < 1.0, lambda y: ops.matmul(y, self.kernel) + 1.0, x)


class Branch(Loop):
    """One product or two, as the data ask for."""

    def call(self, x):
        once = ops.matmul(x, self.kernel)
        return ops.cond(ops.max(x) < 1.0, lambda: once, lambda: ops.matmul(once, self.kernel))


class Alike(Loop):
    """One of two products of the same size."""

    def call(self, x):
        return ops.cond(
            ops.max(x) < 1.0, lambda: ops.matmul(x, self.kernel), lambda: ops.matmul(x, ops.transpose(self.kernel))
        )


class Python(Loop):
    def call(self, x):
        import tensorflow as tf

        return tf.ensure_shape(tf.numpy_function(lambda y: y, [x], x.dtype), x.shape)


class Fourier(K.Layer):
    def call(self, x):
        return ops.fft((x, x))[0]


class Chosen(Loop):
    """As many products as entries are positive."""

    def call(self, x):
        chosen = x[x[..., 0] > 0.0]
        return x + ops.sum(ops.matmul(chosen, self.kernel))


class Weighted(K.Layer):
    """`sum_i w_i x_i` without a product of matrices."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=shape[1:])

    def call(self, x):
        x = needs_values(x)
        return ops.sum(x * self.kernel, axis=1) / ops.sqrt(ops.sum(x * x, axis=1)) + ops.mean(2.0 * x, axis=1)


class Compiled(Loop):
    """A function of its own, with a gradient of its own."""

    def call(self, x):
        @ops.custom_gradient
        def double(y):
            return y * 2.0, lambda *args, upstream=None: args[0] if upstream is None else upstream

        def product(y):
            return ops.matmul(y, self.kernel)

        if BACKEND == "tensorflow":
            import tensorflow as tf

            return double(tf.function(product, jit_compile=True)(x))
        if BACKEND == "jax":
            import jax

            return double(jax.jit(product)(x))
        return double(product(x))


class Block(K.Layer):
    """A transformer's block, written as everybody writes it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = K.MultiHeadAttention(2, 3)
        self.inner, self.outer = K.Dense(16, activation="relu"), K.Dense(6)
        self.norms = [K.LayerNormalization(), K.LayerNormalization()]
        self.dropout = K.Dropout(0.5)

    def call(self, x, training=None):
        x = self.norms[0](x + self.dropout(self.attention(x, x), training=training))
        self.add_loss(0.01 * ops.mean(x))
        return self.norms[1](x + self.outer(self.inner(x)))


LSTM, GRU = (lambda n, u: 4 * u * (n + u)), (lambda n, u: 3 * u * (n + u))


def attention(steps, features, heads, width):
    return 4 * steps * features * heads * width + 2 * steps * steps * heads * width


# The function of a tensor, the shape of one example, MACs by hand.
COUNTED = {
    "bidirectional": (lambda x: K.Bidirectional(K.LSTM(64))(x), (20, 32), 2 * 20 * LSTM(32, 64)),
    "unrolled": (lambda x: K.Bidirectional(K.GRU(4, unroll=True))(x), (7, 5), 2 * 7 * GRU(5, 4)),
    "masked": (lambda x: K.Bidirectional(K.GRU(4))(K.Masking()(x)), (7, 5), 2 * 7 * GRU(5, 4)),
    "with states": (lambda x: K.LSTM(4, return_state=True)(x)[0], (7, 5), 7 * LSTM(5, 4)),
    "stacked cells": (
        lambda x: K.RNN([K.LSTMCell(4), K.GRUCell(3)])(x),
        (7, 5),
        7 * (LSTM(5, 4) + GRU(4, 3)),
    ),
    "time distributed": (lambda x: K.TimeDistributed(K.Conv2D(4, 3))(x), (5, 8, 8, 3), 5 * 36 * 9 * 3 * 4),
    "conv lstm 1d": (lambda x: K.ConvLSTM1D(4, 3)(x), (5, 8, 3), 5 * 6 * 3 * 4 * 4 * (3 + 4)),
    "conv lstm 2d": (lambda x: K.ConvLSTM2D(4, 3)(x), (5, 8, 8, 3), 5 * 36 * 9 * 4 * 4 * (3 + 4)),
    "conv lstm 3d": (lambda x: K.ConvLSTM3D(2, 2)(x), (2, 4, 4, 4, 3), 2 * 27 * 8 * 4 * 2 * (3 + 2)),
    "attention": (lambda x: K.Attention()([x, x]), (7, 5), 2 * 7 * 7 * 5),
    # The scores of additive attention are a weighted sum of tanh(q + k).
    "additive attention": (lambda x: K.AdditiveAttention()([x, x]), (7, 5), 2 * 7 * 7 * 5),
    "grouped attention": (
        lambda x: K.GroupQueryAttention(3, 4, 2)(x, x),
        (7, 5),
        7 * 5 * 3 * (4 + 2 + 2 + 4) + 2 * 4 * 7 * 7 * 3,
    ),
    "refused attention": (
        lambda x: K.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)[0],
        (7, 5),
        attention(7, 5, 2, 3),
    ),
    "spectral": (lambda x: K.SpectralNormalization(K.Conv2D(4, 3))(x), (8, 8, 3), 36 * 27 * 4),
    "dot": (lambda x: K.Dot(axes=2)([x, x]), (7, 5), 7 * 7 * 5),
    "matmul": (lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), (7, 5), 7 * 7 * 5),
    "einsum": (lambda x: ops.einsum("btc,bsc->bts", x, x), (7, 5), 7 * 7 * 5),
    "einsum dense": (lambda x: K.EinsumDense("abc,bcd->abd", (7, 4))(x), (7, 5), 7 * 5 * 4),
    "tensordot": (lambda x: ops.tensordot(x, np.ones((5, 4), "float32"), 1), (7, 5), 7 * 5 * 4),
    "convolution": (lambda x: ops.conv(x, np.ones((3, 3, 3, 4), "float32")), (8, 8, 3), 36 * 27 * 4),
    "depthwise": (lambda x: ops.depthwise_conv(x, np.ones((3, 3, 3, 2), "float32")), (8, 8, 3), 36 * 9 * 6),
    "transposed": (
        lambda x: K.Lambda(lambda y: ops.conv_transpose(y, np.ones((3, 3, 4, 3), "float32"), 2))(x),
        (8, 8, 3),
        64 * 9 * 3 * 4,
    ),
    "low rank": (lambda x: K.Dense(4, lora_rank=2)(x), (7, 5), 7 * 5 * 4 + 5 * 2 * 4),
    "a user's layer": (lambda x: Unknown()(x), (7, 5), 0),
    "a block": (lambda x: Block()(x), (7, 6), attention(7, 6, 2, 3) + 2 * 7 * 6 * 16),
    "weighted sum": (lambda x: Weighted()(x), (7, 5), 35),
    "loop": (lambda x: Loop(9)(x), (5,), 9 * 25),
    "scan": (lambda x: Scan(5)(x), (5,), 5 * 25),
    "map": (lambda x: Mapped(7)(x), (7, 5), 7 * 25),
    "branches alike": (lambda x: Alike(1)(x), (5,), 25),
    "functions": (lambda x: Compiled(1)(x), (5,), 25),
    "nested": (
        lambda x: K.TimeDistributed(K.Bidirectional(K.LSTM(3)))(x),
        (4, 7, 5),
        4 * 2 * 7 * LSTM(5, 3),
    ),
}


def model_of(apply, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, apply(inputs))


# A choice by values, which PyTorch makes in Python.
NOT_WITH = {"torch": ("branches alike",)}


@pytest.mark.parametrize("name", COUNTED)
def test_counted(name):
    if name in NOT_WITH.get(BACKEND, ()):
        pytest.skip("PyTorch chooses by values in Python, which nothing sees before it runs")
    apply, shape, macs = COUNTED[name]
    model = model_of(apply, shape)
    cost = tfgates.cost(model)
    assert cost.uncounted == []
    assert cost.macs == cost.dense_macs == round(cost.expected_macs) == macs
    assert cost.params == model.count_params()


UNCOUNTED = {
    "until": (lambda x: Until(1, name="odd")(x), "runs.* shows only when it runs"),
    "branch": (lambda x: Branch(1, name="odd")(x), "which of its branches runs, and what it multiplies, shows only"),
    "python": (lambda x: Python(1, name="odd")(x), "what its operation PyFunc multiplies is not known"),
    "fourier": (lambda x: Fourier(name="odd")(x), "what its operation .*(FFT|fft).* multiplies is not known"),
    "chosen": (lambda x: Chosen(1, name="odd")(x), "show only when it runs|cannot be traced"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=TENSORFLOW if n == "python" else ()) for n in UNCOUNTED])
def test_uncounted(name):
    if (BACKEND, name) == ("jax", "chosen"):
        pytest.skip("Keras makes no graph of it with JAX")
    apply, why = UNCOUNTED[name]
    inputs = keras.Input((7, 5))
    model = keras.Model(inputs, K.Dense(2, name="last")(apply(K.Dense(5, activation="relu", name="first")(inputs))))
    cost = tfgates.cost(model)
    ((layer, reason),) = cost.uncounted
    assert layer == "odd" and re.search(why, reason)
    assert cost.params == model.count_params()
    with pytest.raises(ValueError, match="There is no total of MACs .*Received: not counted: odd "):
        _ = cost.macs
    assert next(row.macs for row in cost.layers if row.name == "first") == 7 * 25


def everywhere(x):
    """Known layers around layers and operators without a rule."""
    x = K.Dense(8, activation="relu", name="first")(Block()(x))
    x = K.Dense(4, activation="relu", name="second")(K.Bidirectional(K.LSTM(3))(x))
    return K.Dense(2, name="last")(x)


EVERYWHERE = COUNTED["a block"][2] + 7 * 6 * 8 + 2 * 7 * LSTM(8, 3) + 6 * 4 + 4 * 2


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        assert tfgates.cost(model_of(everywhere, (7, 6))).macs == EVERYWHERE
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_layers_that_take_no_mode_behind_one_that_is_told_it():
    """What comes behind a call with `training` goes by it too, whether a layer takes it or not."""
    inputs = keras.Input((7, 5))
    x = K.Dropout(0.3)(inputs, training=True)
    cost = tfgates.cost(keras.Model(inputs, K.Dense(2)(Loop(2)(Loop(3)(x)))))
    assert cost.uncounted == [] and cost.macs == (3 + 2) * 7 * 25 + 7 * 5 * 2


def test_nothing_of_the_layers_changes():
    model = model_of(everywhere, (7, 6))
    model(np.ones((2, 7, 6), "float32"), training=True)
    before = [array(v) for v in model.variables]
    (loss,) = model.losses
    assert tfgates.cost(model).macs == EVERYWHERE
    assert model.losses[0] is loss and len(model.losses) == 1 and len(before) == len(model.variables)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, array(variable))


def test_each_is_traced_once_for_the_same_sizes(monkeypatch):
    counted = []
    count = traced._count
    monkeypatch.setattr(traced, "_count", lambda node, tensors: counted.append(node.op) or count(node, tensors))
    shared = Loop(3)
    inputs = [keras.Input((7, 5)), keras.Input((7, 5)), keras.Input((1, 5))]
    model = keras.Model(inputs, K.Add()([shared(x) for x in inputs]))
    assert tfgates.cost(model).macs == tfgates.plan_pruning(model).macs == 3 * 15 * 25
    assert counted == [shared, shared]
    # An adapter computes more.
    model = model_of(lambda x: K.Dense(4)(x), (7, 5))
    model.layers[-1].enable_lora(2)
    assert tfgates.cost(model).macs == COUNTED["low rank"][2]
    model.layers[-1].quantize("int8")
    assert tfgates.cost(model).macs == 7 * 5 * 4 + 7 * (5 * 2 + 2 * 4)


def test_a_network_of_a_fixed_batch():
    inputs = keras.Input(batch_shape=(4, 7, 5))
    model = keras.Model(inputs, K.Dense(2)(K.Bidirectional(K.LSTM(3, stateful=True))(inputs)))
    assert tfgates.cost(model).macs == 2 * 7 * LSTM(5, 3) + 6 * 2


def test_places_that_are_folded_into_the_batch():
    inputs = keras.Input((4, 7, 6))
    x = K.LSTM(3)(K.Dense(8)(ops.reshape(inputs, (-1, 7, 6))))
    x = K.MultiHeadAttention(2, 3)(*[ops.reshape(x, (-1, 4, 3))] * 2)
    x = K.Attention()([ops.reshape(x, (-1, 2, 6))] * 2)
    model = keras.Model(inputs, K.Dense(2)(ops.reshape(x, (-1, 12))))
    expected = [4 * 7 * 6 * 8, 4 * 7 * LSTM(8, 3), attention(4, 3, 2, 3), 2 * 2 * 2 * 6, 12 * 2]
    assert [row.macs for row in tfgates.cost(model).layers] == expected


def test_a_known_layer_behind_sizes_that_are_open():
    inputs = keras.Input((None, 6))
    x = K.Dense(8, name="folded")(ops.reshape(inputs, (-1, 6)))
    cost = tfgates.cost(keras.Model(inputs, x))
    assert [name for name, _ in cost.uncounted] == ["folded"]


def test_layers_that_are_called_twice():
    shared = K.Bidirectional(K.LSTM(3))
    inputs = [keras.Input((7, 5)), keras.Input((4, 5))]
    model = keras.Model(inputs, K.Add()([shared(x) for x in inputs]))
    cost = tfgates.cost(model)
    assert cost.macs == 2 * 11 * LSTM(5, 3) and cost.params == model.count_params()


@TENSORFLOW
def test_recurrent_layers_of_nvidia():
    import tensorflow as tf

    from tfgates.graph.products import products_of

    def call(x, h, n, p):
        return tf.raw_ops.CudnnRNNV3(input=x, input_h=h, input_c=h, params=p, sequence_lengths=n, **settings)[0]

    def count(shape):
        specs = [tf.TensorSpec((9, 1, 5)), tf.TensorSpec(shape), tf.TensorSpec((1,), tf.int32), tf.TensorSpec((99,))]
        return products_of(tf.function(call, autograph=False).get_concrete_function(*specs).graph)

    settings = {"rnn_mode": "lstm"}
    assert count((1, 1, 4)) == 9 * LSTM(5, 4)
    with pytest.raises(UncountedError, match="CudnnRNNV3 of several layers"):
        count((2, 1, 4))
    settings = {"rnn_mode": "gru", "direction": "bidirectional"}
    assert count((2, 1, 4)) == 2 * 9 * GRU(5, 4)


def test_another_backend(monkeypatch):
    model = model_of(lambda x: K.Dense(2)(Loop(3, name="odd")(x)), (7, 5))
    monkeypatch.setattr(traced, "COUNTERS", {"other": None})
    assert tfgates.cost(model).uncounted == [
        ("odd", "layers without a rule of their own are counted with ['other'] alone")
    ]


def test_a_layer_that_cannot_be_traced(monkeypatch):
    model = model_of(lambda x: Block(name="odd")(x), (7, 6))

    def call(self, x, training=None):
        raise RuntimeError("not today")

    monkeypatch.setattr(Block, "call", call)
    ((name, why),) = tfgates.cost(model).uncounted
    assert name == "odd" and why.startswith("its call cannot be traced (RuntimeError: ")


class Connectionist(keras.layers.Layer):
    """Adds the CTC loss, whose loops TensorFlow makes of functions of an older kind."""

    def call(self, labels, scores):
        counts = (ops.shape(each)[1] * ops.ones(ops.shape(each)[:1], "int32") for each in (labels, scores))
        self.add_loss(ops.mean(ops.ctc_loss(ops.cast(labels, "int32"), scores, *counts, mask_index=0)))
        return scores


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its loops are those of TensorFlow")
def test_functions_that_are_called_as_operations_of_their_names():
    images, labels = keras.Input((12, 8)), keras.Input((4,))
    scores = keras.layers.Dense(5, activation="softmax")(keras.layers.Dense(16, activation="relu")(images))
    model = keras.Model([images, labels], Connectionist(name="loss")(labels, scores))
    cost = tfgates.cost(model)
    assert not cost.uncounted
    # Sums of products of 12 steps, a few numbers each: next to the layers nothing.
    (loss,) = [row.macs for row in cost.layers if row.name == "loss"]
    assert loss < 0.2 * (cost.macs - loss) and cost.macs - loss == 12 * (8 * 16 + 16 * 5)
    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    assert dict(gated.report.gated).keys() == {cost.layers[0].name}
