"""Layers that add to the loss are opened with what they add."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates.graph.network import Network
from tfgates.layers import AddedLoss

K = keras.layers


class Balanced(K.Layer):
    """Two dense layers with a dropout between them; adds a loss, where `when` says.

    Args:
        when: "training", "always", or "number": in training a number that depends on nothing.
    """

    def __init__(self, when="training", **kwargs):
        super().__init__(**kwargs)
        self.when = when
        self.up, self.down = K.Dense(6, activation="relu", name="up"), K.Dense(4, name="down")
        self.drop = K.Dropout(0.5, name="drop")

    def call(self, x, weights=None, training=None):
        y = self.down(self.drop(self.up(x), training=training))
        if self.when == "always" or (training and self.when == "training"):
            steps = ops.shape(x)[1]
            loss = ops.mean(ops.square(y), axis=-1)
            self.add_loss(ops.sum(loss if weights is None else loss * ops.reshape(weights, (-1, steps))))
        elif training and self.when == "number":
            self.add_loss(ops.convert_to_tensor(0.5))
        return y


def network(when="training", weighted=False):
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((None, 4))]
    balanced, more = Balanced(when, name="balanced"), {}
    if weighted:
        inputs.append(keras.Input((None,)))
        more["weights"] = inputs[1]
    return keras.Model(inputs if weighted else inputs[0], K.Dense(2, name="last")(balanced(inputs[0], **more)))


def total(model, x, training):
    """What is added to the loss; without dropout, whose numbers differ."""
    for layer in model._flatten_layers():
        if isinstance(layer, K.Dropout):
            layer.rate = 1e-6
    model(x, training=training)
    return float(sum(np.array(ops.sum(loss)) for loss in model.losses))


@pytest.mark.parametrize("when, weighted", [("training", False), ("training", True), ("always", False)])
def test_what_is_added_is_added_by_what_is_left(when, weighted, tmp_path):
    model = network(when, weighted)
    gated = tfgates.gate_model(model)
    # The loss is a mean over the channels of what is returned: those that are 0 count in what is left.
    assert dict(gated.report.gated) == {"balanced/up": "6 units", "balanced/down": "4 units"}
    gates = {gate.name: gate for gate in gated.gates}
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.unit_shape, 15.0))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3, 5, 4)).astype("float32")
    x = [x, generator.normal(size=(3, 5)).astype("float32")] if weighted else x
    # Told nothing, the dropout in the layer drops nothing.
    np.testing.assert_allclose(np.array(gated(x)), np.array(model(x)), rtol=1e-5, atol=1e-6)
    for training in (True, False):
        expected = total(model, x, training)
        assert (expected != 0.0) is (training or when == "always")
        if not training or when == "training":
            # In training gates draw: they are open here.
            np.testing.assert_allclose(total(gated, x, training), expected, rtol=1e-4)
    gates["balanced_up_gate"].logits.assign(np.where(np.arange(6) % 2, -15.0, 15.0))
    gates["balanced_down_gate"].logits.assign(np.where(np.arange(4) % 2, 15.0, -15.0))
    plan = tfgates.plan_pruning(gated)
    assert "a loss that a layer of yours adds" in str(plan)
    pruned = tfgates.prune(gated, plan=plan)
    pruned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    added = total(gated, x, when == "training")
    for each in (pruned, loaded):
        assert (each.get_layer("balanced_up").units, each.get_layer("balanced_down").units) == (3, 2)
        np.testing.assert_allclose(total(each, x, when == "training"), added, rtol=1e-4)


def test_losses_that_cannot_be_followed():
    (node,) = [node for node in Network(network("number")).nodes if node.name == "balanced"]
    assert node.whole.endswith("it adds numbers to the loss, or a loss to numbers")


def test_channels_that_are_added_to_the_loss_stay():
    inputs = keras.Input((4,))
    hidden = K.Dense(6, activation="relu", name="hidden")(inputs)
    outputs = AddedLoss(name="added")(K.Dense(3, name="last")(hidden), [hidden])
    with pytest.raises(ValueError, match="added: what is added to the loss is kept whole"):
        tfgates.gate_model(keras.Model(inputs, outputs))
    # The other tensor is handed on, and loses its channels.
    again = AddedLoss(name="added")(hidden, [K.Dense(3, name="last")(hidden)])
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(again)))
    assert dict(gated.report.gated) == {"hidden": "6 units"}


def test_a_layer_of_its_own():
    layer = AddedLoss.from_config(AddedLoss(always=True).get_config())
    assert layer.always and not AddedLoss().always
    x = np.ones((2, 3), "float32")
    for made, training, count in ((layer, False, 2), (AddedLoss(), False, 0), (AddedLoss(), True, 2)):
        np.testing.assert_array_equal(np.array(made(x, [ops.ones(()), ops.ones((2,))], training=training)), x)
        assert len(made.losses) == count
    masked = K.Masking()(keras.Input((3, 2)))
    assert getattr(layer(masked, [ops.mean(masked)]), "_keras_mask", None) is masked._keras_mask
