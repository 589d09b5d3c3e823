"""Exact gradients of small gated networks by enumeration in numpy, and what `fit` makes of them."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from tfgates import GatedModel, gates, layers

FEATURES, FIRST, SECOND, OUTPUTS, BATCH = 3, 3, 2, 2, 4

# The steps of one execution.
EXECUTION = 500


@keras.saving.register_keras_serializable(package="tests")
class GradientMoments(keras.optimizers.Optimizer):
    """Leaves the variables as they are and sums up their gradients and the products of these."""

    def __init__(self, **kwargs):
        super().__init__(learning_rate=1.0, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.sums, self.products = [], []
        for variable in variables:
            size = int(np.prod(variable.shape))
            self.sums.append(self.add_variable((size,), initializer="zeros", name="sum"))
            self.products.append(self.add_variable((size, size), initializer="zeros", name="products"))

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        gradient = ops.reshape(gradient, (-1,))
        self.assign_add(self.sums[index], gradient)
        self.assign_add(self.products[index], ops.outer(gradient, gradient))

    def moments(self, variable):
        """Mean, and covariance of the mean, of the gradients of `variable` so far."""
        index, count = self._get_variable_index(variable), int(self.iterations)
        mean = ops.convert_to_numpy(self.sums[index]).astype("float64") / count
        second = ops.convert_to_numpy(self.products[index]).astype("float64") / count
        return mean, (second - np.outer(mean, mean)) / (count - 1)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def cubic(logits):
    """A link that is neither smooth everywhere nor a sigmoid of anything."""
    return ops.clip(0.5 + logits + logits**3, 0.0, 1.0)


# Each link as the gate takes it, in numpy, and its derivative in numpy.
LINKS = {
    "sigmoid": ("sigmoid", lambda x: sigmoid(7.0 * x), lambda x: 7.0 * sigmoid(7.0 * x) * sigmoid(-7.0 * x)),
    "hard_sigmoid": ("hard_sigmoid", lambda x: x + 0.5, lambda x: np.ones_like(x)),
    "callable": (cubic, lambda x: 0.5 + x + x**3, lambda x: 1.0 + 3.0 * x**2),
}

# Logits at which no link is at its bounds, with probabilities from 0.1 to 0.9.
FIRST_LOGITS = np.array([-0.3, 0.1, 0.32], "float32")
SECOND_LOGITS = np.array([0.2, -0.15], "float32")


def centred_loss(y_true, y_pred):
    """Depends on the predictions in a curved way and is about 0 on the average."""
    return ops.mean(y_true * ops.tanh(y_pred) + 0.1 * ops.square(y_pred), axis=-1) - 0.017


# Networks and data with gates that matter much, so that fewer draws do: with and without batch norm.
SEEDS = {True: 74, False: 153}

# Each weight begins with as many of these as it has: what TensorFlow draws from those seeds, for every backend.
WEIGHTS = {
    True: [0.1016, 0.4785, 1.4498, -0.2121, 1.0219, -1.4257, -0.8210, 0.7462, 0.4685],
    False: [-1.4947, -0.7636, -0.1482, -1.0972, 0.2405, -1.4073, -1.2528, -0.3100, -0.8197],
}


def data(normalise=True):
    generator = np.random.default_rng(SEEDS[normalise])
    x = generator.normal(size=(BATCH, FEATURES)).astype("float32")
    y = generator.normal(size=(BATCH, OUTPUTS)).astype("float32")
    return x, y


def network(estimator, link, sampling="batch", normalise=True, model_class=GatedModel, seed=None, **arguments):
    """A model with 3 + 2 Bernoulli gates, dropout of which there are 8 cases, and its settings."""
    chosen, seed = seed is None, SEEDS[normalise] if seed is None else seed
    keras.utils.set_random_seed(seed)

    def gate():
        return gates.BernoulliGate(estimator=estimator, link=LINKS[link][0], sampling=sampling, **arguments)

    uniform = keras.initializers.RandomUniform(-1.5, 1.5, seed=seed)
    settings = {"kernel_initializer": uniform, "bias_initializer": uniform}
    inputs = keras.Input((FEATURES,))
    x = layers.GatedDense(FIRST, activation="tanh", gate=gate(), name="first", **settings)(inputs)
    if normalise:
        x = keras.layers.BatchNormalization(name="normalisation", epsilon=0.1)(x)
    x = keras.layers.Dropout(0.1, noise_shape=(1, FIRST))(x)
    x = layers.GatedDense(SECOND, activation="tanh", gate=gate(), name="second", **settings)(x)
    outputs = keras.layers.Dense(OUTPUTS, name="last", **settings)(x)
    model = model_class(inputs, outputs)
    first, second, last = (model.get_layer(name) for name in ("first", "second", "last"))
    for variable in [v for layer in (first, second, last) for v in (layer.kernel, layer.bias)] if chosen else []:
        variable.assign(np.resize(WEIGHTS[normalise], variable.shape))
    first.gate.logits.assign(FIRST_LOGITS)
    second.gate.logits.assign(SECOND_LOGITS)
    return model


def losses_of_states(model, x, y, normalise, weights):
    """The loss for each state of the gates, expected over dropout: numpy's own forward pass."""
    first, second, last = (
        [ops.convert_to_numpy(w) for w in model.get_layer(n).get_weights()] for n in ("first", "second", "last")
    )
    states = np.array(list(itertools.product([0.0, 1.0], repeat=FIRST + SECOND)))
    z_first, z_second = states[:, None, :FIRST], states[:, None, FIRST:]
    hidden = np.tanh(z_first * (x @ first[0] + first[1]))
    if normalise:
        mean, variance = hidden.mean(1, keepdims=True), hidden.var(1, keepdims=True)
        hidden = (hidden - mean) / np.sqrt(variance + 0.1)
    total = np.zeros(len(states))
    for mask in itertools.product([0.0, 1.0], repeat=FIRST):
        kept = np.array(mask)
        chance = np.prod(np.where(kept == 1.0, 0.9, 0.1))
        inner = np.tanh(z_second * ((hidden * kept / 0.9) @ second[0] + second[1]))
        predictions = inner @ last[0] + last[1]
        loss = np.mean(y * np.tanh(predictions) + 0.1 * predictions**2, axis=-1) - 0.017
        total += chance * np.mean(weights * loss, axis=-1)
    return states, total


