"""Hard-concrete gates against numpy and against automatic differentiation."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tests.calculus import tensorflow
from tests.layer_test import run_layer_test
from tfgates.gates import HardConcreteGate, hard_concrete

# logits, P(z != 0), E[z], test gate by the paper's rule, by the median rule; all to three digits.
TABLE = [
    (-4.605, 0.047, 0.013, 0.0, 0.0),
    (-2.398, 0.310, 0.103, 0.0, 0.0),
    (-1.599, 0.500, 0.194, 0.102, 0.0),
    (0.0, 0.832, 0.500, 0.500, 0.500),
    (0.847, 0.920, 0.678, 0.740, 0.837),
    (2.398, 0.982, 0.897, 1.0, 1.0),
]


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x, "float64")))


def draw(logits, noise, temperature=2 / 3, limits=(-0.1, 1.1)):
    """The plain formula, in float64."""
    gamma, zeta = limits
    s = sigmoid((np.log(noise) - np.log1p(-noise) + logits) / temperature)
    return np.clip(s * (zeta - gamma) + gamma, 0.0, 1.0)


def make(logits, **arguments):
    gate = HardConcreteGate(**arguments)
    gate.build_units((len(logits),))
    gate.logits.assign(logits)
    return gate


@pytest.mark.parametrize(
    "arguments",
    [{}, {"axis": 1, "groups": 2, "l0": 1e-3}, {"sampling": "example", "test_rule": "paper"}, {"axis": None}],
)
def test_layer(arguments):
    run_layer_test(HardConcreteGate, arguments, (4, 6), expected_trainable_variables=1)


@pytest.mark.parametrize(("logits", "probability", "mean", "paper", "median"), TABLE)
def test_published_values(logits, probability, mean, paper, median):
    by_paper, by_median = make([logits], test_rule="paper"), make([logits])
    assert abs(float(by_median.open_probability()[0]) - probability) <= 6e-4
    assert abs(float(by_paper.test_gates()[0]) - paper) <= 6e-4
    assert abs(float(by_median.test_gates()[0]) - median) <= 6e-4
    # A million draws: the mean of values in [0, 1] has a standard error of at most 5e-4.
    noise = np.random.default_rng(1).uniform(1e-6, 1 - 1e-6, 1_000_000).astype("float32")
    z = ops.convert_to_numpy(hard_concrete(np.full_like(noise, logits), noise))
    assert abs(z.mean() - mean) <= 5 * 5e-4
    assert abs((z != 0).mean() - probability) <= 5 * 5e-4


def test_median_rule_closes_exactly_where_closing_is_the_likelier():
    logits = np.linspace(-4, 4, 801)
    gate = make(logits)
    clear = np.abs(ops.convert_to_numpy(gate.open_probability()) - 0.5) > 1e-5
    likely = ops.convert_to_numpy(gate.open_probability()) > 0.5
    np.testing.assert_array_equal(ops.convert_to_numpy(gate.open_units())[clear], likely[clear])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-6, 6),
    st.floats(0.2, 2.0),
    st.tuples(st.floats(-0.5, -0.02), st.floats(1.02, 1.5)),
)
def test_closed_forms_for_any_settings(logits, temperature, limits):
    gate = make([logits], temperature=temperature, limits=limits, logits_limit=None)
    # The share of a regular grid of noise that opens the gate is P(open) to one grid step.
    noise = (np.arange(20_000) + 0.5) / 20_000
    z = draw(logits, noise, temperature, limits)
    assert abs((z != 0).mean() - float(gate.open_probability()[0])) <= 1e-4
    gamma, zeta = limits
    expected = np.clip(sigmoid(logits / temperature) * (zeta - gamma) + gamma, 0, 1)
    assert abs(float(gate.test_gates()[0]) - expected) <= 1e-5
    np.testing.assert_allclose(
        hard_concrete(np.full(20_000, logits, "float32"), noise, temperature, limits), z, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_gradient_equals_automatic_differentiation_of_the_formula(dtype):
    tf = tensorflow("it uses tapes of TensorFlow")
    generator = np.random.default_rng(2)
    logits = tf.cast(generator.normal(0, 2, 5_000), dtype)
    noise = tf.constant(generator.uniform(1e-6, 1 - 1e-6, 5_000), "float32")
    upstream = tf.constant(generator.normal(size=5_000), "float32")

    def plain(logits):
        s = tf.sigmoid((tf.math.log(noise) - tf.math.log1p(-noise) + tf.cast(logits, "float32")) / (2 / 3))
        return tf.clip_by_value(s * 1.2 - 0.1, 0.0, 1.0)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours, theirs = hard_concrete(logits, noise), plain(logits)
        losses = tf.reduce_sum(ours * upstream), tf.reduce_sum(theirs * upstream)
    assert keras.backend.standardize_dtype(ours.dtype) == "float32"
    np.testing.assert_array_equal(ours, theirs)
    gradients = [tf.cast(tape.gradient(loss, logits), "float32") for loss in losses]
    np.testing.assert_allclose(*gradients, atol=1e-6, rtol=1e-2 if dtype != "float32" else 1e-5)
    assert np.count_nonzero(gradients[0]) > 1_000


def test_gradient_by_finite_differences():
    tf = tensorflow("it uses tapes of TensorFlow")
    logits = np.linspace(-2, 2, 9)
    noise = np.full(9, 0.45)
    with tf.GradientTape() as tape:
        x = tf.constant(logits, "float32")
        tape.watch(x)
        z = hard_concrete(x, noise)
    step = 1e-5
    expected = (draw(logits + step, noise) - draw(logits - step, noise)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(z, x), expected, atol=1e-4)


def test_no_gradient_reaches_the_noise():
    tf = tensorflow("it uses tapes of TensorFlow")
    with tf.GradientTape() as tape:
        noise = tf.constant([0.4, 0.5])
        tape.watch(noise)
        z = hard_concrete(tf.zeros(2), noise)
    assert tape.gradient(z, noise) is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_inputs_get_gates_drawn_in_float32(dtype):
    x = ops.cast(np.ones((2, 1000)), dtype)
    gate = make([0.0] * 1000, seed=4, dtype=f"mixed_{dtype}")
    reference = make([0.0] * 1000, seed=4)
    y = gate(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    expected = ops.cast(reference(np.ones((2, 1000), "float32"), training=True), dtype)
    np.testing.assert_array_equal(ops.cast(y, "float32"), ops.cast(expected, "float32"))
    assert gate.logits.dtype == "float32"


def test_noise_at_its_edges_is_finite():
    z = hard_concrete(np.zeros(2, "float32"), np.array([1e-6, 1 - 1e-6], "float32"))
    np.testing.assert_array_equal(z, [0.0, 1.0])


@pytest.mark.parametrize("limit", [0.5, None])
def test_logits_stay_within_their_limit(limit):
    inputs = keras.Input((3,))
    gate = HardConcreteGate(l0=1.0, initial_open_probability=0.8, logits_limit=limit)
    model = keras.Model(inputs, gate(inputs))
    model.compile(keras.optimizers.SGD(50.0), "mse")
    model.fit(np.zeros((4, 3)), np.zeros((4, 3)), verbose=0)
    furthest = float(ops.max(ops.abs(gate.logits)))
    assert furthest == 0.5 if limit else furthest > 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` must be a positive number. Received: temperature=0"),
        ({"temperature": -1}, "Received: temperature=-1"),
        ({"temperature": float("nan")}, "Received: temperature=nan"),
        ({"temperature": float("inf")}, "Received: temperature=inf"),
        ({"limits": (0.0, 1.1)}, r"stretches \[0, 1\].* Received: limits=\(0.0, 1.1\)"),
        ({"limits": (-0.1, 1.0)}, r"Received: limits=\(-0.1, 1.0\)"),
        ({"limits": (-0.1,)}, r"Received: limits=\(-0.1,\)"),
        ({"limits": (-0.1, float("inf"))}, r"Received: limits=\(-0.1, inf\)"),
        (
            {"test_rule": "mean"},
            r"`test_rule` must be one of \['median', 'paper'\]. Received: test_rule='mean'",
        ),
        ({"logits_limit": 0}, "`logits_limit` must be a positive number or None. Received: logits_limit=0"),
    ],
)
def test_refused_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardConcreteGate(**arguments)
