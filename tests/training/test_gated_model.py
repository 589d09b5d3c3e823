"""GatedModel trains Bernoulli gates: against exact enumeration, through compile and fit."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import array, tensorflow
from tests.slow import others_slow
from tests.training import enumeration
from tests.training.enumeration import assert_unbiased, exact_gradients, fit_moments, network
from tfgates import GatedModel, gates, layers
from tfgates.gates import links
from tfgates.training import estimation

ESTIMATORS = ("ar", "arm", "disarm", "reinforce_leave_one_out")
# Steps after which a bias of 5 % shows; one of 15 % does after a ninth of them.
STEPS = {"ar": 48_000, "arm": 30_000, "disarm": 26_000, "reinforce_leave_one_out": 30_000}


# `tests/training/test_passes.py` compares them with all draws, to a thousandth, and is quick.
@pytest.mark.slow
@pytest.mark.parametrize("link, visible, estimators", [(link, 0.05, ESTIMATORS) for link in enumeration.LINKS])
def test_gradients_are_those_of_the_enumeration(link, visible, estimators):
    """Each estimator is unbiased, and their variances order as theory says."""
    x, y = enumeration.data()
    traces = {}
    for estimator in estimators:
        steps = enumeration.enough(STEPS[estimator], visible)
        found = fit_moments(network(estimator, link), x, y, steps)
        assert_unbiased(found, exact_gradients(network(estimator, link), x, y, link), visible)
        traces[estimator] = [np.trace(covariance) * steps for _, covariance in found]
    for ordered in zip(*(traces[name] for name in ("disarm", "arm", "ar") if name in traces), strict=True):
        assert all(one <= other for one, other in itertools.pairwise(ordered)) and ordered[0] < ordered[-1]


def test_the_factor_of_the_reference_code_is_found_out():
    class WithoutDerivative(links.HardSigmoid):
        def log_odds(self, logits):
            return self.slope * logits

    x, y = enumeration.data()
    model = network("disarm", "hard_sigmoid")
    for gate in model.gates:
        gate.link = WithoutDerivative()
    found = fit_moments(model, x, y, enumeration.enough(STEPS["disarm"], 0.1))
    with pytest.raises(AssertionError) as error:
        assert_unbiased(found, exact_gradients(model, x, y, "hard_sigmoid"), visible=0.1)
    assert "too few draws" not in str(error.value)


@pytest.mark.parametrize("visible", [0.1, pytest.param(0.05, marks=pytest.mark.slow)])
@pytest.mark.parametrize("estimator", others_slow(["disarm", "arm", "reinforce_leave_one_out"], 1))
def test_gradient_per_example(estimator, visible):
    x, y = enumeration.data(normalise=False)
    weights = np.array([0.5, 1.5, 1.0, 1.0], "float32")
    model = network(estimator, "sigmoid", sampling="example", normalise=False)
    found = fit_moments(model, x, y, round(24_000 * (0.05 / visible) ** 2), sample_weight=weights)
    assert_unbiased(found, exact_gradients(model, x, y, "sigmoid", normalise=False, weights=weights), visible)


@pytest.mark.slow
@pytest.mark.parametrize("visible", [0.1, 0.05])
def test_gradient_per_example_of_ar(visible):
    x, y = enumeration.data(normalise=False)
    model = network("ar", "hard_sigmoid", sampling="example", normalise=False)
    found = fit_moments(model, x, y, round(34_000 * (0.05 / visible) ** 2))
    assert_unbiased(found, exact_gradients(model, x, y, "hard_sigmoid", normalise=False), visible)


class OwnCall(GatedModel):
    """Two gated layers in a model with a call of its own, which is built at the first step."""

    def __init__(self, estimator="arm", **kwargs):
        super().__init__(**kwargs)
        # Draws of which most differ, so that a few steps move every gate.
        gate = gates.get(estimator, initial_open_probability=0.5)
        self.first = layers.GatedDense(4, gate=gate, name="first")
        self.dropout = keras.layers.Dropout(0.5)
        self.normalisation = keras.layers.BatchNormalization()
        self.last = keras.layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.dropout(self.first(inputs, training=training), training=training)
        return self.last(self.normalisation(x, training=training))


class OwnInit(GatedModel):
    """A functional model with a constructor of its own."""

    def __init__(self, units=3):
        inputs = keras.Input((3,))
        gate = gates.get("arm", initial_open_probability=0.5)
        super().__init__(inputs, layers.GatedDense(units, gate=gate)(inputs))


def batch(outputs=2, size=32):
    generator = np.random.default_rng(5)
    x = generator.normal(size=(size, 3)).astype("float32")
    return x, generator.normal(size=(size, outputs)).astype("float32")


def functional(gate, sampling="batch", **arguments):
    inputs = keras.Input((3,))
    settings = {} if gate == "hard_concrete" else {"initial_open_probability": 0.5}
    made = gates.get(gate, sampling=sampling, seed=3, **settings)
    x = layers.GatedDense(4, activation="tanh", gate=made, name="first")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5, seed=4)(x)
    return GatedModel(inputs, keras.layers.Dense(2, name="last")(x), **arguments)


def logits_change(model, x, y, **settings):
    gate = model.gates[0]
    model.compile(keras.optimizers.SGD(1.0), "mse", **settings)
    before = array(gate.logits) if gate.built else np.float32(gate.initial_value())
    model.fit(x, y, batch_size=len(x), epochs=3, verbose=0)
    return ops.convert_to_numpy(gate.logits) - before


# Keras compiles nothing when it runs eagerly.
KINDS = {"call": OwnCall, "init": OwnInit, "arm": lambda: functional("arm"), "ar": lambda: functional("ar")}
WAYS = {"graph": {}, "compiled": {"jit_compile": True}, "eager": {"run_eagerly": True}}
QUICK = [("call", "graph"), ("init", "eager"), ("arm", "compiled"), ("ar", "graph")]


@pytest.mark.parametrize(("kind", "way"), others_slow(itertools.product(KINDS, WAYS), QUICK))
def test_kinds_of_model_train(kind, way):
    model = KINDS[kind]()
    x, y = batch(3 if isinstance(model, OwnInit) else 2)
    assert np.any(logits_change(model, x, y, **{"jit_compile": False, **WAYS[way]}) != 0.0)


def test_a_functional_model_leaves_the_class_usable_for_subclasses():
    functional("arm")
    OwnInit()
    model = OwnCall()
    x, y = batch()
    assert np.any(logits_change(model, x, y) != 0.0)
    assert isinstance(OwnInit(), GatedModel)


@pytest.mark.parametrize("sampling", ["batch", "example"])
def test_updates_wait_for_the_second_pass(monkeypatch, sampling):
    """By their data: TensorFlow's graph optimizer drops control dependencies of reads that it fuses."""
    tf = tensorflow("it looks into graphs and tapes of TensorFlow")
    made, with_outputs = [], estimation.with_outputs
    monkeypatch.setattr(estimation, "with_outputs", lambda *given: made.append(given[-1]) or with_outputs(*given))
    model = functional("arm", sampling)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    x, y = batch()
    step = tf.function(lambda *given: model.train_step(given))
    graph = step.get_concrete_function(tf.constant(x), tf.constant(y)).graph
    handles = [
        inner for outer, inner in graph.captures if any(outer is v.value.handle for v in model.trainable_variables)
    ]
    written = [op for op in graph.get_operations() if op.type == "AssignSubVariableOp"]
    updates = [op for op in written if any(op.inputs[0] is handle for handle in handles)]
    assert len(updates) == len(model.trainable_variables) == len(handles)
    for update in updates:
        found, left = set(), list(update.inputs)
        while left:
            tensor = left.pop()
            if tensor.ref() not in found:
                found.add(tensor.ref())
                # Each output of an IdentityN is one of its inputs.
                left.extend(
                    [tensor.op.inputs[tensor.value_index]] if tensor.op.type == "IdentityN" else tensor.op.inputs
                )
        assert made[0].ref() in found, update.name


