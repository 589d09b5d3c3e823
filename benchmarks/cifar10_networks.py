"""The networks of cifar10_accelerator.py, for 32 x 32 images, with logits for outputs."""

import keras
from keras import layers


def convolution(x, filters, strides=1, name=None):
    """A convolution without offsets and its normalisation."""
    arguments = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, 3, strides, name=name and f"{name}_conv", **arguments)(x)
    return layers.BatchNormalization(name=name and f"{name}_bn")(x)


def resnet(blocks=3, width=16, classes=10, inner=None):
    """ResNet-20 as `tfgates.applications.resnet20`, of any depth and width, and with logits for outputs, in float32.

    Args:
        blocks: int, in each of the three stages; 3 is ResNet-20, 9 ResNet-56.
        width: int, channels of the first stage; the others have twice and four times as many.
        classes: int.
        inner: None, or the number of channels inside of the blocks of the first stage. None: `width`.
    """
    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU(name="stem_relu")(convolution(inputs, width, name="stem"))
    for stage in range(3):
        filters, inside = width * 2**stage, (inner or width) * 2**stage
        for block in range(blocks):
            name, strides, start = f"stage{stage + 1}_block{block + 1}", 1 + (stage > 0 and block == 0), x
            x = layers.ReLU(name=f"{name}_relu1")(convolution(x, inside, strides, name=f"{name}_1"))
            x = convolution(x, filters, name=f"{name}_2")
            if strides > 1:
                start = layers.AveragePooling2D(1, strides, name=f"{name}_subsample")(start)
                new = filters - start.shape[-1]
                start = keras.ops.pad(start, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
            x = layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([start, x]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, dtype="float32", name="predictions")(x)
    return keras.Model(inputs, outputs, name=f"resnet{6 * blocks + 2}")


def vgg16(width=64, classes=10):
    """VGG16 for CIFAR-10 with normalisation (arXiv 1608.08710): thirteen convolutions, one hidden layer of 512.

    Args:
        width: int, channels of the first two convolutions; all others follow it.
        classes: int.
    """
    x = inputs = keras.Input((32, 32, 3))
    for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(count):
            x = layers.ReLU()(convolution(x, factor * width))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(8 * width, use_bias=False, kernel_initializer="he_normal")(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="predictions")(x), name="vgg16")


def resnet9(width=64, classes=10):
    """The small residual network that trains fast: four pooled convolutions, two blocks (after D. Page, "How to train
    your ResNet", 2018, 94 % in 24 epochs; its successors are those of K. Jordan, "airbench").

    Args:
        width: int, channels of the first convolution; all others follow it.
        classes: int.
    """

    def block(x, filters, pooled=True):
        x = convolution(x, filters)
        return layers.ReLU()(layers.MaxPooling2D()(x) if pooled else x)

    def residual(x):
        filters = x.shape[-1]
        return layers.Add()([x, block(block(x, filters, False), filters, False)])

    inputs = keras.Input((32, 32, 3))
    x = residual(block(block(inputs, width, False), 2 * width))
    x = residual(block(block(x, 4 * width), 8 * width))
    x = layers.Dense(classes, name="scores", use_bias=False)(layers.GlobalMaxPooling2D()(x))
    # What is as large as the last layer's scores would leave no room to smoothed labels.
    return keras.Model(inputs, layers.Rescaling(0.125, dtype="float32")(x), name="resnet9")


WIDTHS = {"resnet": 16, "vgg16": 64, "resnet9": 64}
