"""The training runs that are interrupted: one model per method, the same data in the same order."""

import functools

import keras
import numpy as np

import tfgates
from tfgates import testing

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = X[:, :2] * 0.5


def network():
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    # Its masks are part of the run, and its seed of the state.
    x = keras.layers.Dropout(0.3, seed=5)(x)
    x = keras.layers.Dense(6)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def residual():
    inputs = keras.Input((6,))
    stem = x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Dense(5, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()([stem, x])))


def early():
    return tfgates.Budget(macs=0.3, multiplier_rate=0.05, warm_up=0, ramp=6)


def budget():
    return tfgates.Budget(macs=0.5, multiplier_rate=0.05, warm_up=3, ramp=6)


METHODS = {
    "hard_concrete": {"gate": "hard_concrete"},
    "hard_concrete_budget": {"gate": "hard_concrete", "budget": budget},
    "disarm_budget": {"gate": "disarm", "budget": budget},
    "arm_example": {"gate": "arm", "sampling": "example"},
    "ar": {"gate": "ar"},
    "reinforce": {"gate": "bernoulli", "estimator": "reinforce_leave_one_out"},
    "generator_budget": {"gate": "hard_concrete", "generator": "forward", "budget": budget},
    "sparse_scaling": {"gate": "scaling"},
    "tied": {"gate": "hard_concrete", "residual": ("inner", "tied"), "network": residual},
    "tied_disarm": {"gate": "disarm", "residual": ("inner", "tied"), "network": residual},
}

# Every gate of the list; those above are with what else a run can have.
TRIED = {(each["gate"], each.get("estimator")) for each in METHODS.values()}
METHODS |= {
    name: method.arguments
    for name, method in testing.METHODS.items()
    if not {(name, None), ("bernoulli", name)} & TRIED and method.generator is None
}


# What shrinks in training resumes by `Resume` alone.
SHRINKING = {"shrinking": {"gate": "hard_concrete", "budget": early, "initial_open_probability": 0.5}}


def build(method, seed=1):
    """The compiled model of a method."""
    keras.utils.set_random_seed(seed)
    arguments = dict({**METHODS, **SHRINKING}[method])
    make = arguments.pop("budget", None)
    net = arguments.pop("network", network)()
    model = tfgates.gate_model(net, seed=2, budget=make() if make else None, **arguments)
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 40)
    # Gates so fast that units are closed for good within an epoch.
    gates = keras.optimizers.Adam(1.0) if method == "shrinking" else "auto"
    model.compile(keras.optimizers.Adam(schedule), "mse", gate_optimizer=gates)
    return model


def callbacks_of(method):
    return [tfgates.callbacks.SparseScaling(0.02, warmup_steps=6)] if method == "sparse_scaling" else []


def fit(model, method, epochs, callbacks=(), initial_epoch=0):
    train = model.fit
    if method == "shrinking":
        # No clock is to decide.
        settings = tfgates.shrinking.Shrinking(checks=1, least_saving=0.05, rebuild=0.0)
        train = functools.partial(tfgates.fit, model, shrink=settings)
    return train(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks_of(method), *callbacks],
    )


def state(model):
    """All that a run has come to: variables of the model and of its optimizer, as a list of arrays."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


class TrainingEndedError(Exception):
    """Raised in place of a crash."""


class Interrupt(keras.callbacks.Callback):
    """Ends training in the midst of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise TrainingEndedError
