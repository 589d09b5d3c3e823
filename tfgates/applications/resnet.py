"""Residual networks: ResNet, wide ResNet and ResNeXt, from one block."""

from typing import Any

import keras
from keras import layers, ops

from tfgates.applications.placement import build_network


def _convolution(x: Any, filters: int, kernel_size: int, name: str, strides: int = 1, groups: int = 1) -> Any:
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        groups=groups,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _shortcut(x: Any, filters: int, strides: int, kind: Any, name: str) -> Any:
    if kind == "pad":
        # Option A of He et al. 2016: every other position, and new channels that are zero.
        x = layers.AveragePooling2D(1, strides, name=f"{name}_subsample")(x)
        new = filters - x.shape[-1]
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
    x = _convolution(x, filters, 1, f"{name}_conv", strides)
    return layers.BatchNormalization(name=f"{name}_bn")(x) if kind == "normalised" else x


def block(
    x: Any,
    convolutions: Any,
    name: str,
    place: Any,
    strides: int = 1,
    groups: int = 1,
    shortcut: str = "normalised",
    preactivated: bool = False,
) -> Any:
    """One residual block, `x + branch(x)`.

    Args:
        x: tensor.
        convolutions: pairs (filters, kernel size), the first 3 x 3 of which has the strides, and the
            groups.
        name: prefix of the names of its layers.
        place: a `Placement`. `"channels"` are gated after the batch normalisations between the
            convolutions, `"groups"` after that of the grouped one, `"blocks"` at the end of the
            branch: behind its last batch normalisation, or where none follows.
        strides, groups: ints.
        shortcut: what takes the place of the identity where the shape changes: `"normalised"` (1 x 1
            convolution and batch normalisation), `"projection"` (1 x 1 convolution) or `"pad"`.
        preactivated: bool, batch normalisation and relu before the convolutions, not after.
    """
    start = x
    if preactivated:
        x = layers.BatchNormalization(name=f"{name}_bn0")(x)
        x = layers.ReLU(name=f"{name}_relu0")(x)
    changes = strides > 1 or x.shape[-1] != convolutions[-1][0]
    if changes:
        start = _shortcut(x, convolutions[-1][0], strides, shortcut, f"{name}_shortcut")
    spatial = [kernel_size for _, kernel_size in convolutions].index(3)
    weights = 0
    for i, (filters, kernel_size) in enumerate(convolutions):
        here, last = i == spatial, i == len(convolutions) - 1
        owned = kernel_size**2 * x.shape[-1] // (groups if here else 1)
        weights += owned * filters
        x = _convolution(x, filters, kernel_size, f"{name}_conv{i + 1}", strides if here else 1, groups if here else 1)
        if last and preactivated:
            continue
        structure = None if last else "groups" if here and groups > 1 else "channels"
        x = place.normalization(x, f"{name}_bn{i + 1}", structure, groups if structure == "groups" else None, owned)
        if not last:
            x = layers.ReLU(name=f"{name}_relu{i + 1}")(x)
    x = place.block(x, f"{name}_branch", weights)
    x = layers.Add(name=f"{name}_add")([start, x])
    return x if preactivated else layers.ReLU(name=f"{name}_out")(x)


def _stages(x: Any, place: Any, stages: Any, depths: Any, head: Any, **block_arguments: Any) -> Any:
    """Stages of blocks, global average pooling and the softmax layer."""
    for stage, (convolutions, depth) in enumerate(zip(stages, depths, strict=True), 1):
        for number in range(1, depth + 1):
            strides = 2 if number == 1 and stage > 1 else 1
            name = f"stage{stage}_block{number}"
            x = block(x, convolutions, name, place, strides, **block_arguments)
    if block_arguments.get("preactivated"):
        x = layers.BatchNormalization(name="bn")(x)
        x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(head, activation="softmax", name="predictions")(x)


