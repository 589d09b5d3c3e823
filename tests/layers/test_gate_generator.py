"""The chain of logits against numpy, and gates that draw from it."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import array, gradients, tensorflow
from tests.reload import predict_in_fresh_process
from tests.slow import others_slow
from tfgates.gates import BernoulliGate, HardConcreteGate
from tfgates.layers import GatedConv2D, GatedDense, GateGenerator, generated_once
from tfgates.training import GatedModel

LIMIT = math.log(100.0)


def built(*args, **kwargs):
    generator = GateGenerator(*args, **kwargs)
    generator(keras.Input((4,)))
    return generator


def weights_of(generator):
    return {w.name: np.array(ops.convert_to_numpy(w), "float64") for w in generator.weights}


def shuffled(generator, scale=0.3):
    """Gives a generator weights that are far from those of the start."""
    rng = np.random.default_rng(4)
    for weight in generator.weights:
        stored = generator.limit * weight.shape[0] if "kernel" in weight.name else 1.0
        weight.assign(rng.normal(0.0, scale, weight.shape) * stored)
    return generator


def kernels_of(generator):
    """The weights with kernels as they act, and not as they are stored."""
    weights = weights_of(generator)
    return {name: w / (generator.limit * len(w)) if name.startswith("kernel") else w for name, w in weights.items()}


def test_forward_on_three_gates_by_hand():
    generator = shuffled(built([2, 3, 4]))
    w = kernels_of(generator)
    assert sorted(w) == ["bias_0", "bias_1", "bias_2", "kernel_1", "kernel_2"]
    first = LIMIT * np.tanh(w["bias_0"])
    second = LIMIT * np.tanh(first @ w["kernel_1"] + w["bias_1"])
    third = LIMIT * np.tanh(second @ w["kernel_2"] + w["bias_2"])
    for made, expected in zip(generator.generate(), (first, second, third), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-5)


def test_backward_on_three_gates_by_hand():
    generator = shuffled(built([2, 3, 4], order="backward"))
    w = kernels_of(generator)
    assert w["bias_0"].shape == (4,)
    assert w["kernel_1"].shape == (4, 3)
    assert w["kernel_2"].shape == (3, 2)
    third = LIMIT * np.tanh(w["bias_0"])
    second = LIMIT * np.tanh(third @ w["kernel_1"] + w["bias_1"])
    first = LIMIT * np.tanh(second @ w["kernel_2"] + w["bias_2"])
    for made, expected in zip(generator.generate(), (first, second, third), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-5)


def test_hidden_layers_by_hand():
    generator = shuffled(built([2, 3], hidden=(5, 4), limit=2.0))
    w = kernels_of(generator)
    flow = first = 2.0 * np.tanh(w["bias_0"])
    for name in ("1_0", "1_1"):
        flow = np.maximum(flow @ w[f"kernel_{name}"] + w[f"bias_{name}"], 0.0)
    second = 2.0 * np.tanh(flow @ w["kernel_1"] + w["bias_1"])
    for made, expected in zip(generator.generate(), (first, second), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("hidden", [(), (8,)])
def test_initial_values(order, hidden):
    for p in (0.1, 0.5, 0.99):
        generator = built([3, 5, 2], order, hidden, initial_open_probability=p)
        for logits in generator.generate():
            np.testing.assert_allclose(HardConcreteGate().probability_from(logits), p, atol=1e-5)
    for logits in built([3, 5, 2], order, hidden, initial_logits=-1.5).generate():
        np.testing.assert_allclose(logits, -1.5, atol=1e-5)


def test_a_smaller_one_knows_by_what_the_kernels_of_the_dense_one_are_stored():
    config = {**built([2, 5, 3], "backward").get_config(), "units": [2, 4, 1], "dense_units": [2, 5, 3]}
    generator = GateGenerator.from_config(config)
    assert [generator.spread(number) for number in (1, 2)] == [pytest.approx(3 * LIMIT), pytest.approx(5 * LIMIT)]
    assert GateGenerator.from_config(generator.get_config()).dense_units == [2, 5, 3]
    assert "dense_units" not in built([2]).get_config()


def test_initial_values_of_the_paper():
    generator = built([50, 100], seed=3)
    w = weights_of(generator)
    assert abs(w["bias_0"].mean() - 3.0) < 0.01
    assert 0.005 < w["bias_1"].std() < 0.015
    first, _ = generator.generate()
    np.testing.assert_allclose(first, LIMIT * np.tanh(3.0), atol=0.01)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_gradients_agree_with_finite_differences(order):
    generator = shuffled(built([2, 3, 4], order, hidden=(6,)), 0.4)
    slopes = [np.random.default_rng(0).normal(size=n).astype("float32") for n in (2, 3, 4)]

    def value():
        return sum(ops.sum(ops.multiply(a, b)) for a, b in zip(generator.generate(), slopes, strict=True))

    found = gradients(value, generator.weights)
    assert all(gradient is not None for gradient in found)
    for weight, gradient in zip(generator.weights, found, strict=True):
        start = array(weight)
        direction = np.random.default_rng(1).normal(size=start.shape)
        step = 2e-3
        ends = []
        for sign in (1.0, -1.0):
            weight.assign(start + sign * step * direction)
            ends.append(float(array(value())))
        weight.assign(start)
        finite = (ends[0] - ends[1]) / (2 * step)
        assert np.sum(gradient * direction) == pytest.approx(finite, rel=1e-2, abs=2e-2)


@pytest.mark.parametrize("hidden", [(), (64,)])
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_a_step_of_adam_moves_all_logits_about_as_far(order, hidden):
    """Through the many weights of a kernel no further than through one bias, however many there are."""
    generator = built([200, 50, 300], order, hidden, initial_open_probability=0.9, seed=1)
    before = [np.arctanh(ops.convert_to_numpy(logits) / LIMIT) for logits in generator.generate()]
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(3):
        slopes = gradients(lambda: sum(ops.sum(logits) for logits in generator.generate()), generator.weights)
        optimizer.apply([ops.convert_to_tensor(each) for each in slopes], generator.weights)
    after = [np.arctanh(ops.convert_to_numpy(logits) / LIMIT) for logits in generator.generate()]
    # A bias alone goes 0.03; with kernels stored as they act it was 3 and more.
    ways = [np.max(np.abs(a - b)) for a, b in zip(before, after, strict=True)]
    assert min(ways) > 0.02 and max(ways) < 0.25


def network(depth, gate="hard_concrete", order="forward", **generator_arguments):
    inputs = keras.Input((3,))
    logits = GateGenerator([4 + i % 3 for i in range(depth)], order, **generator_arguments)(inputs)
    x = inputs
    for i in range(depth):
        x = GatedDense(4 + i % 3, activation="relu", gate=gate, name=f"dense_{i}")(x, logits=logits[i])
    return GatedModel(inputs, keras.layers.Dense(2, name="out")(x))


def operations(depth):
    tf = tensorflow("it counts operations of TensorFlow's graph")
    model = network(depth)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(model(x, training=True))
            with generated_once():
                y += sum(tf.reduce_sum(gate.open_probability()) for gate in model.gates)
        return tape.gradient(y, [w.value for w in model.trainable_variables])

    return len(step.get_concrete_function(tf.TensorSpec((8, 3))).graph.get_operations())


@pytest.mark.parametrize("depths", others_slow([((6, 10, 16),), ((6, 10, 30, 50),)], 1), ids=str)
def test_operations_grow_linearly(depths):
    """Per gate, a step of many gates has as many operations as one of 10."""
    counts = [operations(depth) for depth in depths]
    per_gate = [(b - a) / (n - m) for a, b, m, n in zip(counts, counts[1:], depths, depths[1:], strict=False)]
    assert per_gate == pytest.approx(per_gate[:1] * len(per_gate), rel=0.02)


def test_gates_have_no_variables_of_their_own():
    model = network(3)
    assert not any("gate/" in w.path for w in model.trainable_variables)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    found = gradients(lambda: ops.sum(ops.square(model(x, training=True))), model.trainable_variables)
    assert all(gradient is not None for gradient in found)


# Each once; the rest is slow.
QUICK = {("forward", "mixed_bfloat16", "hard_concrete"), ("backward", "float32", "disarm")}
CELLS = [*itertools.product(("forward", "backward"), ("float32", "mixed_bfloat16"), ("hard_concrete", "disarm"))]


@pytest.mark.parametrize(
    ("order", "policy", "gate"),
    [pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.slow) for cell in CELLS],
)
def test_trains_and_reloads(tmp_path, gate, policy, order):
    keras.config.set_dtype_policy(policy)
    start = BernoulliGate().initial_value() if gate == "disarm" else HardConcreteGate().initial_value()
    model = network(3, gate, order, initial_logits=start, seed=1)
    for each in model.gates:
        np.testing.assert_allclose(each.open_probability(), 0.95, atol=1e-5)
        assert keras.backend.standardize_dtype(each.value().dtype) == "float32"
    model.compile(keras.optimizers.Adam(0.05), "mse")
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    before = weights_of(model.get_layer("gate_generator"))
    model.fit(x, x[:, :2], epochs=4, verbose=0)
    after = weights_of(model.get_layer("gate_generator"))
    assert all(np.any(after[name] != before[name]) for name in before)
    path = str(tmp_path / "model.keras")
    model.save(path)
    (reloaded,) = predict_in_fresh_process(path, x, tmp_path)
    expected = ops.convert_to_numpy(ops.cast(model(x, training=False), "float32"))
    np.testing.assert_allclose(reloaded, expected, atol=1e-6)
    again = keras.saving.load_model(path)
    assert [w.path for w in again.trainable_variables] == [w.path for w in model.trainable_variables]
    for a, b in zip(model.gates, again.gates, strict=True):
        np.testing.assert_array_equal(a.test_gates(), b.test_gates())


def test_logits_keep_their_precision():
    """Under a mixed policy the call must see the very logits that pruning will ask for."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((8, 8, 2))
    logits = GateGenerator([3], initial_logits=1.2345)(inputs)
    x = GatedConv2D(3, 1, use_bias=False, kernel_initializer="ones", gate=Recorder())(inputs, logits=logits[0])
    model = GatedModel(inputs, x)
    model(np.ones((1, 8, 8, 2), "float32"))
    assert Recorder.dtypes == {"float32"}


