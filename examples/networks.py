"""Networks that `train.py` knows, layer by layer, with gates where the papers put them."""

import keras

import tfgates
from tfgates import layers

# The papers' lambda: the loss per weight times the number of training images, which was this for them.
IMAGES = 60_000
# What they used for each gated layer of each network on MNIST.
DEFAULT_L0 = {"lenet5": (10.0, 0.5, 0.1, 10.0), "mlp": (0.1, 0.1, 0.1)}


def lenet5(input_shape, classes, make_gate):
    """LeNet-5-Caffe: maps are gated on the outputs, dense layers on the inputs (L0-HC, section 4.1)."""
    inputs = keras.Input(input_shape)
    x = layers.GatedConv2D(20, 5, activation="relu", gate=make_gate(0, "conv1_gate"), name="conv1")(inputs)
    x = keras.layers.MaxPooling2D()(x)
    x = layers.GatedConv2D(50, 5, activation="relu", gate=make_gate(1, "conv2_gate"), name="conv2")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = layers.GatedDense(
        500, activation="relu", gate=make_gate(2, "dense1_gate"), gated="inputs", name="dense1"
    )(x)
    outputs = layers.GatedDense(
        classes, activation="softmax", gate=make_gate(3, "dense2_gate"), gated="inputs", name="dense2"
    )(x)
    return tfgates.GatedModel(inputs, outputs, name="lenet5")


def mlp(input_shape, classes, make_gate):
    """784-300-100 with gated inputs of every layer (L0-HC, section 4.1)."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    x = layers.GatedDense(
        300, activation="relu", gate=make_gate(0, "dense1_gate"), gated="inputs", name="dense1"
    )(x)
    x = layers.GatedDense(
        100, activation="relu", gate=make_gate(1, "dense2_gate"), gated="inputs", name="dense2"
    )(x)
    outputs = layers.GatedDense(
        classes, activation="softmax", gate=make_gate(2, "dense3_gate"), gated="inputs", name="dense3"
    )(x)
    return tfgates.GatedModel(inputs, outputs, name="mlp")


NETWORKS = {"lenet5": lenet5, "mlp": mlp}


def build(name, data, gate, l0=None, seed=0, **gate_arguments):
    """Builds a network for `data`.

    Args:
        name: one of `NETWORKS`.
        data: a `Data`.
        gate: name of a gate.
        l0: list of penalties, one for each gated layer or one for all, in loss per `IMAGES` weights:
            lambda of the papers. Defaults to `DEFAULT_L0`.
        seed: int, of the gates' noise.
        **gate_arguments: further arguments of the gates.
    """
    if name not in NETWORKS:
        raise ValueError(f"`model` must be one of {sorted(NETWORKS)}. Received: {name}")
    wanted = len(DEFAULT_L0[name])
    l0 = list(l0 or DEFAULT_L0[name])
    if len(l0) == 1:
        l0 *= wanted
    if len(l0) != wanted:
        raise ValueError(f"`l0` must be one number, or {wanted} for {name}. Received: {l0}")

    def make_gate(number, gate_name):
        return tfgates.gates.get(
            gate, l0=l0[number] / IMAGES, seed=seed + number, name=gate_name, **gate_arguments
        )

    return NETWORKS[name](data.input_shape, data.classes, make_gate)