def resnet_cifar(
    depth: int,
    input_shape: tuple[int | None, ...] = (32, 32, 3),
    classes: int = 10,
    width: int = 1,
    cardinality: int = 1,
    bottleneck: bool = False,
    preactivated: bool = False,
    shortcut: str = "pad",
    stem_gate: bool = False,
    name: str | None = None,
    **gating: Any,
) -> keras.Model:
    """Residual network for small images: a 3 x 3 stem and three stages of 16, 32, 64 (times `width`).

    Args:
        depth: int, number of layers with weights: 6 n + 2 with blocks of two 3 x 3 convolutions
            (6 n + 4 when `preactivated`, as wide ResNets count), 9 n + 2 with bottlenecks.
        input_shape, classes: of the images.
        width: int, multiplies the number of channels of the stages. Defaults to 1.
        cardinality: int, groups of the 3 x 3 convolution of a bottleneck. Defaults to 1.
        bottleneck: bool, blocks of 1 x 1, 3 x 3, 1 x 1 with four times as many channels at the end.
        preactivated, shortcut: see `block`.
        stem_gate: bool, whether `gated="channels"` includes the stem.
        name: name of the model.
        **gating: gate, gated, generator, l0: see `tfgates.applications`.
    """
    per_block, rest = (9, 2) if bottleneck else (6, 4 if preactivated else 2)
    if depth <= rest or (depth - rest) % per_block:
        raise ValueError(f"`depth` must be {per_block} n + {rest} with n >= 1. Received: depth={depth}")
    stages = [
        ((b * width, 1), (b * width, 3), (4 * b, 1)) if bottleneck else ((b * width, 3), (b * width, 3))
        for b in (16, 32, 64)
    ]

    def network(x: Any, place: Any) -> Any:
        owned = 9 * x.shape[-1]
        x = _convolution(x, 16, 3, "stem_conv")
        if not preactivated:
            x = place.normalization(x, "stem_bn", "channels" if stem_gate else None, owned=owned)
            x = layers.ReLU(name="stem_relu")(x)
        depths = [(depth - rest) // per_block] * 3
        arguments = {"groups": cardinality, "shortcut": shortcut, "preactivated": preactivated}
        return _stages(x, place, stages, depths, classes, **arguments)

    return build_network(network, input_shape, name or f"resnet{depth}", *structures(cardinality), **gating)


def resnet_imagenet(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    classes: int = 1000,
    width: int = 1,
    cardinality: int = 1,
    name: str | None = None,
    stem_gate: bool = False,
    **gating: Any,
) -> keras.Model:
    """Residual network of 50 layers for large images, with the strides in the 3 x 3 convolutions.

    Args:
        input_shape, classes: of the images.
        width: int, multiplies the channels inside of the bottlenecks. Defaults to 1.
        cardinality: int, groups of the 3 x 3 convolutions. Defaults to 1.
        name, stem_gate, **gating: see `resnet_cifar`.
    """
    stages = [((b * width, 1), (b * width, 3), (4 * b, 1)) for b in (64, 128, 256, 512)]

    def network(x: Any, place: Any) -> Any:
        owned = 49 * x.shape[-1]
        x = _convolution(x, 64, 7, "stem_conv", 2)
        x = place.normalization(x, "stem_bn", "channels" if stem_gate else None, owned=owned)
        x = layers.ReLU(name="stem_relu")(x)
        x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
        return _stages(x, place, stages, (3, 4, 6, 3), classes, groups=cardinality)

    return build_network(network, input_shape, name, *structures(cardinality), **gating)


def structures(cardinality: int) -> Any:
    """What can carry gates, and which of it scaling factors, for `build_network`."""
    if cardinality > 1:
        return {"groups": ("groups",), "blocks": ("blocks",)}, "groups"
    return {"channels": ("channels",), "blocks": ("blocks",)}, "blocks"


def resnet20(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnet20", **gating: Any
) -> keras.Model:
    """ResNet-20 for CIFAR, with identity shortcuts that are padded; its output is a softmax.

    `gated="channels"`, the default for gates that draw: the stem and the first convolution of
    each block, after batch normalisation, as Dep-L0 does. `"blocks"`, the default for scaling
    factors: whole blocks, as SSS does.

    Args:
        input_shape, classes: of the images.
        name: name of the model.
        **gating: gate, gated, generator, l0: see `tfgates.applications`.

    Reference: He et al. 2016, arXiv 1512.03385, section 4.2; gates: Li and Ji 2021, arXiv 2107.00070,
    section 5.1, and Huang and Wang 2018, arXiv 1707.01213, section 3.4.
    """
    return resnet_cifar(20, input_shape, classes, stem_gate=True, name=name, **gating)


def resnet32(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnet32", **gating: Any
) -> keras.Model:
    """ResNet-32 for CIFAR; see `resnet20`."""
    return resnet_cifar(32, input_shape, classes, stem_gate=True, name=name, **gating)


def resnet56(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnet56", **gating: Any
) -> keras.Model:
    """ResNet-56 for CIFAR, with 28 gates on channels or 27 on blocks; see `resnet20`."""
    return resnet_cifar(56, input_shape, classes, stem_gate=True, name=name, **gating)


def resnet110(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnet110", **gating: Any
) -> keras.Model:
    """ResNet-110 for CIFAR; see `resnet20`."""
    return resnet_cifar(110, input_shape, classes, stem_gate=True, name=name, **gating)


def resnet164(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "resnet164", **gating: Any
) -> keras.Model:
    """ResNet-164 for CIFAR: 54 pre-activated bottlenecks; its output is a softmax.

    `gated="channels"`, the default for gates that draw: the first two convolutions of each
    block, after batch normalisation. `"blocks"`, the default for scaling factors: whole blocks, at
    the end of the branch, since no batch normalisation follows inside it.

    Args: as for `resnet20`.

    Reference: He et al. 2016, arXiv 1603.05027; gates: Huang and Wang 2018, arXiv 1707.01213,
    section 4.1.
    """
    arguments: dict[str, Any] = {"bottleneck": True, "preactivated": True, "shortcut": "projection"}
    return resnet_cifar(164, input_shape, classes, name=name, **arguments, **gating)


def wrn28_10(
    input_shape: tuple[int | None, ...] = (32, 32, 3), classes: int = 10, name: str = "wrn28_10", **gating: Any
) -> keras.Model:
    """Wide ResNet WRN-28-10 for CIFAR; its output is a softmax.

    `gated="channels"`, the default for gates that draw: the first convolution of each block, after
    batch normalisation, whereas L0-HC and L0-ARM gate it before. `"blocks"`: whole blocks.

    Args: as for `resnet20`.

    Reference: Zagoruyko and Komodakis 2016, arXiv 1605.07146; gates: Louizos et al. 2018, arXiv
    1712.01312, section 4.2.
    """
    arguments: dict[str, Any] = {"width": 10, "preactivated": True, "shortcut": "projection"}
    return resnet_cifar(28, input_shape, classes, name=name, **arguments, **gating)


def resnet50(
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    classes: int = 1000,
    name: str = "resnet50",
    **gating: Any,
) -> keras.Model:
    """ResNet-50 for ImageNet; its output is a softmax.

    `gated="channels"`, the default for gates that draw: the stem and the first two convolutions of
    each bottleneck, after batch normalisation (33 gates), as Dep-L0 does. `"blocks"`, the
    default for scaling factors: whole blocks, as SSS does.

    Args:
        input_shape, classes: of the images.
        name: name of the model.
        **gating: gate, gated, generator, l0: see `tfgates.applications`.

    Reference: He et al. 2016, arXiv 1512.03385; gates: Li and Ji 2021, arXiv 2107.00070, section 5.2.
    """
    return resnet_imagenet(input_shape, classes, stem_gate=True, name=name, **gating)