class Recorder(HardConcreteGate):
    dtypes = set()

    def draw(self, training=False, batch_size=None, logits=None, noise=None):
        Recorder.dtypes.add(keras.backend.standardize_dtype(logits.dtype))
        return super().draw(training, batch_size, logits, noise)


def test_stand_alone_gates():
    inputs = keras.Input((5,))
    logits = GateGenerator([5, 1], initial_open_probability=0.5)(inputs)
    gate = HardConcreteGate(l0=2.0)
    x = HardConcreteGate(axis=None)(gate(inputs, logits=logits[0]), logits=logits[1])
    model = GatedModel(inputs, x)
    assert len(model.trainable_variables) == 3
    model(np.ones((2, 5), "float32"), training=True)
    np.testing.assert_allclose(sum(model.losses), 2.0 * 5 * 0.5, rtol=1e-5)


def test_generated_once():
    generator = built([2, 3])
    calls = []
    chain = generator._chain
    generator._chain = lambda: calls.append(1) or chain()
    with generated_once():
        first = generator.generate()
        with generated_once():
            assert generator.generate()[1] is first[1]
        assert generator.generate()[0] is first[0]
    assert len(calls) == 1
    generator.generate()
    assert len(calls) == 2


def test_same_seed_same_weights():
    one, two, other = built([4, 5], seed=1), built([4, 5], seed=1), built([4, 5], seed=2)
    for a, b, c in zip(one.weights, two.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(np.array(a) != np.array(c))


def test_config():
    for generator in (
        GateGenerator([2, 3]),
        GateGenerator((2, 3), "backward", (4,), None, 0.7, 3.0, "he_uniform", 5),
    ):
        config = generator.get_config()
        again = GateGenerator.from_config(json.loads(json.dumps(config)))
        assert again.get_config() == config


@pytest.mark.parametrize(
    "arguments",
    [
        {"units": []},
        {"units": [3, 0]},
        {"units": 3},
        {"units": [2], "hidden": [0]},
        {"units": [2], "order": "sideways"},
        {"units": [2], "limit": 0.0},
        {"units": [2], "initial_logits": 4.7},
        {"units": [2], "initial_open_probability": 1.0},
        {"units": [2], "initial_open_probability": 0.5, "initial_logits": 0.0},
    ],
)
def test_bad_arguments(arguments):
    name = list(arguments)[-1]
    with pytest.raises(ValueError, match=rf"`{name}` must .* Received: {name}="):
        GateGenerator(**arguments)


def test_logits_from_elsewhere():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match=r"`logits` must come straight .* Received: the output of"):
        HardConcreteGate()(inputs, logits=keras.layers.Dense(3)(inputs)[0])
