"""Networks of images as a user writes them from their papers: functional, subclassed, with layers of their own."""

import keras
from keras import layers, ops

SOURCE = "from papers, images"


def convolution(x, filters, kernel=3, strides=1, activation="relu", groups=1):
    x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, groups=groups)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def unet():
    """Ronneberger et al. 2015."""
    x = inputs = keras.Input((32, 32, 3))
    skips = []
    for filters in (8, 16):
        x = convolution(convolution(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = convolution(convolution(x, 32), 32)
    for filters, skip in zip((16, 8), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = layers.Concatenate()([skip, x])
        x = convolution(convolution(x, filters), filters)
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


class SqueezeExcite(layers.Layer):
    """Hu et al. 2018, as a layer that calls layers."""

    def __init__(self, ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, shape):
        self.pool = layers.GlobalAveragePooling2D(keepdims=True)
        self.squeeze = layers.Dense(shape[-1] // self.ratio, activation="relu")
        self.excite = layers.Dense(shape[-1], activation="sigmoid")
        self.squeeze.build((None, 1, 1, shape[-1]))
        self.excite.build((None, 1, 1, shape[-1] // self.ratio))

    def call(self, x):
        return x * self.excite(self.squeeze(self.pool(x)))

    def get_config(self):
        return super().get_config() | {"ratio": self.ratio}


def senet():
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 16)
    for filters, strides in ((16, 1), (32, 2)):
        y = convolution(convolution(x, filters, strides=strides), filters, activation=None)
        y = SqueezeExcite()(y)
        x = x if strides == 1 else convolution(x, filters, 1, strides, None)
        x = ops.relu(x + y)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def densenet():
    """Huang et al. 2017: pre-activation, concatenated."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    for block in range(2):
        for _ in range(3):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            y = layers.Conv2D(32, 1, use_bias=False)(y)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.Conv2D(8, 3, padding="same", use_bias=False)(y)
            x = layers.Concatenate()([x, y])
        if block == 0:
            x = layers.Conv2D(20, 1, use_bias=False)(layers.ReLU()(layers.BatchNormalization()(x)))
            x = layers.AveragePooling2D(2)(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def shuffle(x, groups):
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height, width, groups, channels // groups))(x)
    x = layers.Permute((1, 2, 4, 3))(x)
    return layers.Reshape((height, width, channels))(x)


def shufflenet():
    """Zhang et al. 2018: grouped convolutions and a shuffle."""
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 24, strides=2)
    for _ in range(2):
        y = convolution(x, 12, 1, groups=3)
        y = shuffle(y, 3)
        y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        y = convolution(y, 24, 1, activation=None, groups=3)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def shufflenet_v2():
    """Ma et al. 2018: channels are split, one half goes on as it is."""
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 24, strides=2)
    for _ in range(2):
        kept, y = ops.split(x, 2, axis=-1)
        y = convolution(y, 12, 1)
        y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        y = convolution(y, 12, 1)
        x = shuffle(layers.Concatenate()([kept, y]), 2)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def ghostnet():
    """Han et al. 2020: half of the channels are made by a depthwise convolution of the other half."""

    def ghost(x, filters, activation="relu"):
        primary = convolution(x, filters // 2, 1, activation=activation)
        cheap = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(primary)
        cheap = layers.BatchNormalization()(cheap)
        cheap = layers.Activation(activation)(cheap) if activation else cheap
        return layers.Concatenate()([primary, cheap])

    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 16, strides=2)
    for _ in range(2):
        x = layers.Add()([x, ghost(ghost(x, 32), 16, None)])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def convmixer():
    """Trockman and Kolter 2022."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(16, 4, strides=4)(x)))
    for _ in range(3):
        y = layers.Activation("gelu")(layers.DepthwiseConv2D(5, padding="same")(x))
        x = layers.Add()([layers.BatchNormalization()(y), x])
        x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(16, 1)(x)))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mlp_mixer():
    """Tolstikhin et al. 2021."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Reshape((64, 16))(layers.Conv2D(16, 4, strides=4)(x))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(64)(layers.Dense(32, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.Dense(16)(layers.Dense(48, activation="gelu")(layers.LayerNormalization()(x)))
        x = layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))))


class Encoder(layers.Layer):
    """A block of a transformer as the examples of keras.io have it."""

    def __init__(self, heads, width, hidden, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.width, self.hidden, self.rate = heads, width, hidden, rate
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.network = keras.Sequential([layers.Dense(hidden, activation=ops.gelu), layers.Dense(width)])
        self.norm1, self.norm2 = layers.LayerNormalization(epsilon=1e-6), layers.LayerNormalization(epsilon=1e-6)
        self.drop1, self.drop2 = layers.Dropout(rate), layers.Dropout(rate)

    def build(self, shape):
        self.attention.build(shape, shape)
        self.network.build(shape)
        self.norm1.build(shape)
        self.norm2.build(shape)

    def call(self, x, training=None):
        x = self.norm1(x + self.drop1(self.attention(x, x), training=training))
        return self.norm2(x + self.drop2(self.network(x), training=training))

    def get_config(self):
        return super().get_config() | dict(heads=self.heads, width=self.width, hidden=self.hidden, rate=self.rate)


class Patches(layers.Layer):
    """Patches and their positions, with the number of examples asked for at run time."""

    def __init__(self, size, width, **kwargs):
        super().__init__(**kwargs)
        self.size, self.width = size, width

    def build(self, shape):
        self.places = (shape[1] // self.size) * (shape[2] // self.size)
        self.project = layers.Dense(self.width)
        self.project.build((None, self.places, self.size * self.size * shape[3]))
        self.position = layers.Embedding(self.places, self.width)
        self.position.build((None,))

    def call(self, images):
        batch = ops.shape(images)[0]
        patches = ops.image.extract_patches(images, self.size)
        patches = ops.reshape(patches, (batch, self.places, -1))
        return self.project(patches) + self.position(ops.expand_dims(ops.arange(self.places), 0))

    def get_config(self):
        return super().get_config() | dict(size=self.size, width=self.width)


def vision_transformer():
    x = inputs = keras.Input((32, 32, 3))
    x = Patches(8, 16)(x)
    for _ in range(2):
        x = Encoder(2, 16, 32)(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))


def mobilevit():
    """Mehta and Rastegari 2022: unfolded, attended, folded."""
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 16, strides=2, activation="silu")
    y = convolution(convolution(x, 16, activation="silu"), 24, 1, activation="silu")
    y = layers.Reshape((4, 64, 24))(y)
    for _ in range(2):
        z = layers.LayerNormalization()(y)
        y = layers.Add()([y, layers.MultiHeadAttention(2, 12)(z, z)])
        z = layers.LayerNormalization()(y)
        y = layers.Add()([y, layers.Dense(24)(layers.Dense(48, activation="silu")(z))])
    y = convolution(layers.Reshape((16, 16, 24))(y), 16, 1, activation="silu")
    x = convolution(layers.Concatenate()([x, y]), 16, activation="silu")
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def fpn_detector():
    """Lin et al. 2017, with the heads of RetinaNet shared over the levels."""
    x = inputs = keras.Input((64, 64, 3))
    levels = []
    for filters in (16, 24, 32):
        x = convolution(convolution(x, filters, strides=2), filters)
        levels.append(x)
    lateral = [layers.Conv2D(16, 1)(level) for level in levels]
    for i in (1, 0):
        lateral[i] = layers.Add()([lateral[i], layers.UpSampling2D()(lateral[i + 1])])
    pyramid = [layers.Conv2D(16, 3, padding="same")(level) for level in lateral]

    def head(outputs):
        hidden = [layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((None, None, 16)), *hidden, layers.Conv2D(outputs, 3, padding="same")])

    found = []
    for network, values in ((head(9), 9), (head(4), 4)):
        found.append(layers.Concatenate(axis=1)([layers.Reshape((-1, values))(network(level)) for level in pyramid]))
    return keras.Model(inputs, found)


def autoencoder():
    x = inputs = keras.Input((32, 32, 1))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    code = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    x = layers.Reshape((8, 8, 16))(layers.Dense(1024, activation="relu")(code))
    for filters in (16, 8):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))


class Sampling(layers.Layer):
    """Of the variational autoencoder of keras.io; the mean at inference."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, inputs, training=None):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise * (1.0 if training else 0.0)


def variational_autoencoder():
    x = inputs = keras.Input((32, 32, 1))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    z = Sampling()([layers.Dense(4)(x), layers.Dense(4)(x)])
    x = layers.Reshape((8, 8, 16))(layers.Dense(1024, activation="relu")(z))
    for filters in (16, 8):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid")(x))


def siamese():
    tower = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16),
        ]
    )
    left, right = keras.Input((32, 32, 1)), keras.Input((32, 32, 1))
    a, b = tower(left), tower(right)
    distance = ops.sqrt(ops.sum(ops.square(a - b), axis=-1, keepdims=True) + 1e-7)
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(distance))


