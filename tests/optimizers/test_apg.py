"""APG against the recursion of the paper and against Nesterov SGD."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tfgates.optimizers import APG

# In the quick suite, and in the slow one, where what is wrong in a late step shows too.
STEPS = [90, pytest.param(1000, marks=pytest.mark.slow)]


def gradient_at(x, target, step):
    """A gradient that depends on x and on the step, so that errors would accumulate."""
    return (x - target) * np.float32(0.5) + np.float32(0.05) * np.sin(np.float32(0.1) * step)


def recursion(x, target, rate, momentum, strength, nonnegative, steps, clip=None):
    """The update of arXiv 1707.01213 in numpy float64: x after each step."""
    x, v, path = x.astype("float64"), np.zeros(x.shape), []
    for step in range(steps):
        eta, gamma = rate(step), strength(step)
        gradient = gradient_at(x, target, step)
        if clip is not None:
            gradient = np.clip(gradient, -clip, clip)
        z = x - eta * gradient
        soft = np.sign(z) * np.maximum(np.abs(z) - eta * gamma, 0.0)
        v = soft - x + momentum * v
        x = soft + momentum * v
        if nonnegative:
            x = np.maximum(x, 0.0)
        path.append(x)
    return np.array(path)


def run(optimizer, start, target, steps):
    """x after each step."""
    variable, path = keras.Variable(start), []
    for step in range(steps):
        gradient = gradient_at(ops.convert_to_numpy(variable), target, step).astype("float32")
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        path.append(np.array(variable))
    return np.array(path)


def problem():
    generator = np.random.default_rng(3)
    target = generator.normal(size=50).astype("float32")
    return np.abs(generator.normal(size=50)).astype("float32"), target


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_equals_the_recursion(momentum, nonnegative, steps):
    start, target = problem()
    first, second, full = int(0.3 * steps) - 1, int(0.6 * steps) - 1, int(0.2 * steps)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([first, second], [0.1, 0.05, 0.01])
    strength = keras.optimizers.schedules.PolynomialDecay(0.0, full, end_learning_rate=0.3)
    optimizer = APG(schedule, momentum, strength, nonnegative)
    found = run(optimizer, start, target, steps)
    expected = recursion(
        start,
        target,
        lambda step: 0.1 if step <= first else 0.05 if step <= second else 0.01,
        momentum,
        lambda step: 0.3 * min(step / full, 1.0),
        nonnegative,
        steps,
    )
    # Every step: the end alone forgets what happened on the way, such as a rate that changes too late.
    np.testing.assert_allclose(found, expected, atol=2e-6)
    if nonnegative or not momentum:
        np.testing.assert_array_equal(found[-1] == 0.0, expected[-1] == 0.0)
        assert 0 < np.count_nonzero(found[-1]) < 50


@pytest.mark.parametrize("steps", STEPS)
def test_clipping(steps):
    start, target = problem()
    variable = run(APG(0.1, 0.9, 0.2, clipvalue=0.1), start, target, steps)
    expected = recursion(start, target, lambda _: 0.1, 0.9, lambda _: 0.2, True, steps, clip=0.1)
    np.testing.assert_allclose(variable, expected, atol=1e-6)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_is_nesterov_without_strength(momentum, steps):
    start, target = problem()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
    apg = run(APG(schedule, momentum, 0.0, nonnegative=False), start, target, steps)
    sgd = run(keras.optimizers.SGD(schedule, momentum, nesterov=True), start, target, steps)
    # With PyTorch Keras's SGD has kernels of its own, which round otherwise.
    rounding = 1e-5 if keras.backend.backend() == "torch" else 0.0
    np.testing.assert_allclose(apg, sgd, rtol=rounding, atol=rounding)


def test_gradient_accumulation():
    start, _ = problem()
    once, thrice = keras.Variable(start), keras.Variable(start)
    single, accumulating = APG(0.1, 0.9, 0.2), APG(0.1, 0.9, 0.2, gradient_accumulation_steps=3)
    generator = np.random.default_rng(0)
    for _ in range(20):
        parts = generator.normal(size=(3, 50)).astype("float32")
        for i, part in enumerate(parts):
            before = np.array(thrice)
            accumulating.apply([ops.convert_to_tensor(part)], [thrice])
            assert np.array_equal(thrice, before) == (i < 2)
        single.apply([ops.convert_to_tensor(parts.mean(0))], [once])
    np.testing.assert_allclose(thrice, once, atol=1e-6)
    assert np.count_nonzero(thrice) < 50


def test_resumes_to_the_bit(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 20, 0.5)

    def make():
        keras.utils.set_random_seed(5)
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        model.compile(APG(schedule, strength=0.1, stop_at=9, nonnegative=False), "mse")
        return model

    def fit(model, epochs):
        model.fit(x, x[:, :4], batch_size=16, epochs=epochs, shuffle=False, verbose=0)

    whole, first = make(), make()
    fit(whole, 10)
    fit(first, 5)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras")
    fit(second, 5)
    for a, b in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(whole.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_stops_at_a_count():
    start = np.linspace(0.1, 1.0, 10).astype("float32")
    optimizer, a, b = APG(0.1, 0.0, 1.0, stop_at=6), keras.Variable(start[:5]), keras.Variable(start[5:])
    zero = ops.zeros((5,))
    for _ in range(30):
        optimizer.apply([zero, zero], [a, b])
    np.testing.assert_array_equal(np.concatenate([a, b]) != 0.0, [False] * 4 + [True] * 6)
    left = np.array(b)
    # Nothing pulls any more, what is closed stays closed, what is open moves.
    optimizer.apply([zero - 1.0, zero - 1.0], [a, b])
    assert np.count_nonzero(a) == 1
    np.testing.assert_allclose(b, left + 0.1, atol=1e-6)


def test_never_closes_more_than_asked():
    """All would close in one step; the largest stay, and go on staying."""
    a, b = keras.Variable([0.3, 0.1, 0.2]), keras.Variable([[0.4, 0.1]])
    optimizer = APG(1.0, 0.9, 1.0, stop_at=2)
    for _ in range(20):
        optimizer.apply([ops.ones((3,)), ops.ones((1, 2))], [a, b])
        np.testing.assert_array_equal(np.array(a) != 0.0, [True, False, False])
        np.testing.assert_array_equal(np.array(b) != 0.0, [[True, False]])


def test_config():
    strength = keras.optimizers.schedules.PolynomialDecay(0.0, 10, end_learning_rate=0.1)
    for optimizer in (
        APG(0.5, 0.3, 0.2, False, 7, clipnorm=1.0),
        APG(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), strength=strength),
    ):
        text = json.dumps(keras.saving.serialize_keras_object(optimizer))
        again = keras.saving.deserialize_keras_object(json.loads(text))
        assert json.dumps(keras.saving.serialize_keras_object(again)) == text


@pytest.mark.parametrize(
    "arguments",
    [
        {"momentum": -0.1},
        {"momentum": 1.0},
        {"strength": -1.0},
        {"strength": float("nan")},
        {"strength": "much"},
        {"stop_at": -1},
        {"stop_at": 0.5},
    ],
)
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"`{name}` must .* Received: {name}="):
        APG(**arguments)
