"""Rules of one's own."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.gates import HardConcreteGate
from tfgates.graph import ElementwiseRule, Rule, Walk, map_constants, register_rule
from tfgates.graph import rule as rules

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Shifted(keras.layers.Layer):
    """`relu(x) + 1`, the 1 one of two weights: single numbers are followed without a rule."""

    def build(self, shape):
        self.offset = self.add_weight(shape=(2,), initializer="ones", trainable=False)

    def call(self, x):
        return ops.relu(x) + self.offset[0]


class Mirrored(keras.layers.Layer):
    """`x` with its channels in the opposite order."""

    def call(self, x):
        return ops.flip(x, axis=-1)


@pytest.fixture
def registry():
    """Takes back what a test registers."""
    before = dict(rules._RULES)
    yield
    rules._RULES.clear()
    rules._RULES.update(before)


def network(layer):
    inputs = keras.Input((5,))
    gate = HardConcreteGate()
    x = gate(K.Dense(6, name="first")(inputs))
    model = keras.Model(inputs, K.Dense(2, name="last")(layer(x)))
    gate.logits.assign([-5.0, 5.0, -5.0, 0.5, 5.0, 5.0])
    return model


def test_a_registered_rule_is_used(registry):
    model = network(Shifted())
    assert tfgates.plan_pruning(model).layers[0].units_left == 6

    @register_rule(Shifted)
    class ShiftedRule(ElementwiseRule):
        def apply(self, walk, node, x):
            return map_constants(node.op, x.value)

    plan = tfgates.plan_pruning(model)
    assert plan.layers[0].units_left == 4 and plan.alone == []
    pruned = tfgates.prune(model, plan=plan)
    # The closed channels are the constant 1 behind the layer, and in the bias of the next.
    last = model.get_layer("last")
    expected = np.array(last.bias) + np.array(last.kernel)[[0, 2]].sum(axis=0)
    np.testing.assert_allclose(pruned.get_layer("last").bias, expected, rtol=1e-6)


def test_a_wrong_rule_is_found_out(registry):
    model = network(Mirrored())

    @register_rule(Mirrored)
    class MirroredRule(ElementwiseRule):
        """Claims that each channel stays where it is."""

    with pytest.raises(tfgates.pruning.PruningError, match="or in a rule that was registered"):
        tfgates.prune(model)


def test_subclasses_need_a_rule_of_their_own():
    class Special(K.Dense):
        pass

    model = network(Special(3))
    assert [name for name, _ in tfgates.plan_pruning(model).alone] == ["special"]


def test_map_constants_maps_each_once_and_keeps_nan():
    seen = []

    def function(x):
        seen.append(np.asarray(x).ravel().tolist())
        return x * 2.0

    result = map_constants(function, np.array([1.0, np.nan, 1.0, 0.0]))
    np.testing.assert_array_equal(result, [2.0, np.nan, 2.0, 0.0])
    assert seen == [[0.0, 1.0]]


def test_the_base_rule_keeps_everything():
    model = network(Mirrored())
    walk = Walk(model)
    assert Rule().why(walk.network.nodes[2]) == "mirrored (Mirrored): tfgates has no rule for this layer"
    assert list(walk.refused) == [2]


def test_gates_must_be_finite():
    model = network(K.ReLU())
    model.layers[2].logits.assign([np.nan] * 6)
    with pytest.raises(
        ValueError, match="values of gate 'hard_concrete_gate' must be finite. Received: 6 of 6 are not"
    ):
        tfgates.plan_pruning(model)
