"""`loss` is the task's, in training and in evaluation; what open units cost stands beside it."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tfgates import GatedModel, gates, layers

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :2] * 0.5


def network(heads=1):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="tanh", kernel_regularizer="l2", activity_regularizer="l1")(inputs)
    outputs = [keras.layers.Dense(2, name=f"head{i}")(x) for i in range(heads)]
    return keras.Model(inputs, outputs if heads > 1 else outputs[0])


def structure_loss(model):
    """What open units cost, by hand: a penalty of 2 on MACs and an `l0` of 0.01 per weight."""
    macs = model._structure.cost.fractions()[1]
    (gate,) = model.gates
    return float(2.0 * macs + 0.01 * gate.weights_per_unit * np.sum(gate.open_probability()))


@pytest.mark.parametrize("heads", [1, 2])
def test_evaluation_tells_the_loss_of_the_task(heads):
    """With all gates open at inference the gated network has the very loss of the plain one."""
    plain, y = network(heads), [Y] * heads if heads > 1 else Y
    model = tfgates.gate_model(plain, "disarm", penalty={"macs": 2.0}, l0=0.01, seed=1, link="hard_sigmoid")
    for each in (plain, model):
        each.compile("sgd", "mse", metrics=[["mae"]] * heads)
    (gate,) = model.gates
    gate.logits.assign(gate.logits * 0 + 9.0)
    expected, found = (each.evaluate(X, y, verbose=0, return_dict=True) for each in (plain, model))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert found["structure_loss"] == pytest.approx(structure_loss(model), rel=1e-5) and found["structure_loss"] > 2.0
    assert set(found) == set(expected) | {"structure_loss", "expected_macs", "expected_params"}


@pytest.mark.parametrize("gate", ["hard_concrete", "arm", "disarm"])
def test_training_tells_both_and_minimises_both(gate):
    """The gradient is that of the sum, the value that of the task alone; the logs show both figures."""
    tf = tensorflow("it uses tapes and strategies of TensorFlow")
    plain, costs = network(), {"penalty": {"macs": 2.0}, "l0": 0.01}
    losses, gradients = [], []
    for arguments in ({}, costs):
        model = tfgates.gate_model(plain, gate, seed=1, **arguments)
        model.compile(keras.optimizers.SGD(0.0), "mse", gate_optimizer=None)
        with tf.GradientTape() as tape:
            losses.append(model.compute_loss(X, Y, model(X, training=True), training=True))
        gradients.append(tape.gradient(losses[-1], model.gates[0].logits))
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-6)
    (own,) = model.gates
    with tf.GradientTape() as tape:
        macs = model._structure.cost.fractions()[1]
        cost = 2.0 * macs + 0.01 * own.weights_per_unit * keras.ops.sum(own.open_probability())
    np.testing.assert_allclose(gradients[1] - gradients[0], tape.gradient(cost, own.logits), rtol=1e-4)
    history = model.fit(X, Y, batch_size=32, verbose=0, validation_data=(X, Y)).history
    assert history["structure_loss"][0] == pytest.approx(structure_loss(model), rel=1e-5)
    assert history["val_structure_loss"] == pytest.approx(history["structure_loss"], rel=1e-5)
    assert 0 < history["loss"][0] < 1.0 < history["structure_loss"][0]


def test_a_budget_pulls_and_the_loss_stays_the_tasks():
    model = tfgates.gate_model(network(), budget=tfgates.Budget(macs=0.3, warm_up=0, ramp=0), seed=1)
    model.compile("adam", "mse")
    history = model.fit(X, Y, epochs=20, batch_size=8, verbose=0, validation_data=(X, Y)).history
    assert history["structure_loss"][0] > 10.0
    assert max(history["loss"] + history["val_loss"]) < 1.0
    assert history["expected_macs"][-1] < 0.5 * history["expected_macs"][0]


def test_a_loss_that_is_no_number_shows():
    """Callbacks such as TerminateOnNaN watch `loss`: it is no number where the structure's is none."""
    model = tfgates.gate_model(network(), penalty={"macs": 2.0}, seed=1)
    model.compile("sgd", "mse")
    model.gates[0].logits.assign(model.gates[0].logits * np.nan)
    assert np.isnan(model.fit(X, Y, verbose=0).history["loss"][0])


def test_models_without_any_cost_of_units_have_no_such_metric():
    model = tfgates.gate_model(network(), "scaling")
    model.compile("sgd", "mse")
    logs = model.fit(X, Y, verbose=0, callbacks=[tfgates.callbacks.SparseScaling(0.1)]).history
    assert "structure_loss" not in logs
    assert logs["loss"][0] < 1.0


def test_models_with_a_call_of_their_own_and_compiled_again():
    class Own(GatedModel):
        def __init__(self):
            super().__init__()
            self.hidden = layers.GatedDense(6, gate=gates.HardConcreteGate(l0=1.0))
            self.head = keras.layers.Dense(2)

        def call(self, inputs):
            return self.head(self.hidden(inputs))

    model = Own()
    for _ in range(2):
        model.compile("sgd", "mse")
    logs = model.fit(X, Y, batch_size=32, verbose=0).history
    assert logs["structure_loss"][0] == pytest.approx(6 * 5 * 0.95, rel=0.05)
    assert logs["loss"][0] < 10.0
    assert [metric.name for metric in model.metrics].count("structure_loss") == 1


def test_replicas_tell_the_same():
    tf = tensorflow("it uses tapes and strategies of TensorFlow")
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = tfgates.gate_model(network(), penalty={"macs": 2.0}, l0=0.01, seed=1)
        model.compile(keras.optimizers.SGD(0.0), "mse", gate_optimizer=None)
    logs = model.fit(X, Y, batch_size=16, verbose=0).history
    assert logs["structure_loss"][0] == pytest.approx(structure_loss(model), rel=1e-5)
