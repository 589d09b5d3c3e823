"""Training with JAX where all lies on the device: whole epochs as one compiled program, data and augmentation too."""

import functools
import time

import jax
import keras
import numpy as np
from jax import numpy as jnp

PADDING = 4
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SMOOTHING = 0.1


@keras.saving.register_keras_serializable(package="benchmarks")
class Piecewise(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is linear between points.

    Args:
        points: list of pairs (step, learning rate), by step.
    """

    def __init__(self, points):
        self.points = [(float(step), float(rate)) for step, rate in points]

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rate = keras.ops.full((), self.points[0][1])
        for (start, low), (end, high) in zip(self.points, self.points[1:], strict=False):
            share = keras.ops.clip((step - start) / max(end - start, 1.0), 0.0, 1.0)
            rate = rate + (high - low) * share
        return rate

    def get_config(self):
        return {"points": self.points}


def normalized(images):
    """Bytes to numbers of mean 0 and deviation 1, as float32."""
    return (images.astype("float32") / 255.0 - np.float32(MEAN)) / np.float32(DEVIATION)


def augmented(key, padded):
    """A random crop of padded images, every other one flipped.

    Args:
        key: a key of jax.random.
        padded: images with `PADDING` more on each side, `(n, height, width, channels)`.
    """
    count, height, width, channels = padded.shape
    size = (height - 2 * PADDING, width - 2 * PADDING, channels)
    places, flips = jax.random.split(key)
    offsets = jax.random.randint(places, (count, 2), 0, 2 * PADDING + 1)
    crop = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), size))
    images = crop(padded, offsets)
    flip = jax.random.bernoulli(flips, 0.5, (count, 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def state_of(model):
    """What a training step of Keras changes: four lists of arrays."""
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    return tuple([keras.ops.convert_to_numpy(v) for v in group] for group in (*groups, model.metrics_variables))


def assign(model, state):
    """Puts a state back into the model, wherever it lies."""
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    for group, values in zip((*groups, model.metrics_variables), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(np.asarray(value))


def epoch_function(model, batch, steps):
    """A compiled function `(state, key, padded images, labels)` that trains for one epoch."""

    def step(padded, labels, state, given):
        indices, key = given
        x, y = augmented(key, padded[indices]), jax.nn.one_hot(labels[indices], 10)
        _, state = model.train_step(state, (x.astype("float32"), y))
        return tuple(map(list, state)), None

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state, key, padded, labels):
        order, noise = jax.random.split(key)
        order = jax.random.permutation(order, len(labels))[: steps * batch].reshape(steps, batch)
        each = functools.partial(step, padded, labels)
        return jax.lax.scan(each, state, (order, jax.random.split(noise, steps)))[0]

    return epoch


def train(model, images, labels, epochs, batch, seed, device, say=None):
    """Trains a compiled model for whole epochs on the device; the model itself stays where it is.

    Args:
        model: a compiled `keras.Model` on the JAX backend.
        images, labels: arrays of bytes.
        epochs, batch, seed: ints.
        device: of jax.
        say: None, or a function that is called with the logs of each epoch.

    Returns:
        A list with a dict for each epoch: the metrics of training and `seconds`; the first has compilation in it.
    """
    steps = len(labels) // batch
    # Keras builds metrics and optimizer in `fit`, which is not used here.
    sample = (np.zeros((2, *images.shape[1:]), "float32"), np.zeros((2, 10), "float32"))
    model._symbolic_build(data_batch=sample)
    model.optimizer.build(model.trainable_variables)
    model.reset_metrics()
    start = state_of(model)
    state = jax.device_put(start, device)
    padding = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    padded = jax.device_put(np.pad(normalized(images), padding), device)
    labels = jax.device_put(labels.astype("int32"), device)
    run, history = epoch_function(model, batch, steps), []
    keys = jax.random.split(jax.device_put(jax.random.key(seed), device), epochs)
    for number in range(epochs):
        began = time.perf_counter()
        state = run(state, keys[number], padded, labels)
        jax.block_until_ready(state)
        assign_metrics(model, state)
        logs = {name: float(value) for name, value in model.get_metrics_result().items()}
        history.append({**logs, "seconds": time.perf_counter() - began})
        state = (*state[:3], jax.device_put(start[3], device))
        if say is not None:
            say(number, history[-1])
    assign(model, state)
    return history


def assign_metrics(model, state):
    for variable, value in zip(model.metrics_variables, state[3], strict=True):
        variable.assign(np.asarray(value))


def accuracies(model, splits, device, batch=1000):
    """The share of images that a model gets right, without augmentation, for each pair (images, labels)."""
    groups = (model.trainable_variables, model.non_trainable_variables)
    state = jax.device_put([[keras.ops.convert_to_numpy(v) for v in group] for group in groups], device)

    @jax.jit
    def right(state, x, y):
        outputs, _ = model.stateless_call(*state, x, training=False)
        return jnp.sum(jnp.argmax(outputs, axis=-1) == y)

    found = []
    for images, labels in splits:
        count = 0
        for start in range(0, len(labels), batch):
            x, y = normalized(images[start : start + batch]), labels[start : start + batch].astype("int32")
            count += int(right(state, jax.device_put(x, device), jax.device_put(y, device)))
        found.append(count / len(labels) if len(labels) else None)
    return found
