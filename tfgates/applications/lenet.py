"""LeNet-5-Caffe and the multilayer perceptron, the networks of MNIST."""

from typing import Any

import keras
from keras import layers

from tfgates.applications.placement import build_network

STRUCTURES = {"inputs": ("channels", "inputs"), "outputs": ("channels", "outputs")}


def mlp(
    input_shape: tuple[int | None, ...] = (28, 28, 1),
    classes: int = 10,
    units: Any = (300, 100),
    gate: Any = None,
    gated: Any = None,
    generator: Any = None,
    l0: Any = None,
    name: str = "mlp",
) -> keras.Model:
    """Multilayer perceptron 784-300-100 with 266,610 parameters; its output is a softmax.

    `gated="inputs"`, the default for gates that draw, gates the inputs of each dense layer (784, 300
    and 100 units), as L0-HC and L0-ARM do; `"outputs"`, the default for scaling factors, the
    outputs of the hidden layers, as SSS does with neurons.

    Args:
        input_shape: shape of an example. Defaults to (28, 28, 1).
        classes: int. Defaults to 10.
        units: widths of the hidden layers. Defaults to (300, 100).
        gate, gated, generator, l0: see `tfgates.applications`.
        name: name of the model.

    Reference: Louizos et al. 2018, arXiv 1712.01312, section 4.1.
    """

    def network(x: Any, place: Any) -> Any:
        x = layers.Flatten(name="flatten")(x)
        for number, width in enumerate(units, 1):
            x = place.dense(x, width, f"dense{number}", ("inputs", "outputs"), activation="relu")
        return place.dense(x, classes, "predictions", ("inputs",), activation="softmax")

    return build_network(network, input_shape, name, STRUCTURES, "outputs", gate, gated, generator, l0)


def lenet5(
    input_shape: tuple[int | None, ...] = (28, 28, 1),
    classes: int = 10,
    gate: Any = None,
    gated: Any = None,
    generator: Any = None,
    l0: Any = None,
    name: str = "lenet5",
) -> keras.Model:
    """LeNet-5-Caffe 20-50-500 with 431,080 parameters; its output is a softmax.

    Gates on the maps of both convolutions. `gated="inputs"`, the default for gates that draw, also
    gates the inputs of both dense layers (800 and 500 units), as L0-HC and L0-ARM do;
    `"outputs"`, the default for scaling factors, the 500 outputs of the first.

    Args:
        input_shape: shape of an example. Defaults to (28, 28, 1).
        classes: int. Defaults to 10.
        gate, gated, generator, l0: see `tfgates.applications`.
        name: name of the model.

    Reference: Louizos et al. 2018, arXiv 1712.01312, section 4.1.
    """

    def network(x: Any, place: Any) -> Any:
        for number, filters in enumerate((20, 50), 1):
            x = place.convolution(x, filters, 5, f"conv{number}", "channels", activation="relu")
            x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
        x = layers.Flatten(name="flatten")(x)
        x = place.dense(x, 500, "dense1", ("inputs", "outputs"), activation="relu")
        return place.dense(x, classes, "predictions", ("inputs",), activation="softmax")

    return build_network(network, input_shape, name, STRUCTURES, "outputs", gate, gated, generator, l0)
