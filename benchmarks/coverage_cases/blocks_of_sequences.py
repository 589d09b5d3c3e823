"""Networks of sequences, sets and tables as a user writes them from their papers."""

import keras
import numpy as np
from keras import layers, ops

from .blocks_of_images import Encoder

SOURCE = "from papers, sequences and tables"


def wavenet():
    """van den Oord et al. 2016: dilated, causal, gated."""
    x = inputs = keras.Input((64, 1))
    x = layers.Conv1D(16, 2, padding="causal")(x)
    skips = []
    for dilation in (1, 2, 4, 8):
        filtered = layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation, activation="tanh")(x)
        gate = layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(x)
        y = layers.Multiply()([filtered, gate])
        skips.append(layers.Conv1D(16, 1)(y))
        x = layers.Add()([x, layers.Conv1D(16, 1)(y)])
    x = layers.Conv1D(16, 1, activation="relu")(layers.ReLU()(layers.Add()(skips)))
    return keras.Model(inputs, layers.Conv1D(8, 1)(x))


def temporal_convolutions():
    """Bai et al. 2018."""
    x = inputs = keras.Input((64, 4))
    for filters, dilation in ((8, 1), (16, 2), (16, 4)):
        y = x
        for _ in range(2):
            y = layers.Conv1D(filters, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
            y = layers.SpatialDropout1D(0.1)(y)
        x = layers.Conv1D(filters, 1)(x) if x.shape[-1] != filters else x
        x = layers.ReLU()(x + y)
    return keras.Model(inputs, layers.Dense(3)(x[:, -1]))


class FeedForward(layers.Layer):
    def __init__(self, width, factor=4, **kwargs):
        super().__init__(**kwargs)
        self.width, self.factor = width, factor
        self.norm = layers.LayerNormalization()
        self.wide = layers.Dense(width * factor, activation="swish")
        self.drop = layers.Dropout(0.1)
        self.narrow = layers.Dense(width)

    def build(self, shape):
        self.norm.build(shape)
        self.wide.build(shape)
        self.narrow.build((*shape[:-1], self.width * self.factor))

    def call(self, x, training=None):
        return x + 0.5 * self.narrow(self.drop(self.wide(self.norm(x)), training=training))

    def get_config(self):
        return super().get_config() | dict(width=self.width, factor=self.factor)


class ConvolutionModule(layers.Layer):
    """Pointwise, gated linear unit, depthwise, batch normalisation, swish, pointwise."""

    def __init__(self, width, kernel=7, **kwargs):
        super().__init__(**kwargs)
        self.width, self.kernel = width, kernel
        self.norm = layers.LayerNormalization()
        self.expand = layers.Conv1D(2 * width, 1)
        self.depthwise = layers.DepthwiseConv1D(kernel, padding="same")
        self.batch = layers.BatchNormalization()
        self.project = layers.Conv1D(width, 1)

    def build(self, shape):
        self.norm.build(shape)
        self.expand.build(shape)
        for layer in (self.depthwise, self.batch, self.project):
            layer.build((*shape[:-1], self.width))

    def call(self, x, training=None):
        y = ops.glu(self.expand(self.norm(x)), axis=-1)
        y = ops.silu(self.batch(self.depthwise(y), training=training))
        return x + self.project(y)

    def get_config(self):
        return super().get_config() | dict(width=self.width, kernel=self.kernel)


def conformer():
    """Gulati et al. 2020."""
    x = inputs = keras.Input((32, 16))
    for _ in range(2):
        x = FeedForward(16)(x)
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(y, y)])
        x = ConvolutionModule(16)(x)
        x = layers.LayerNormalization()(FeedForward(16)(x))
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling1D()(x)))


def pointnet():
    """Qi et al. 2017, with the transformation nets of keras.io."""

    def dense(x, width, kind=layers.Dense):
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(kind(width)(x)))

    def points(width):
        return layers.Conv1D(width, 1)

    def transform(inputs, features):
        x = inputs
        for width in (8, 16, 32):
            x = dense(x, width, points)
        x = layers.GlobalMaxPooling1D()(x)
        for width in (16, 8):
            x = dense(x, width)
        identity = keras.initializers.Constant(np.eye(features).flatten().tolist())
        x = layers.Dense(features * features, kernel_initializer="zeros", bias_initializer=identity)(x)
        return layers.Dot(axes=(2, 1))([inputs, layers.Reshape((features, features))(x)])

    inputs = keras.Input((32, 3))
    x = transform(inputs, 3)
    x = dense(dense(x, 8, points), 8, points)
    x = transform(x, 8)
    for width in (8, 16, 32):
        x = dense(x, width, points)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dropout(0.3)(dense(x, 16))
    return keras.Model(inputs, layers.Dense(10)(x))


