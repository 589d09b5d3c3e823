"""VGG16 for CIFAR."""

from typing import Any

import keras
from keras import layers

from tfgates.applications.placement import build_network

# Widths of the convolutions; a list per stage, with max pooling between the stages.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(
    input_shape: tuple[int | None, ...] = (32, 32, 3),
    classes: int = 10,
    gate: Any = None,
    gated: Any = None,
    generator: Any = None,
    l0: Any = None,
    name: str = "vgg16",
) -> keras.Model:
    """VGG16 with batch normalisation and dense layers of 512 and `classes` units; its output is a softmax.

    13 gates, on the channels after each batch normalisation of a convolution, as Dep-L0 does.

    Args:
        input_shape: shape of an example. Defaults to (32, 32, 3).
        classes: int. Defaults to 10.
        gate, gated, generator, l0: see `tfgates.applications`; `gated` is `"channels"`.
        name: name of the model.

    Reference: Simonyan and Zisserman 2015, arXiv 1409.1556; for CIFAR Li et al. 2017, arXiv
    1608.08710, section 4.1; gates: Li and Ji 2021, arXiv 2107.00070, section 5.1.
    """

    def network(x: Any, place: Any) -> Any:
        for stage, widths in enumerate(STAGES, 1):
            for number, filters in enumerate(widths, 1):
                prefix = f"conv{stage}_{number}"
                owned = 9 * x.shape[-1]
                x = layers.Conv2D(
                    filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=prefix
                )(x)
                x = place.normalization(x, f"{prefix}_bn", "channels", owned=owned)
                x = layers.ReLU(name=f"{prefix}_relu")(x)
            x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(512, activation="relu", kernel_initializer="he_normal", name="dense1")(x)
        return layers.Dense(classes, activation="softmax", name="predictions")(x)

    structures = {"channels": ("channels",)}
    return build_network(network, input_shape, name, structures, "channels", gate, gated, generator, l0)
