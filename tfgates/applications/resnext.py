"""ResNeXt: residual networks with grouped convolutions."""

from typing import Any

import keras

from tfgates.applications.resnet import resnet_cifar, resnet_imagenet


def resnext50(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    classes: int = 1000,
    name: str = "resnext50",
    **gating: Any,
) -> keras.Model:
    """ResNeXt-50 (32 x 4d) for ImageNet; its output is a softmax.

    `gated="groups"`, the default: each of the 32 branches of each grouped convolution, after its
    batch normalisation, as SSS does. `"blocks"`: whole blocks.

    Args:
        input_shape, classes: of the images.
        name: name of the model.
        **gating: gate, gated, generator, l0: see `tfgates.applications`.

    Reference: Xie et al. 2017, arXiv 1611.05431, table 1; gates: Huang and Wang 2018, arXiv
    1707.01213, section 3.4.
    """
    return resnet_imagenet(input_shape, classes, 2, 32, name, **gating)


def _resnext_cifar(
    depth: int, input_shape: tuple[int | None, ...], classes: int, name: str, gating: Any
) -> keras.Model:
    arguments: dict[str, Any] = {"width": 2, "cardinality": 32, "bottleneck": True, "shortcut": "normalised"}
    return resnet_cifar(depth, input_shape, classes, name=name, **arguments, **gating)


def resnext20(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnext20", **gating: Any
) -> keras.Model:
    """ResNeXt-20 for CIFAR: 6 bottlenecks with 32 groups of 1, 2 and 4 channels in the three stages.

    The bottlenecks have twice as many channels inside as those of a ResNet, as in ResNeXt-50. The
    gates and the arguments are those of `resnext50`.

    Reference: Xie et al. 2017, arXiv 1611.05431; Huang and Wang 2018, arXiv 1707.01213, section 4.1.
    """
    return _resnext_cifar(20, input_shape, classes, name, gating)


def resnext164(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnext164", **gating: Any
) -> keras.Model:
    """ResNeXt-164 for CIFAR: 54 bottlenecks; see `resnext20`."""
    return _resnext_cifar(164, input_shape, classes, name, gating)