def crnn():
    """Shi et al. 2015: convolutions, then recurrent layers over the columns."""
    x = inputs = keras.Input((64, 16, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    x = layers.MaxPooling2D()(layers.Conv2D(16, 3, padding="same", activation="relu")(x))
    x = layers.Reshape((16, 64))(x)
    x = layers.Dropout(0.2)(layers.Dense(24, activation="relu")(x))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True, dropout=0.25))(x)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True, dropout=0.25))(x)
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def seq2seq():
    """Sutskever et al. 2014, with the attention of Luong et al. 2015."""
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    encoded, *state = layers.LSTM(16, return_sequences=True, return_state=True)(layers.Embedding(30, 12)(source))
    decoded = layers.LSTM(16, return_sequences=True)(layers.Embedding(30, 12)(target), initial_state=state)
    context = layers.Attention()([decoded, encoded])
    x = layers.Dense(24, activation="tanh")(layers.Concatenate()([context, decoded]))
    return keras.Model([source, target], layers.Dense(30)(x))


def two_towers():
    """Two-tower retrieval: the score is the product of what both towers make."""
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")

    def tower(x):
        x = layers.Embedding(50, 16)(x)
        return layers.Dense(8)(layers.Dense(32, activation="relu")(x))

    return keras.Model([user, item], layers.Dot(1, normalize=True)([tower(user), tower(item)]))


def wide_and_deep():
    """Cheng et al. 2016."""
    numbers, category = keras.Input((8,)), keras.Input((1,), dtype="int32")
    wide = layers.Concatenate()([numbers, layers.CategoryEncoding(12, output_mode="one_hot")(category)])
    deep = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(12, 4)(category))])
    for width in (32, 16):
        deep = layers.Dropout(0.1)(layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(deep))))
    return keras.Model([numbers, category], layers.Dense(1)(layers.Concatenate()([wide, deep])))


def deep_fm():
    """Guo et al. 2017: factorisation machine and a deep network on the same embeddings."""
    fields = keras.Input((6,), dtype="int32")
    x = layers.Embedding(60, 8)(fields)
    first = ops.sum(layers.Embedding(60, 1)(fields), axis=1)
    second = 0.5 * ops.sum(ops.square(ops.sum(x, 1)) - ops.sum(ops.square(x), 1), axis=-1, keepdims=True)
    deep = layers.Flatten()(x)
    for width in (32, 16):
        deep = layers.Dense(width, activation="relu")(deep)
    return keras.Model(fields, ops.sigmoid(first + second + layers.Dense(1)(deep)))


def ncf():
    """Neural collaborative filtering, He et al. 2017."""
    user, item = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")

    def embedded(x):
        return layers.Flatten()(layers.Embedding(40, 8)(x))

    product = layers.Multiply()([embedded(user), embedded(item)])
    deep = layers.Concatenate()([embedded(user), embedded(item)])
    for width in (32, 16, 8):
        deep = layers.Dense(width, activation="relu")(deep)
    return keras.Model([user, item], layers.Dense(1, activation="sigmoid")(layers.Concatenate()([product, deep])))


class Tokens(layers.Layer):
    """Of the text classification of keras.io."""

    def __init__(self, length, words, width, **kwargs):
        super().__init__(**kwargs)
        self.length, self.words, self.width = length, words, width
        self.token = layers.Embedding(words, width)
        self.position = layers.Embedding(length, width)

    def build(self, shape):
        self.token.build(shape)
        self.position.build(shape)

    def call(self, x):
        return self.token(x) + self.position(ops.arange(0, ops.shape(x)[-1], 1))

    def get_config(self):
        return super().get_config() | dict(length=self.length, words=self.words, width=self.width)