def super_resolution():
    """Shi et al. 2016: the pixels are shuffled at the end."""
    x = inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(16, 5, padding="same", activation="tanh")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="tanh")(x)
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.Reshape((16, 16, 2, 2))(x)
    x = ops.transpose(x, (0, 1, 3, 2, 4))
    return keras.Model(inputs, ops.reshape(x, (-1, 32, 32, 1)))


class Residual(keras.Model):
    """A block as a subclassed model."""

    def __init__(self, filters, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)
        self.norm1 = layers.BatchNormalization()
        self.conv2 = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norm2 = layers.BatchNormalization()
        self.short = layers.Conv2D(filters, 1, strides=strides) if strides > 1 else None

    def call(self, x, training=None):
        y = ops.relu(self.norm1(self.conv1(x), training=training))
        y = self.norm2(self.conv2(y), training=training)
        return ops.relu(y + (x if self.short is None else self.short(x)))


class SubclassedResNet(keras.Model):
    """A model of models, as PyTorch's users write them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(16, 3, padding="same")
        self.blocks = [Residual(16), Residual(32, 2), Residual(32)]
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(10)

    def call(self, x, training=None):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def subclassed_resnet():
    model = SubclassedResNet()
    model(ops.zeros((1, 32, 32, 3)))
    return model


def inception():
    """Szegedy et al. 2015."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    for _ in range(2):
        a = layers.Conv2D(8, 1, activation="relu")(x)
        b = layers.Conv2D(12, 3, padding="same", activation="relu")(layers.Conv2D(8, 1, activation="relu")(x))
        c = layers.Conv2D(6, 5, padding="same", activation="relu")(layers.Conv2D(4, 1, activation="relu")(x))
        d = layers.Conv2D(6, 1, activation="relu")(layers.MaxPooling2D(3, strides=1, padding="same")(x))
        x = layers.Concatenate()([a, b, c, d])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


