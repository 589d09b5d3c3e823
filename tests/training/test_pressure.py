"""A model whose gates nothing asks to close says so; a penalty or an `l0` closes them as a budget does."""

import warnings

import keras
import numpy as np
import pytest

import tfgates

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :2] * 0.5


def gated(gate="hard_concrete", **arguments):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    return tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x), name="plain"), gate, seed=1, **arguments)


def said(model, callbacks=None, fits=1):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(fits):
            model.fit(X, Y, verbose=0, callbacks=callbacks)
    return [str(each.message) for each in caught if issubclass(each.category, tfgates.GatesWarning)]


@pytest.mark.parametrize("arguments", [{}, {"penalty": {"macs": 0.0}}, {"gate": "disarm"}], ids=str)
def test_training_that_closes_nothing_says_so_once(arguments):
    model = gated(**arguments)
    model.compile("adam", "mse")
    (message,) = said(model, fits=2)
    assert message.startswith("Nothing asks the gates of `plain` to close")
    assert "Received: budget=None" in message


@pytest.mark.parametrize(
    "arguments",
    [{"penalty": {"macs": 1.0}}, {"l0": 0.1}, {"budget": tfgates.Budget(macs=0.5)}, {"gate": "scaling"}],
    ids=str,
)
def test_training_that_closes_gates_says_nothing(arguments):
    model = gated(**arguments)
    model.compile("adam", "mse")
    scaling = [tfgates.callbacks.SparseScaling(0.1)] if arguments.get("gate") == "scaling" else None
    assert said(model, scaling) == []


def test_frozen_gates_and_losses_of_the_user_say_nothing():
    class Own(tfgates.GatedModel):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs) + sum(
                keras.ops.sum(gate.open_probability()) for gate in self.gates
            )

    frozen = gated()
    tfgates.freeze_gates(frozen)
    own = Own(frozen.inputs, frozen.outputs)
    frozen.compile("adam", "mse")
    assert said(frozen) == []
    for gate in own.gates:
        gate.trainable = True
    own.compile("adam", "mse")
    assert said(own) == []


@pytest.mark.parametrize("arguments", [{"penalty": {"macs": 1.0}}, {"l0": 0.02}], ids=str)
def test_a_penalty_closes_gates_with_an_ordinary_optimizer(arguments):
    """Twenty-five epochs with the optimizer of the weights alone leave all of them open."""
    left = {}
    for gate_optimizer in ("auto", None):
        keras.utils.set_random_seed(0)
        model = gated(**arguments)
        model.compile("adam", "mse", gate_optimizer=gate_optimizer)
        model.fit(X, Y, epochs=25, batch_size=16, verbose=0)
        left[gate_optimizer] = int(np.sum(model.gates[0].open_units()))
    assert left["auto"] <= 4
    assert left[None] == 8


def test_the_pace_of_a_penalty_is_that_of_the_first_fit():
    model = gated(penalty={"macs": 1.0})
    model.compile("adam", "mse")
    rate = model.optimizer.gate_optimizer.learning_rate
    before = float(rate)
    model.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    expected = tfgates.optimizers.gate_learning_rate(model.gates, 8)
    assert float(rate) == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(before)
    model.fit(X, Y, epochs=3, batch_size=32, verbose=0)
    assert float(rate) == pytest.approx(expected, rel=1e-6)


def test_a_pruning_that_removes_nothing_says_so():
    model = gated()
    with pytest.warns(
        tfgates.GatesWarning, match="`prune` removes nothing: no unit is closed.*Received: model='plain'"
    ):
        small = tfgates.prune(model)
    assert small.count_params() == 4 * 8 + 8 + 8 * 2 + 2
    model.gates[0].logits.assign([-9.0] + [9.0] * 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfgates.GatesWarning)
        assert tfgates.prune(model).count_params() == 4 * 7 + 7 + 7 * 2 + 2


def test_closed_units_that_must_stay_are_no_reason_to_ask_for_a_budget():
    model = gated()
    model.gates[0].logits.assign([-9.0] + [9.0] * 7)
    with pytest.warns(tfgates.GatesWarning, match="what is closed cannot be cut out"):
        tfgates.prune(model, round_to=8)


@pytest.mark.parametrize("arguments", [{"budget": tfgates.Budget(macs=0.5)}, {"l0": 0.1}], ids=str)
def test_gates_of_layers_that_are_frozen_after_gating_are_named_once(arguments):
    model = gated(**arguments)
    model.layers[1].trainable = False
    model.compile("adam", "mse")
    (message,) = said(model, fits=2)
    assert message.startswith("1 of the 1 gates of `plain` are frozen while they are open")
    # Those of layers that were frozen before train.
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="tanh", trainable=False)
    plain = keras.Model(inputs, keras.layers.Dense(2)(hidden(inputs)), name="plain")
    model = tfgates.gate_model(plain, seed=1, **arguments)
    model.compile("adam", "mse")
    assert said(model) == []
    # After a training that closed something they are frozen to train on.
    model = gated(**arguments)
    model.gates[0].logits.assign([-6.0, *[6.0] * 7])
    tfgates.freeze_gates(model)
    model.compile("adam", "mse")
    assert said(model) == []


def test_a_model_that_was_frozen_is_compiled_again():
    model = gated(budget=tfgates.Budget(macs=0.5))
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    tfgates.freeze_gates(model)
    with pytest.raises(
        ValueError, match="`plain` must be compiled again.*Received: an optimizer with 5 variables, 4 of"
    ):
        model.fit(X, Y, verbose=0)
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    other = gated(budget=tfgates.Budget(macs=0.5))
    other.compile(model.optimizer, "mse", gate_optimizer=None)
    with pytest.raises(ValueError, match="with 4 variables, 0 of them among the 5"):
        other.fit(X, Y, verbose=0)