def text_transformer():
    inputs = keras.Input((24,), dtype="int32")
    x = Encoder(2, 16, 32)(Tokens(24, 50, 16)(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


class CausalAttention(layers.Layer):
    """Attention written by hand, as in nanoGPT: one projection for all of query, key and value."""

    def __init__(self, heads, width, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.width = heads, width
        self.project = layers.Dense(3 * width, use_bias=False)
        self.out = layers.Dense(width, use_bias=False)

    def build(self, shape):
        self.project.build(shape)
        self.out.build((*shape[:-1], self.width))

    def call(self, x):
        _, time, width = x.shape
        query, key, value = ops.split(self.project(x), 3, axis=-1)
        query, key, value = (
            ops.transpose(ops.reshape(t, (-1, time, self.heads, width // self.heads)), (0, 2, 1, 3))
            for t in (query, key, value)
        )
        scores = query @ ops.transpose(key, (0, 1, 3, 2)) * (width // self.heads) ** -0.5
        scores = ops.where(ops.tril(ops.ones((time, time), dtype="bool")), scores, -1e9)
        y = ops.transpose(ops.softmax(scores, axis=-1) @ value, (0, 2, 1, 3))
        return self.out(ops.reshape(y, (-1, time, width)))

    def get_config(self):
        return super().get_config() | dict(heads=self.heads, width=self.width)


def nano_gpt():
    inputs = keras.Input((16,), dtype="int32")
    x = Tokens(16, 40, 16)(inputs)
    for _ in range(2):
        x = x + CausalAttention(2, 16)(layers.LayerNormalization()(x))
        x = x + layers.Dense(16)(layers.Dense(64, activation=ops.gelu)(layers.LayerNormalization()(x)))
    return keras.Model(inputs, layers.Dense(40, use_bias=False)(layers.LayerNormalization()(x)))


class GatedResidual(layers.Layer):
    """Gated residual network of the temporal fusion transformer (Lim et al. 2021), as keras.io writes it."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.elu = layers.Dense(units, activation="elu")
        self.linear = layers.Dense(units)
        self.drop = layers.Dropout(0.1)
        self.value, self.gate = layers.Dense(units), layers.Dense(units, activation="sigmoid")
        self.norm = layers.LayerNormalization()
        self.project = layers.Dense(units)

    def build(self, shape):
        for layer in (self.elu, self.project):
            layer.build(shape)
        for layer in (self.linear, self.value, self.gate, self.norm):
            layer.build((*shape[:-1], self.units))

    def call(self, inputs, training=None):
        x = self.drop(self.linear(self.elu(inputs)), training=training)
        inputs = self.project(inputs) if inputs.shape[-1] != self.units else inputs
        return self.norm(inputs + self.value(x) * self.gate(x))

    def get_config(self):
        return super().get_config() | dict(units=self.units)


def gated_residual_network():
    x = inputs = keras.Input((12,))
    for units in (16, 24):
        x = GatedResidual(units)(x)
    return keras.Model(inputs, layers.Dense(1)(x))


def lstm_classifier():
    inputs = keras.Input((20,), dtype="int32")
    x = layers.Embedding(50, 16, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(16))(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(16, activation="relu")(x)))


def text_cnn():
    """Kim 2014."""
    inputs = keras.Input((24,), dtype="int32")
    x = layers.Embedding(50, 16)(inputs)
    found = [layers.GlobalMaxPooling1D()(layers.Conv1D(8, k, activation="relu")(x)) for k in (2, 3, 4)]
    return keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.3)(layers.Concatenate()(found))))


def n_beats():
    """Oreshkin et al. 2020: blocks subtract what they explain and add up their forecasts."""
    x = inputs = keras.Input((24,))
    total = None
    for _ in range(3):
        y = x
        for _ in range(3):
            y = layers.Dense(32, activation="relu")(y)
        theta = layers.Dense(30)(y)
        x = x - theta[:, :24]
        total = theta[:, 24:] if total is None else total + theta[:, 24:]
    return keras.Model(inputs, total)


class GraphConvolution(layers.Layer):
    """Kipf and Welling 2017, a dense adjacency among the inputs and a kernel of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shapes):
        self.kernel = self.add_weight(shape=(shapes[0][-1], self.units), name="kernel")

    def call(self, inputs):
        nodes, adjacency = inputs
        return ops.matmul(adjacency, ops.matmul(nodes, self.kernel))

    def get_config(self):
        return super().get_config() | dict(units=self.units)


def graph_network():
    nodes, adjacency = keras.Input((10, 6)), keras.Input((10, 10))
    x = ops.relu(GraphConvolution(16)([nodes, adjacency]))
    x = ops.relu(GraphConvolution(16)([x, adjacency]))
    x = layers.Dense(16, activation="relu")(ops.mean(x, axis=1))
    return keras.Model([nodes, adjacency], layers.Dense(3)(x))


def fully_convolutional_series():
    """Wang et al. 2017, as the time series classification of keras.io."""
    x = inputs = keras.Input((50, 1))
    for _ in range(3):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(16, 3, padding="same")(x)))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def mixture_of_experts():
    """Shazeer et al. 2017, all experts computed and weighted."""
    inputs = keras.Input((16,))
    weights = layers.Dense(3, activation="softmax")(inputs)
    experts = [layers.Dense(8)(layers.Dense(32, activation="relu")(inputs)) for _ in range(3)]
    x = ops.sum(ops.stack(experts, axis=1) * ops.expand_dims(weights, -1), axis=1)
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(16, activation="relu")(x)))


class Highway(keras.Model):
    """Srivastava et al. 2015: a subclassed model with layers in lists."""

    def __init__(self, depth=3, width=16, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(width)
        self.transforms = [layers.Dense(width, activation="relu") for _ in range(depth)]
        self.gates = [layers.Dense(width, activation="sigmoid") for _ in range(depth)]
        self.last = layers.Dense(3)

    def call(self, x):
        x = self.first(x)
        for transform, gate in zip(self.transforms, self.gates, strict=True):
            t = gate(x)
            x = t * transform(x) + (1 - t) * x
        return self.last(x)


def highway():
    model = Highway()
    model(ops.zeros((1, 12)))
    return model


NETWORKS = {
    "WaveNet": wavenet,
    "TCN": temporal_convolutions,
    "Conformer": conformer,
    "PointNet": pointnet,
    "CRNN": crnn,
    "seq2seq with attention": seq2seq,
    "two towers": two_towers,
    "wide & deep": wide_and_deep,
    "DeepFM": deep_fm,
    "NCF": ncf,
    "text transformer of keras.io": text_transformer,
    "nanoGPT": nano_gpt,
    "gated residual network": gated_residual_network,
    "LSTM classifier": lstm_classifier,
    "TextCNN": text_cnn,
    "N-BEATS": n_beats,
    "graph convolutions": graph_network,
    "FCN of time series": fully_convolutional_series,
    "mixture of experts": mixture_of_experts,
    "Highway": highway,
}
