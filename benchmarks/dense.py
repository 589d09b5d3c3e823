"""The dense network's training beside runs of `compress`: the rate constant, then falling, as in its two phases."""


def train(model, data, loss, epochs, batch, share=0.4, only=None, callbacks=()):
    """Compiles and trains a network as `compress` would with its defaults, but without gates.

    Args:
        model: a `keras.Model`.
        data: pair of arrays.
        loss: as in `compile`.
        epochs, batch: ints.
        share: of the epochs in which the rate falls to 0 by a cosine.
        only: None, or how many of the epochs are trained.
        callbacks: of `fit`.
    """
    import keras

    from tfgates.compression.phase_optimizers import RateOfSteps, cosine
    from tfgates.compression.phases import fine_tuning_epochs

    steps = -(-len(data[1]) // batch)
    last = fine_tuning_epochs(epochs, share)
    begin = (epochs - last) * steps
    falling = RateOfSteps(lambda step: cosine(1e-3, last * steps, max(0, step - begin)))
    model.compile(keras.optimizers.AdamW(1e-3, 0.1), loss, metrics=["accuracy"])
    model.fit(*data, batch, only or epochs, verbose=0, callbacks=[falling, *callbacks])
    return model