def test_the_same_seed_gives_the_same_run():
    """Two passes with different masks for each example, fused layers, and updates that follow at once."""
    keras.utils.set_random_seed(0)
    model = functional("arm", "example")
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.optimizer.build(model.trainable_variables)
    state = [*model.variables, *model.optimizer.variables]
    start, results = [ops.convert_to_numpy(v) for v in state], []
    for _ in range(3):
        for variable, value in zip(state, start, strict=True):
            variable.assign(value)
        x, y = batch()
        model.fit(x, y, batch_size=8, epochs=12, shuffle=False, verbose=0)
        results.append([ops.convert_to_numpy(v) for v in model.trainable_variables])
    assert any(np.any(a != v) for a, v in zip(results[0], start, strict=False))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_calls_and_updates(monkeypatch):
    """What only a gate that needs it costs, and that the second pass leaves no trace."""
    calls = []
    original = keras.layers.Dense.call

    @functools.wraps(original)
    def counted(*args, **kwargs):
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(keras.layers.Dense, "call", counted)
    x, y = batch()
    state = {}
    for gate in ("hard_concrete", "ar", "arm", "disarm", "reinforce_leave_one_out"):
        keras.utils.set_random_seed(1)
        model = functional(gate)
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"], run_eagerly=True)
        for _ in range(2):
            # Before the first step Keras calls the model once more on other backends than TensorFlow.
            calls.clear()
            model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
        assert len(calls) == {"hard_concrete": 2, "ar": 2}.get(gate, 4)
        seeds = {s.name: ops.convert_to_numpy(s) for s in model.variables if s.name == "seed_generator_state"}
        state[gate] = [*model.get_weights()[4:], *seeds.values()]
    # AR and ARM begin with the same draw, so that all that a pass leaves behind must agree bit by bit.
    for ar, other in zip(state["ar"], state["arm"], strict=True):
        np.testing.assert_array_equal(ar, other)


