"""Three ways to go on after an interruption, each to the bit, for every method."""

import keras
import numpy as np
import pytest

from tests.interruption.methods import METHODS, Interrupt, TrainingEndedError, build, fit, state
from tfgates.callbacks import Resume
from tfgates.callbacks.resume import epochs_in, path_of

EPOCHS, BEFORE = 4, 2
QUICK = ("disarm_budget",)
WAYS = ("resume", "backup_and_restore", "model_checkpoint")


def again(way, method, folder):
    """Callbacks that save, and how to go on from what they saved."""
    if way == "resume":
        return [Resume(folder)]
    if way == "backup_and_restore":
        return [keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)]
    return [keras.callbacks.ModelCheckpoint(folder / "model.keras")]


def check(way, method, folder):
    whole = build(method)
    fit(whole, method, EPOCHS)
    model = build(method)
    callbacks = again(way, method, folder)
    with pytest.raises(TrainingEndedError):
        fit(model, method, EPOCHS, [*callbacks, Interrupt(BEFORE)])
    if way == "model_checkpoint":
        resumed = keras.saving.load_model(folder / "model.keras")
        history = fit(resumed, method, EPOCHS, initial_epoch=BEFORE)
    else:
        # Another start: what is not restored differs.
        resumed = build(method, seed=7)
        history = fit(resumed, method, EPOCHS, again(way, method, folder))
    assert history.epoch == list(range(BEFORE, EPOCHS))
    expected, found = state(whole), state(resumed)
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(b, a)
    # A control: the state does tell runs apart.
    started_anew = state(build(method))
    assert any(a.shape != b.shape or np.any(a != b) for a, b in zip(expected, started_anew, strict=False))


@pytest.mark.parametrize("method", QUICK)
def test_resume(method, tmp_path):
    check("resume", method, tmp_path)


def without_seed():
    """With PyTorch this dropout draws from a generator that is no variable."""
    inputs = keras.Input((6,))
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="tanh")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def test_dropout_without_a_seed(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "without_seed", {"gate": "disarm", "network": without_seed})
    check("resume", "without_seed", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", list(METHODS))
def test_every_way_for_every_method(way, method, tmp_path, monkeypatch):
    if way != "resume":
        without_dropout(monkeypatch)
    check(way, method, tmp_path)


def test_a_file_of_keras(tmp_path, monkeypatch):
    """The other ways of Keras are slow."""
    without_dropout(monkeypatch)
    check("model_checkpoint", "hard_concrete_budget", tmp_path)


def without_dropout(monkeypatch):
    """Keras saves no seeds of its own layers, so that its own ways repeat dropout masks."""
    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, inputs, training=False: inputs)


def test_a_finished_run_has_nothing_left_and_goes_on_with_more_epochs(tmp_path):
    fit(build("ar"), "ar", 2, [Resume(tmp_path)])
    model = build("ar", seed=7)
    assert fit(model, "ar", 2, [Resume(tmp_path)]).epoch == []
    assert fit(model, "ar", 3, [Resume(tmp_path)]).epoch == [2]
    whole = build("ar")
    fit(whole, "ar", 3)
    for a, b in zip(state(whole), state(model), strict=True):
        np.testing.assert_array_equal(b, a)
    # A later `fit` of the same model starts where it is told to.
    assert fit(model, "ar", 1).epoch == [0]


def test_two_states_are_kept_and_left_overs_removed(tmp_path):
    (tmp_path / ".epoch-00001.99.npz").write_bytes(b"half a file")
    fit(build("ar"), "ar", 3, [Resume(tmp_path)])
    assert epochs_in(tmp_path) == {2, 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00002.npz", "epoch-00003.npz"]


def test_states_of_another_model_are_refused(tmp_path):
    fit(build("ar"), "ar", 1, [Resume(tmp_path)])
    with pytest.raises(ValueError, match=r"`folder` must hold states of the very model.*Received: folder="):
        fit(build("tied"), "tied", 2, [Resume(tmp_path)])


def test_bfloat16_variables_are_kept(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    whole, model = build("hard_concrete"), build("hard_concrete")
    fit(whole, "hard_concrete", 2)
    fit(model, "hard_concrete", 1, [Resume(tmp_path)])
    assert path_of(tmp_path, 1).exists()
    resumed = build("hard_concrete", seed=7)
    fit(resumed, "hard_concrete", 2, [Resume(tmp_path)])
    for a, b in zip(state(whole), state(resumed), strict=True):
        np.testing.assert_array_equal(b, a)


def test_config():
    assert Resume("runs/1").get_config() == {"folder": "runs/1"}