class ReflectionPadding(layers.Layer):
    """Of the CycleGAN of keras.io."""

    def call(self, x):
        return ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")


def cyclegan_generator():
    """Zhu et al. 2017: reflected borders and normalisation of each channel."""

    def normal(x):
        return layers.GroupNormalization(groups=-1)(x)

    x = inputs = keras.Input((32, 32, 3))
    x = ops.relu(normal(layers.Conv2D(8, 3, padding="valid", use_bias=False)(ReflectionPadding()(x))))
    x = ops.relu(normal(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)))
    for _ in range(2):
        y = ops.relu(normal(layers.Conv2D(16, 3, use_bias=False)(ReflectionPadding()(x))))
        y = normal(layers.Conv2D(16, 3, use_bias=False)(ReflectionPadding()(y)))
        x = layers.add([x, y])
    x = ops.relu(normal(layers.Conv2DTranspose(8, 3, strides=2, padding="same", use_bias=False)(x)))
    return keras.Model(inputs, ops.tanh(layers.Conv2D(3, 3)(ReflectionPadding()(x))))


def dcgan_discriminator():
    x = inputs = keras.Input((32, 32, 3))
    for filters in (8, 16, 32):
        x = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2D(filters, 4, strides=2, padding="same")(x))
    return keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.2)(layers.Flatten()(x))))


def cbam():
    """Woo et al. 2018: attention over channels and over places."""
    x = inputs = keras.Input((32, 32, 3))
    x = convolution(x, 16)
    for _ in range(2):
        y = convolution(x, 16)
        first, second = layers.Dense(4, activation="relu"), layers.Dense(16)
        mean, most = ops.mean(y, (1, 2), keepdims=True), ops.max(y, (1, 2), keepdims=True)
        y = y * ops.sigmoid(second(first(mean)) + second(first(most)))
        places = ops.concatenate([ops.mean(y, -1, keepdims=True), ops.max(y, -1, keepdims=True)], axis=-1)
        y = y * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(places)
        x = x + y
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def video_network():
    """(2+1)D convolutions, Tran et al. 2018."""
    x = inputs = keras.Input((4, 16, 16, 3))
    for filters in (8, 16):
        y = layers.Conv3D(filters, (1, 3, 3), padding="same")(x)
        y = layers.LayerNormalization()(layers.Conv3D(filters, (3, 1, 1), padding="same")(ops.relu(y)))
        x = layers.Add()([layers.Dense(filters)(x), y])
        x = layers.MaxPooling3D((1, 2, 2))(x)
    return keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling3D()(x)))


NETWORKS = {
    "U-Net": unet,
    "SENet": senet,
    "DenseNet": densenet,
    "ShuffleNet": shufflenet,
    "ShuffleNetV2": shufflenet_v2,
    "GhostNet": ghostnet,
    "ConvMixer": convmixer,
    "MLP-Mixer": mlp_mixer,
    "ViT of keras.io": vision_transformer,
    "MobileViT": mobilevit,
    "FPN detector": fpn_detector,
    "autoencoder": autoencoder,
    "VAE": variational_autoencoder,
    "Siamese": siamese,
    "super-resolution": super_resolution,
    "subclassed ResNet": subclassed_resnet,
    "Inception": inception,
    "CycleGAN generator": cyclegan_generator,
    "DCGAN discriminator": dcgan_discriminator,
    "CBAM": cbam,
    "(2+1)D video": video_network,
}
