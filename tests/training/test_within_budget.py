"""Callbacks that choose among epochs choose among those at which the budget holds."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.training.within_budget import holds

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X[:, :2] * 0.5


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


def gated(**budget):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(16, activation="tanh")(inputs)
    model = tfgates.gate_model(
        keras.Model(inputs, keras.layers.Dense(2)(x)), budget=tfgates.Budget(macs=0.5, **budget), seed=1
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def test_early_stopping_and_checkpoints_wait_until_the_budget_holds(tmp_path):
    """They monitor what only rises, so that the first epoch that they see is the best to them."""
    model, path = gated(), str(tmp_path / "best.keras")
    choose = {"monitor": "rising", "mode": "min"}
    early = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True, **choose)
    saving = keras.callbacks.ModelCheckpoint(path, save_best_only=True, **choose)
    number = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(rising=epoch))
    history = model.fit(X, Y, epochs=40, batch_size=8, verbose=0, callbacks=[number, early, saving]).history
    assert early.best_epoch >= 0.7 * 40 - 1 and len(history["loss"]) < 40
    assert holds(model)
    assert history["expected_macs"][early.best_epoch] <= 0.5 * 1.1
    assert holds(keras.models.load_model(path))


def test_whatever_ends_training_above_the_budget_is_told():
    model = gated()
    with pytest.warns(tfgates.GatesWarning, match="ended the training of .* before its budget held.*Received: budget="):
        model.fit(X, Y, epochs=10, verbose=0, callbacks=[Stop()])


class Back(keras.callbacks.Callback):
    """Goes back to the first epoch at the end, as a callback that tfgates does not know."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.weights = self.model.get_weights()

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


def test_weights_of_an_epoch_before_the_budget_held_are_told():
    model = gated()
    with pytest.warns(tfgates.GatesWarning, match="set .* back to weights of an epoch before.*Received: budget="):
        model.fit(X, Y, epochs=40, batch_size=8, verbose=0, callbacks=[Back()])


@pytest.mark.parametrize("kind", ["EarlyStopping", "ModelCheckpoint"])
def test_a_callback_that_had_no_epoch_to_choose_is_told(kind, tmp_path):
    path = tmp_path / "best.weights.h5"
    callback = {
        "EarlyStopping": keras.callbacks.EarlyStopping("loss", restore_best_weights=True),
        "ModelCheckpoint": keras.callbacks.ModelCheckpoint(
            str(path), "loss", save_best_only=True, save_weights_only=True
        ),
    }[kind]
    # One step per epoch: too few for gates to close.
    with pytest.warns(
        tfgates.GatesWarning, match=f"held at the end of no epoch, so {kind} had none.*Received: budget="
    ):
        gated().fit(X, Y, epochs=2, batch_size=64, verbose=0, callbacks=[callback])
    assert not path.exists()


def test_a_choice_that_would_never_be_is_refused_before_the_first_step():
    """64 steps, where warm-up and ramp take 100; what only stops has nothing to lose, and later there is a choice."""
    model = gated(warm_up=50, ramp=50)
    settings = {"epochs": 8, "batch_size": 8, "verbose": 0}
    best = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    with pytest.raises(
        ValueError, match="no epoch to choose: EarlyStopping .*after 64 steps.*100.*Received: EarlyStop"
    ):
        model.fit(X, Y, callbacks=[best], **settings)
    assert int(model.optimizer.iterations) == 0
    model.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping("loss")], **settings)
    model.fit(X, Y, callbacks=[best], **{**settings, "epochs": 20})
    assert holds(model)


def test_a_rate_is_lowered_for_plateaus_within_the_budget_alone():
    """Its loss falls in no epoch, yet until the budget holds the rate stays, and each epoch logs it."""
    plateau = keras.callbacks.ReduceLROnPlateau("never", 0.5, patience=1, mode="min")
    constant = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(never=1.0))
    history = gated().fit(X, Y, epochs=40, batch_size=8, verbose=0, callbacks=[constant, plateau]).history
    rates = history["learning_rate"]
    assert len(rates) == 40 and rates[:27] == pytest.approx([0.01] * 27)
    assert rates[-1] < 0.01


def test_a_list_of_callbacks_that_is_made_already_is_refused():
    early = keras.callbacks.EarlyStopping("loss")
    with pytest.raises(ValueError, match="`callbacks` must be a list .*Received: a CallbackList"):
        gated().fit(X, Y, verbose=0, callbacks=keras.callbacks.CallbackList([early]))
