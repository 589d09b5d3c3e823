"""What is said where the pace of a budget cannot be the one that was meant."""

import warnings

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :2]


def gated(**pace):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(6, activation="relu")(inputs)))
    model = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5, **pace))
    model.compile("sgd", "mse")
    return model


def endless():
    while True:
        yield X[:8], Y[:8]


class Loader:
    """Batches with a length, as PyTorch's loaders are."""

    def __len__(self):
        return 8

    def __iter__(self):
        return iter([(X[i : i + 8], Y[i : i + 8]) for i in range(0, 64, 8)])


def said(train):
    """What training warns of, except for budgets that are not met."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        train()
    texts = [str(each.message) for each in found if each.category is tfgates.GatesWarning]
    return [text for text in texts if "budget is in force" in text or "paced by" in text]


class Stop(keras.callbacks.Callback):
    """Ends a training whose data have no end."""

    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_steps_that_are_not_known():
    model = gated()

    def train():
        with pytest.raises(KeyboardInterrupt):
            model.fit(endless(), epochs=2, callbacks=[Stop()], verbose=0)

    (text,) = said(train)
    assert "number of steps of this `fit` is not known" in text and "`steps_per_epoch`" in text
    assert text.endswith("of type generator. Received: budget=Budget(macs=0.5)")
    # Once is enough.
    assert said(train) == []


def test_steps_that_are_told_or_not_asked_for():
    model = gated()
    assert said(lambda: model.fit(endless(), epochs=2, steps_per_epoch=5, verbose=0)) == []
    np.testing.assert_allclose(array(model._pace), [[5.0, 2.0, 5.0]])
    exact = gated(warm_up=3, ramp=4)

    def train():
        with pytest.raises(KeyboardInterrupt):
            exact.fit(endless(), callbacks=[Stop()], verbose=0)

    assert said(train) == []


def test_data_with_a_length():
    assert tfgates.training.steps.steps_of({"x": Loader(), "epochs": 3}) == 24
    assert tfgates.training.steps.steps_of({"x": [[1.0, 2.0], [3.0, 4.0]], "epochs": 3}) is None


def test_data_whose_length_is_asked_in_vain():
    class Endless(Loader):
        def __len__(self):
            raise TypeError("no length")

    for x in (Endless(), "text", np.float32(3.0)):
        assert tfgates.training.steps.steps_of({"x": x, "epochs": 3}) is None


def test_no_epoch_is_no_first_fit():
    model = gated()
    assert said(lambda: model.fit(X, Y, epochs=3, initial_epoch=3, verbose=0)) == []
    assert model._paced_epochs is None and not model._said_of_pace


def test_frozen_gates_have_no_pace():
    model = gated()
    model.fit(X, Y, epochs=1, verbose=0)
    tfgates.freeze_gates(model)
    model.compile("sgd", "mse")
    assert said(lambda: model.fit(X, Y, epochs=2, verbose=0)) == []


def test_a_training_that_began_without_fit():
    model = gated()
    model.train_on_batch(X[:8], Y[:8])
    (text,) = said(lambda: model.fit(X, Y, epochs=3, verbose=0))
    assert text.startswith(f"`{model.name}` had been trained before this `fit`, its first")
    exact = gated(warm_up=3, ramp=4)
    exact.train_on_batch(X[:8], Y[:8])
    assert said(lambda: exact.fit(X, Y, epochs=3, verbose=0)) == []


@pytest.mark.parametrize("train", ["fit", "tfgates.fit"])
def test_epochs_one_by_one(train):
    model = gated()

    def epoch(number):
        given = {"initial_epoch": number, "epochs": number + 1, "verbose": 0}
        model.fit(X, Y, **given) if train == "fit" else tfgates.fit(model, X, Y, **given)

    assert said(lambda: epoch(0)) == []
    (text,) = said(lambda: epoch(1))
    assert "paced by its first `fit`, of one epoch" in text and "in one call of `fit`" in text
    assert said(lambda: epoch(2)) == []


def test_more_epochs_and_loaded_models_are_no_reason(tmp_path):
    model = gated()
    assert said(lambda: model.fit(X, Y, epochs=3, verbose=0)) == []
    assert said(lambda: model.fit(X, Y, epochs=2, verbose=0)) == []
    model.save(tmp_path / "gated.keras")
    again = keras.saving.load_model(tmp_path / "gated.keras")
    assert said(lambda: again.fit(X, Y, epochs=1, verbose=0)) == []
