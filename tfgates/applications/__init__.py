"""The networks of the papers, as plain Keras models, with or without gates.

Every builder takes

    gate: None for the network without gates, a `keras.Model`; else a `tfgates.gates.Gate`, its name or its
        config, and the result is a `tfgates.GatedModel` with a copy of the gate in each of the places
        that the paper of the method gates. The copies of a gate with a seed have different seeds.
    gated: what carries gates, one of the choices that the builder names. Defaults to what the
        method's paper gates.
    generator: None, or `"forward"` or `"backward"`: all gates get their logits from one
        `tfgates.layers.GateGenerator` of that order, starting at the gate's
        `initial_open_probability`. Not for scaling factors.
    l0: None (as `gate` says), or a float for all gates, or a list with one float per gate in the
        order of the network: penalty in loss per weight that an open unit owns. A channel or
        group owns its part of the kernel of the convolution before it, a block all its kernels.

and raises a `ValueError` for any other `gated` or `generator`, an `l0` of another length, or any of the
three without a gate.
"""

from tfgates.applications.lenet import lenet5, mlp
from tfgates.applications.resnet import (
    resnet20,
    resnet32,
    resnet50,
    resnet56,
    resnet110,
    resnet164,
    wrn28_10,
)
from tfgates.applications.resnext import resnext20, resnext50, resnext164
from tfgates.applications.vgg import vgg16

__all__ = [
    "lenet5",
    "mlp",
    "resnet20",
    "resnet32",
    "resnet50",
    "resnet56",
    "resnet110",
    "resnet164",
    "resnext20",
    "resnext50",
    "resnext164",
    "vgg16",
    "wrn28_10",
]
