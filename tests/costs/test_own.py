"""A cost of one's own, bytes of activations: counted, bounded, shown and chosen by like parameters and MACs."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.costs import Cost, Summand

K = keras.layers


class ActivationBytes(Cost):
    """What all layers make for one example, in bytes."""

    name, unit = "activation_bytes", "bytes"

    def per_layer(self, call):
        return [Summand(made.bytes_each, made.over) for made in call.outputs if call.remains]


@pytest.fixture(autouse=True)
def activation_bytes():
    tfgates.costs.register_cost(ActivationBytes)
    yield
    tfgates.costs.unregister_cost("activation_bytes")


def network():
    inputs = keras.Input((8, 8, 3))
    x = K.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(6, 3, name="second")(x)))
    return keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))


def measured(model):
    """What the layers of a network make, from their outputs on one example: 4 bytes a number."""
    made = [layer.output for layer in model.layers if not isinstance(layer, K.InputLayer)]
    probe = keras.Model(model.inputs[0], made)
    return sum(4 * np.asarray(value).size for value in probe(np.zeros((1, 8, 8, 3), "float32")))


def test_it_is_counted_as_what_the_layers_make():
    model = network()
    cost = tfgates.cost(model)
    assert cost.activation_bytes == cost.dense_activation_bytes == measured(model)
    (first,) = (row for row in cost.layers if row.name == "first")
    assert first.activation_bytes == 4 * 36 * 8
    assert "activation_bytes" in str(cost) and "activation_bytes" in str(tfgates.plan_pruning(model))
    assert cost.to_dict()["dense_activation_bytes"] == measured(model)
    with pytest.raises(AttributeError, match="no attribute 'activation_byte'"):
        cost.activation_byte  # noqa: B018 (asking for it raises)


def test_the_expectation_is_that_of_the_gates():
    gated = tfgates.gate_model(network())
    first, second = gated.gates
    first.logits.assign(np.linspace(-3.0, 3.0, 8))
    open_units = [float(np.sum(gate.open_probability())) for gate in (first, second)]
    # 36 places behind the first convolution; 16 behind the second, thrice, and one behind the pooling.
    expected = 4 * (36 * open_units[0] + (3 * 16 + 1) * open_units[1] + 2)
    assert tfgates.cost(gated).expected_activation_bytes == pytest.approx(expected, rel=1e-5)


def test_a_budget_on_it_is_kept():
    """From the argument to the pruned network, by way of the loss, the monitor and the choice of units."""
    budget = tfgates.Budget(activation_bytes=0.6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(budget))
    assert again.get_config() == budget.get_config() and repr(again) == "Budget(activation_bytes=0.6)"
    model = network()
    gated = tfgates.gate_model(model, budget=budget)
    gated.compile("adam", "mse")
    x, y = np.ones((8, 8, 8, 3), "float32"), np.zeros((8, 2), "float32")
    logs = gated.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[tfgates.callbacks.SparsityMonitor()]).history
    assert {"activation_bytes", "expected_activation_bytes"} <= set(logs)
    small = tfgates.prune(gated)
    assert measured(small) == tfgates.cost(gated).activation_bytes <= 0.6 * measured(model)
    assert tfgates.report_of(small).plan["activation_bytes"] == measured(small)


@pytest.mark.slow
def test_compress_keeps_a_budget_on_it():
    model = network()
    x, y = np.ones((8, 8, 8, 3), "float32"), np.zeros((8, 2), "float32")
    budget = tfgates.Budget(activation_bytes=f"{int(0.7 * measured(model))} bytes")
    small = tfgates.compress(model, (x, y), budget=budget, loss="mse", epochs=2, verbose=0)
    assert measured(small) <= 0.7 * measured(model)


def test_a_penalty_on_it_is_in_the_loss():
    gated = tfgates.gate_model(network(), penalty={"activation_bytes": 2.0})
    cost = tfgates.cost(gated)
    expected = 2.0 * cost.expected_activation_bytes / cost.dense_activation_bytes
    assert float(gated.structure_loss(training=False)) == pytest.approx(expected, rel=1e-5)


def test_what_is_not_known_is_refused_by_name():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(K.Conv2D(4, 3, name="only")(inputs))))
    with pytest.raises(ValueError, match="no total of activation_bytes .*not counted: only .its cost needs every dim"):
        tfgates.cost(model).activation_bytes  # noqa: B018 (as above)
    with pytest.raises(ValueError, match="`budget` on activation_bytes needs those of every layer"):
        tfgates.gate_model(model, budget=tfgates.Budget(activation_bytes=0.5))


def test_a_model_made_before_the_cost_has_no_budget_on_it():
    gated = tfgates.gate_model(network())
    tfgates.costs.unregister_cost("activation_bytes")
    cost = tfgates.costs.ExpectedCost(gated)
    tfgates.costs.register_cost(ActivationBytes)
    with pytest.raises(ValueError, match="registered before the model was made: those are params, macs. Received"):
        tfgates.Budget(activation_bytes=0.5).bounds(cost, None)


def test_bytes_of_types():
    cells = [tfgates.costs.Activation(3.0, (), dtype).bytes_each for dtype in ("bool", "float16", "int64", "string")]
    np.testing.assert_array_equal(cells, [3.0, 6.0, 24.0, np.nan])
