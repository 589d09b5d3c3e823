"""The networks that `train.py` knows: those of `tfgates.applications`, with gates."""

import tfgates

# The papers' lambda is the loss per weight times the number of training images, 60,000 for MNIST.
IMAGES = 60_000
# Lambda for each gate in the order of the network, or one for all gates.
DEFAULT_L0 = {"lenet5": [10.0, 0.5, 0.1, 10.0]}


def build(name, data, gate, l0=None, seed=0, **gate_arguments):
    """Builds a network for `data`.

    Args:
        name: one of `tfgates.applications`.
        data: a `Data`.
        gate: name of a gate.
        l0: list of penalties, one for each gate or one for all, in loss per `IMAGES` weights.
            Defaults to `DEFAULT_L0`, to 0.1 for other networks, and to none for scaling factors, which
            close by other means.
        seed: int, of the gates' noise.
        **gate_arguments: further arguments of the gates.

    Returns:
        A `tfgates.GatedModel`.
    """
    if l0 is None:
        l0 = [0.0] if gate == "scaling" else DEFAULT_L0.get(name, [0.1])
    penalties = [value / IMAGES for value in l0]
    return getattr(tfgates.applications, name)(
        input_shape=data.input_shape,
        classes=data.classes,
        gate=tfgates.gates.get(gate, seed=seed, **gate_arguments),
        l0=penalties[0] if len(penalties) == 1 else penalties,
    )
