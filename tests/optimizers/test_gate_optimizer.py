"""The optimizer of the gates gets the gates' variables and nothing else."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.calculus import array, tensorflow
from tfgates import GatedModel, gates, layers
from tfgates.optimizers import gate_learning_rate, with_gate_optimizer
from tfgates.optimizers.gated_optimizer import is_gate_variable


class Scorer(keras.layers.Layer):
    """A layer that calls its weight what a gate calls its own."""

    def build(self, input_shape):
        self.logits = self.add_weight(name="logits", shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.logits


def network():
    inputs = keras.Input((4,))
    x = layers.GatedDense(5, gate="hard_concrete", name="a")(inputs)
    x = Scorer()(keras.layers.RMSNormalization()(x))
    x = gates.ScalingGate(name="unrelated_name")(x)
    x = gates.BernoulliGate(name="b", initial_open_probability=0.5)(x)
    return GatedModel(inputs, keras.layers.Dense(1)(x))


def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(32, 4)).astype("float32"), np.ones((32, 1), "float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_routing(policy):
    keras.config.set_dtype_policy(policy)
    model = network()
    of_gates = [next(iter(gate.trainable_variables)) for gate in model.gates]
    found = [v for v in model.trainable_variables if is_gate_variable(v)]
    assert {id(v) for v in found} == {id(v) for v in of_gates}
    assert len(found) == 3


@pytest.mark.parametrize(("weights_rate", "gates_rate"), [(0.0, 0.5), (0.5, 0.0)])
def test_each_group_follows_its_own_optimizer(weights_rate, gates_rate):
    model = network()
    before = {v.path: array(v) for v in model.trainable_variables}
    model.compile(with_gate_optimizer(keras.optimizers.SGD(weights_rate), keras.optimizers.SGD(gates_rate)), "mse")
    model.fit(*data(), epochs=3, verbose=0)
    gate_paths = {v.path for gate in model.gates for v in gate.trainable_variables}
    for variable in model.trainable_variables:
        moved = np.any(ops.convert_to_numpy(variable) != before[variable.path])
        assert moved == ((gates_rate if variable.path in gate_paths else weights_rate) > 0)


def generated_network():
    inputs = keras.Input((4,))
    logits = layers.GateGenerator([5, 3], hidden=(2,), seed=0)(inputs)
    x = layers.GatedDense(5, gate="hard_concrete", name="a")(inputs, logits=logits[0])
    x = layers.GatedDense(3, gate="hard_concrete", name="b")(x, logits=logits[1])
    return GatedModel(inputs, keras.layers.Dense(1)(x))


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_generator_is_updated_with_the_gates(tmp_path, reloaded):
    model = generated_network()
    if reloaded:
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    (generator,) = (layer for layer in model.layers if isinstance(layer, layers.GateGenerator))
    found = [v for v in model.trainable_variables if is_gate_variable(v)]
    assert {id(v) for v in found} == {id(v) for v in generator.trainable_variables}
    assert len(found) == 5
    before = {v.path: array(v) for v in model.trainable_variables}
    model.compile(with_gate_optimizer(keras.optimizers.SGD(0.0), keras.optimizers.SGD(10.0)), "mse")
    # A draw in which every gate is open has no gradient.
    model.fit(*data(), epochs=12, verbose=0)
    moved = [v for v in model.trainable_variables if np.any(ops.convert_to_numpy(v) != before[v.path])]
    assert all(is_gate_variable(v) for v in moved)
    assert {"bias_0", "bias_1"} <= {v.name for v in moved}


@pytest.mark.parametrize("build", [network, generated_network])
def test_routing_within_a_distribution_scope(build):
    tf = tensorflow("it uses a strategy of TensorFlow")
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = build()
        model.compile(with_gate_optimizer(keras.optimizers.SGD(0.0), keras.optimizers.SGD(1.0)), "mse")
    before = {v.path: array(v) for v in model.trainable_variables}
    model.fit(*data(), epochs=1, verbose=0)
    moved = {v.path for v in model.trainable_variables if np.any(ops.convert_to_numpy(v) != before[v.path])}
    assert moved and moved <= {v.path for v in model.trainable_variables if is_gate_variable(v)}


def test_save_and_load(tmp_path):
    model = network()
    model.compile(with_gate_optimizer("adam", keras.optimizers.SGD(0.1, momentum=0.9)), "mse")
    model.fit(*data(), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Scorer": Scorer})
    assert isinstance(again.optimizer.gate_optimizer, keras.optimizers.SGD)
    assert isinstance(again.optimizer.weights_optimizer, keras.optimizers.Adam)
    for old, new in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    for one in (model, again):
        one.fit(*data(), epochs=2, shuffle=False, verbose=0)
    for old, new in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_errors():
    one = keras.optimizers.SGD()
    with pytest.raises(ValueError, match=r"`gate_optimizer` must be another instance .*Received: "):
        with_gate_optimizer(one, one)
    multi = with_gate_optimizer("sgd", "adam")
    with pytest.raises(ValueError, match=r"`weights_optimizer` must be an optimizer other than .*Received: "):
        with_gate_optimizer(multi, "adam")
    with pytest.raises(ValueError, match=r"`gate_optimizer` must be an optimizer other than .*Received: "):
        with_gate_optimizer("adam", keras.optimizers.LossScaleOptimizer(one))


@pytest.mark.parametrize(("steps", "share"), [(None, 1 / 300), (100, 0.02), (2_500, 0.01), (50_000, 0.002)])
def test_a_rate_with_which_gates_cross_their_range(steps, share):
    made = [gates.HardConcreteGate(), gates.ScalingGate(initial_scale=10.0)]
    travel = 2.0 * np.log(0.95 / 0.05)
    assert gate_learning_rate(made, steps) == pytest.approx(share * travel, rel=1e-6)
    assert gate_learning_rate(made[1:], steps) == pytest.approx(share * 10.0)