@pytest.mark.parametrize("gate", ["arm", "disarm"])
def test_passes_differ_in_the_gates_alone(gate):
    """Gates that are open for certain get exactly no gradient, with dropout and other gates beside."""
    inputs = keras.Input((3,))
    x = layers.GatedDense(4, activation="tanh", gate=gates.get(gate, seed=3))(inputs)
    x = layers.GatedDense(4, gate=gates.HardConcreteGate(seed=1))(keras.layers.Dropout(0.5, seed=2)(x))
    x = keras.layers.GaussianNoise(1.0, seed=5)(keras.layers.BatchNormalization()(x))
    model = GatedModel(inputs, keras.layers.Dense(2)(x))
    model.gates[0].logits.assign(np.full(4, 40.0))
    np.testing.assert_array_equal(logits_change(model, *batch()), 0.0)
    model.gates[0].logits.assign(np.zeros(4))
    assert np.any(logits_change(model, *batch()) != 0.0)


@pytest.mark.parametrize("kind", ["activity_regularizer", "add_loss"])
def test_losses_of_layers_are_seen(kind):
    """With a loss that lies in a layer alone the gates are driven by it, in the right direction."""

    class Charge(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(ops.sum(ops.square(inputs)))
            return inputs

    regularizer = keras.regularizers.L2(1.0) if kind == "activity_regularizer" else None
    inputs = keras.Input((3,))
    gate = gates.BernoulliGate(initial_open_probability=0.5, estimator="disarm")
    x = layers.GatedDense(1, gate=gate, kernel_regularizer="l2", activity_regularizer=regularizer)(inputs)
    if kind == "add_loss":
        x = Charge()(x)
    model = GatedModel(inputs, x)
    model.compile(keras.optimizers.SGD(0.01), loss=None)
    model.fit(batch()[0], verbose=0, epochs=20)
    logits = ops.convert_to_numpy(model.gates[0].logits)
    assert np.all(logits < 0.0)


def test_reported_loss_is_untouched_and_metrics_are_updated_once():
    inputs = keras.Input((3,))
    x = layers.GatedDense(4, gate="arm")(inputs)
    model = GatedModel(inputs, [keras.layers.Dense(1, name="a")(x), keras.layers.Dense(1, name="b")(x)])
    model.gates[0].logits.assign(np.full(4, 40.0))
    model.compile(keras.optimizers.SGD(0.0), ["mse", "mae"], loss_weights=[1.0, 3.0])
    x, y = batch()
    history = model.fit(x, [y[:, :1], y[:, 1:]], batch_size=8, verbose=0).history
    evaluated = model.evaluate(x, [y[:, :1], y[:, 1:]], verbose=0, return_dict=True)
    for name, value in evaluated.items():
        assert history[name][0] == pytest.approx(value, rel=1e-5)
    assert history["loss"][0] == pytest.approx(history["a_loss"][0] + 3 * history["b_loss"][0], rel=1e-5)


def test_hard_concrete_and_bernoulli_gates_mix():
    x, y = enumeration.data(normalise=False)
    plain = network("disarm", "sigmoid", normalise=False)
    mixed = network("disarm", "sigmoid", normalise=False)
    source = mixed.get_layer("last").output
    # Hard-concrete gates that are certain to be open leave the network what it was.
    outputs = gates.HardConcreteGate(logits_limit=None)(source)
    mixed = GatedModel(mixed.inputs, outputs)
    mixed.gates[-1].logits.assign(np.full(2, 40.0))
    found = fit_moments(mixed, x, y, 7_500)
    exact = exact_gradients(plain, x, y, "sigmoid", normalise=False)
    assert_unbiased(found[:2], exact, visible=0.12)


def test_shared_noise_is_one_draw():
    """A gate used twice with one noise must be charged once: the sum of both uses is its loss."""
    found = []
    for shared in (False, True):
        keras.utils.set_random_seed(9)
        inputs = keras.Input((2,))
        gate = gates.BernoulliGate(initial_open_probability=0.6, estimator="disarm", seed=1)
        noise = layers.GateNoise(2, seed=1)(inputs)
        calls = [gate(inputs, noise=noise), gate(2.0 * inputs, noise=noise)] if shared else [gate(3.0 * inputs)]
        outputs = keras.layers.Add()(calls) if shared else calls[0]
        model = GatedModel(inputs, outputs)
        x = np.array([[1.0, -2.0]], "float32")
        found.append(fit_moments(model, x, np.zeros((1, 2), "float32"), 2_000, loss="mse"))
    # Loss 1/2 * sum of z * (3 x)^2, linear in z: DisARM has this mean.
    p = 0.6
    exact = 7.0 * p * (1.0 - p) * 0.5 * 9.0 * np.array([1.0, 4.0])
    for ((mean, covariance),) in found:
        np.testing.assert_array_less(np.abs(mean - exact), 4.0 * np.sqrt(np.diag(covariance)))


@pytest.mark.parametrize("sampling", ["batch", "example"])
def test_logits_from_a_generator(sampling):
    inputs = keras.Input((3,))
    (logits,) = layers.GateGenerator([4], initial_logits=0.1)(inputs)
    gate = gates.BernoulliGate(sampling=sampling)
    model = GatedModel(inputs, layers.GatedDense(4, gate=gate)(inputs, logits=logits))
    generator = next(layer for layer in model.layers if isinstance(layer, layers.GateGenerator))
    before = [array(v) for v in generator.trainable_variables]
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(*batch(4), batch_size=8, epochs=2, verbose=0)
    after = [ops.convert_to_numpy(v) for v in generator.trainable_variables]
    assert before
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))


