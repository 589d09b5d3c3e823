"""Optimizers and learning rates as settings."""

import keras

OPTIMIZERS = ("adam", "sgd")


def schedule(learning_rate, boundaries, factor, steps_per_epoch, epochs):
    """A learning rate per step.

    Args:
        learning_rate: float, the first.
        boundaries: `"cosine"`: it falls to 0 by a cosine. A list of epochs: at each it is multiplied
            by `factor`; an empty list keeps it constant.
        factor: float.
        steps_per_epoch, epochs: ints.
    """
    if boundaries == "cosine":
        return keras.optimizers.schedules.CosineDecay(learning_rate, max(1, epochs * steps_per_epoch))
    if not boundaries:
        return learning_rate
    rates = [learning_rate * factor**i for i in range(len(boundaries) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay([epoch * steps_per_epoch for epoch in boundaries], rates)


def optimizer(name, learning_rate, momentum=0.9, nesterov=True, weight_decay=0.0, average=None):
    """A Keras optimizer.

    Args:
        name: one of `OPTIMIZERS`.
        learning_rate: float or a schedule.
        momentum, nesterov: of SGD.
        weight_decay: float, times the learning rate is subtracted from each weight.
        average: float or None, momentum of the average of the weights that stands at the end of `fit`.
    """
    shared = {"weight_decay": weight_decay or None}
    if average:
        shared.update(use_ema=True, ema_momentum=average)
    if name == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=nesterov, **shared)
    return keras.optimizers.Adam(learning_rate, **shared)
