"""Callbacks of compress across its two trainings and across interruptions."""

import pathlib
import re

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tests.interruption.methods import Interrupt, TrainingEndedError
from tests.training.test_callbacks import BUDGET, CHOICE, GATED_EPOCHS, Watch, X, Y, network, rising
from tfgates.compression.across_phases import AcrossPhases, SameFile

SCHEDULE = keras.optimizers.schedules.CosineDecay(0.02, 160)


def run(*callbacks, epochs=20, **arguments):
    """`compress` with data in an order of their own; returns what is left and a `Watch`."""
    tf = tensorflow("its data are of tf.data")
    keras.utils.set_random_seed(1)
    watch, data = Watch(), tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    small = tfgates.compress(
        network(), data, tfgates.Budget(**BUDGET), "mse", epochs=epochs, verbose=0, seed=1, validation_data=(X, Y),
        callbacks=[rising(), *callbacks, watch], **{"learning_rate": 0.01, **arguments},
    )  # fmt: skip
    return small, watch


# Files that the end of a process would close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_callbacks_remember_survives_interruptions_in_both_trainings(tmp_path):
    """EarlyStopping ends both; with gates it goes back to the first epoch within the budget, started again too."""

    def callbacks(folder):
        return [
            keras.callbacks.EarlyStopping(**CHOICE, patience=1, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(**CHOICE, patience=1),
            keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), **CHOICE, save_best_only=True,
                                            save_weights_only=True),
            keras.callbacks.CSVLogger(str(folder / "log.csv")),
        ]  # fmt: skip

    folders = [tmp_path / name for name in ("whole", "parts")]
    for folder in folders:
        folder.mkdir()
    whole, seen = run(*callbacks(folders[0]))
    with_gates, after = (each["epochs"] for each in seen.trainings)
    assert with_gates[-1] < GATED_EPOCHS - 1 and after == [GATED_EPOCHS, GATED_EPOCHS + 1]
    for end in (with_gates[-1], after[-1]):
        with pytest.raises(TrainingEndedError):
            run(*callbacks(folders[1]), Interrupt(end), resume=folders[1])
    small, seen = run(*callbacks(folders[1]), resume=folders[1])
    # It had ended with gates, and is not trained with them again.
    assert [each["epochs"] for each in seen.trainings] == [[], after[-1:]]
    pairs = [(whole.variables, small.variables), (whole.optimizer.variables, small.optimizer.variables)]
    for ours, theirs in pairs:
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    logs = [(folder / "log.csv").read_text() for folder in folders]
    assert logs[0] == logs[1] and logs[0].count("\n") == 1 + len(with_gates) + len(after)
    for loaded, folder in zip((whole, small), folders, strict=True):
        loaded.load_weights(folder / "best.weights.h5")
    np.testing.assert_array_equal(*(each.layers[-1].kernel for each in (whole, small)))


def test_with_a_loss_scale_and_callbacks_that_set_the_rate():
    keras.config.set_dtype_policy("mixed_float16")
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    small, watch = run(halve, epochs=5)
    assert isinstance(small.optimizer, keras.optimizers.LossScaleOptimizer)
    rates = [each["rates"] for each in watch.trainings]
    np.testing.assert_allclose(np.concatenate(rates), 0.01 * 0.9 ** np.array([1, 2, 3, 1, 2]), rtol=1e-5)
    assert tfgates.cost(small).macs <= BUDGET["macs"] * tfgates.cost(network()).macs


def test_a_schedule_goes_on_from_one_training_to_the_next():
    small, watch = run(epochs=5, learning_rate=SCHEDULE)
    rates = [rate for each in watch.trainings for rate in each["rates"]]
    # With gates the schedule is in the optimizer, and says what the next step has; after pruning it is set by steps.
    expected = [SCHEDULE(8 * epoch) for epoch in (1, 2, 3)] + [SCHEDULE(8 * epoch - 1) for epoch in (4, 5)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert "class_name" not in str(small.optimizer.get_config())


def test_the_guide_runs_as_it_stands(tmp_path, monkeypatch):
    tf = tensorflow("its data are of tf.data")
    monkeypatch.chdir(tmp_path)
    guide = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "callbacks.md"
    (code,) = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(16, activation="tanh")(inputs)
    data = tf.data.Dataset.from_tensor_slices((X, np.argmax(Y, axis=1))).batch(8)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    names = {"tfgates": tfgates, "keras": keras, "model": model, "train": data, "validation": data}
    exec(code, names)
    assert names["small"].optimizer.get_config()["learning_rate"]["class_name"] == "CosineDecay"
    assert isinstance(names["small"].optimizer, keras.optimizers.SGD) and names["small"].optimizer.nesterov
    assert tfgates.cost(names["small"]).macs <= 0.4 * tfgates.cost(model).macs


def test_a_callback_alone_serves_as_a_list():
    stop = keras.callbacks.EarlyStopping()
    assert AcrossPhases(stop).callbacks == [stop] and AcrossPhases(None).callbacks == []


def test_the_columns_of_an_earlier_file_are_kept(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch;zeta;loss\n0;1.0;2.0\n")
    logger = keras.callbacks.CSVLogger(str(path), separator=";")
    same = SameFile(logger)
    same.on_train_begin()
    same.on_epoch_end(1, {"loss": 0.5, "alpha": 3.0})
    same.on_train_end()
    assert path.read_text().splitlines() == ["epoch;zeta;loss", "0;1.0;2.0", "1;NA;0.5"]
    assert not logger.append


def test_folders_of_tensorboard_are_given_back_when_fine_tuning_fails(tmp_path):
    board = keras.callbacks.TensorBoard(str(tmp_path))
    with pytest.raises(TrainingEndedError), AcrossPhases([board]).of_pruned() as followed:
        assert followed == [board] and board.log_dir == str(tmp_path / "fine-tuning")
        raise TrainingEndedError
    assert board.log_dir == str(tmp_path)


def test_resume_refuses_what_other_callbacks_remembered(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    early = keras.callbacks.EarlyStopping("loss")
    model.fit(X, Y, verbose=0, callbacks=[early, tfgates.callbacks.Resume(tmp_path, [early])])
    with pytest.raises(ValueError, match="`callbacks` must be those of the run .*Received: .. where .'EarlyStopping'."):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[tfgates.callbacks.Resume(tmp_path)])


def test_a_run_that_early_stopping_had_ended_is_over_unless_it_is_given_more_epochs(tmp_path):
    def fit(epochs):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        model.compile("sgd", "mse")
        early = keras.callbacks.EarlyStopping(**CHOICE, patience=1)
        resume = tfgates.callbacks.Resume(tmp_path, [early])
        return model.fit(X, Y, epochs=epochs, verbose=0, callbacks=[rising(), early, resume]).epoch

    assert [fit(5), fit(5), fit(6)] == [[0, 1], [], [2]]