def test_gated_weights():
    inputs = keras.Input((3,))
    gate = gates.BernoulliGate(initial_open_probability=0.5)
    model = GatedModel(inputs, layers.GatedDense(2, gate=gate, granularity="weight")(inputs))
    assert np.any(logits_change(model, *batch()) != 0.0)
    assert model.gates[0].logits.shape == (3, 2)


def test_nested_gated_model():
    inner = functional("arm")
    inputs = keras.Input((3,))
    model = GatedModel(inputs, inner(inputs))
    assert np.any(logits_change(model, *batch()) != 0.0)


def test_custom_training_step():
    tf = tensorflow("it looks into graphs and tapes of TensorFlow")
    model = functional("arm")
    x, y = (ops.convert_to_tensor(a) for a in batch())
    model.compile(loss="mse")
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), training=True)
    assert np.any(tape.gradient(loss, model.gates[0].logits.value) != 0.0)
    # The loss of another pass than the last: its draws are not known, which is said.
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        loss = ops.mean(ops.square(y_pred - y))
    with pytest.raises(ValueError, match="can be trained only in a tfgates.GatedModel"):
        tape.gradient(loss, model.gates[0].logits.value)


def test_gates_called_in_another_order_are_refused():
    class Alternating(GatedModel):
        def __init__(self):
            super().__init__()
            self.pair = [gates.BernoulliGate(name="a"), gates.BernoulliGate(name="b")]
            self.calls = 0

        def build(self, input_shape):
            for gate in self.pair:
                gate.build(input_shape)

        def call(self, inputs, training=False):
            self.calls += 1
            first, second = self.pair if self.calls % 2 else reversed(self.pair)
            return second(first(inputs, training=training), training=training)

    model = Alternating()
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="must call the same gates in the same order. Received: "):
        model.fit(*batch(3), verbose=0)


@pytest.mark.parametrize("sampling", ["batch", "example"])
def test_save_and_load(tmp_path, sampling):
    model = functional("arm", sampling)
    x, y = batch()
    logits_change(model, x, y)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, GatedModel)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    # Keras does not save where the noise of a dropout stands; gates do.
    for old, new in zip(model.layers, again.layers, strict=True):
        if isinstance(old, keras.layers.Dropout):
            new.seed_generator.state.assign(array(old.seed_generator.state))
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    again.fit(x, y, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(again.gates[0].logits, model.gates[0].logits)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert np.any(logits_change(functional("arm"), *batch()) != 0.0)