def exact_gradients(model, x, y, link, normalise=True, weights=1.0):
    """The gradient of the expected loss for the logits of each gate, by enumeration of all states."""
    _, probability, derivative = LINKS[link]
    logits = np.concatenate([FIRST_LOGITS, SECOND_LOGITS]).astype("float64")
    p = probability(logits)
    states, losses = losses_of_states(model, x, y, normalise, weights)
    gradient = np.zeros_like(p)
    for unit in range(len(p)):
        others = np.delete(np.arange(len(p)), unit)
        chance = np.prod(np.where(states[:, others] == 1.0, p[others], 1.0 - p[others]), axis=1)
        gradient[unit] = np.sum(chance * losses * np.where(states[:, unit] == 1.0, 1.0, -1.0))
    gradient *= derivative(logits)
    return gradient[:FIRST], gradient[FIRST:]


def enough(steps, visible):
    """Steps after which a bias of `visible` shows where one of 0.05 does after `steps`: whole executions."""
    return math.ceil(steps * (0.05 / visible) ** 2 / EXECUTION) * EXECUTION


def fit_moments(model, x, y, steps, sample_weight=None, loss=centred_loss, jit_compile=True, **settings):
    """Runs `steps` steps of `fit` on one batch; returns the moments of the gradients of each gate."""
    optimizer = GradientMoments()
    model.compile(optimizer, loss=loss, steps_per_execution=EXECUTION, jit_compile=jit_compile, **settings)
    data = (x, y) if sample_weight is None else (x, y, sample_weight)
    model.fit(repeated(data, steps), shuffle=False, steps_per_epoch=steps, epochs=1, verbose=0)
    assert int(optimizer.iterations) == steps
    return [optimizer.moments(gate.logits) for gate in model.gates]


class Repeated(keras.utils.PyDataset):
    """One batch again and again."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batch


def repeated(batch, steps):
    """One batch, `steps` times, as the backend takes it fastest."""
    if keras.backend.backend() != "tensorflow":
        return Repeated(batch, steps)
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(batch).repeat()


def assert_unbiased(moments, exact, visible=0.05):
    """The means are within 4 standard errors, and so small that a bias of `visible` would show."""
    for (mean, covariance), gradient in zip(moments, exact, strict=True):
        errors = np.sqrt(np.diag(covariance))
        np.testing.assert_array_less(np.abs(mean - gradient), 4.0 * errors)
        # The estimate along the exact gradient, in units of it: 1 without bias.
        direction = gradient / np.sum(gradient**2)
        error = np.sqrt(direction @ covariance @ direction)
        assert 4.0 * error <= visible, f"too few draws: a standard error of {error:.4f} of the gradient"
        assert abs(direction @ mean - 1.0) <= 4.0 * error
