"""Every callback that Keras exports, with `gate_model` and `fit` and with `compress`: a row for each, in both."""

import contextlib
import csv
import functools
import http.server
import importlib.util
import inspect
import io
import itertools
import json
import math
import tempfile
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tests.interruption.methods import TrainingEndedError
from tests.slow import others_slow
from tfgates.training.within_budget import holds

EPOCHS, GATED_EPOCHS = 20, 12
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(64, 4)).astype("float32")
Y = (X[:, :2] * 0.5).astype("float32")
BUDGET = {"macs": 0.5}


def network():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(16, activation="tanh")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


class Watch(keras.callbacks.Callback):
    """What is to be seen of each training: a dictionary for each."""

    def __init__(self):
        super().__init__()
        self.trainings = []

    def on_train_begin(self, logs=None):
        self.trainings.append({"epochs": [], "rates": [], "paces": [], "val_loss": [], "held": []})

    def on_epoch_end(self, epoch, logs=None):
        seen, optimizer = self.trainings[-1], self.model.optimizer
        seen["epochs"].append(epoch)
        seen["rates"].append(float(optimizer.learning_rate))
        seen["val_loss"].append(logs["val_loss"])
        if self.gated():
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            seen["paces"].append(float(inner.gate_optimizer.learning_rate))
            seen["held"].append(epoch if holds(self.model) else None)

    def on_train_end(self, logs=None):
        self.trainings[-1]["holds"] = self.gated() and holds(self.model)
        self.trainings[-1]["weights"] = self.model.get_weights()

    def gated(self):
        return isinstance(self.model, tfgates.GatedModel)

    def first_held(self):
        """The first epoch with gates at whose end the budget held."""
        return next(epoch for epoch in self.trainings[0]["held"] if epoch is not None)


def fit(callbacks, optimizer=None, data=(X, Y), verbose=0):
    """`gate_model` and `fit`; returns the gated network and what a `Watch` saw."""
    keras.utils.set_random_seed(1)
    model, watch = tfgates.gate_model(network(), budget=tfgates.Budget(**BUDGET), seed=1), Watch()
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    settings = {"epochs": EPOCHS, "batch_size": 8, "verbose": verbose, "validation_data": (X, Y)}
    model.fit(*data, callbacks=[*callbacks, watch], **settings)
    return model, watch


def compress(callbacks, optimizer=None, data=(X, Y), verbose=0):
    """`compress`; returns the network that is left and what a `Watch` saw."""
    keras.utils.set_random_seed(1)
    watch = Watch()
    small = tfgates.compress(
        network(), data, tfgates.Budget(**BUDGET), "mse", epochs=EPOCHS, batch_size=8, verbose=verbose, seed=1,
        optimizer=optimizer or keras.optimizers.Adam(0.01), validation_data=(X, Y), callbacks=[*callbacks, watch],
    )  # fmt: skip
    return small, watch


WAYS = {"fit": fit, "compress": compress}
ROWS = {}


def row(function):
    """Registers what is to be checked of the callback of Keras that has the name of the function."""
    ROWS[function.__name__] = function
    return function


def test_every_callback_that_keras_exports_has_a_row():
    exported = {name for name, kind in vars(keras.callbacks).items() if inspect.isclass(kind)}
    assert exported == set(ROWS)


NAMES = (
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "OrbaxCheckpoint", "ProgbarLogger", "ReduceLROnPlateau",
    "RemoteMonitor", "SwapEMAWeights", "TensorBoard", "TerminateOnNaN",
)  # fmt: skip
# In the slow suite alone: trainings of their own that show what another quick case shows.
SLOW = [
    ("EarlyStopping", "fit"),
    ("LearningRateScheduler", "fit"),
    ("OrbaxCheckpoint", "fit"),
    ("SwapEMAWeights", "fit"),
]
SLOW += [("ReduceLROnPlateau", "compress"), ("LearningRateScheduler", "compress"), ("SwapEMAWeights", "compress")]
CASES = [*itertools.product(NAMES, WAYS)]


@pytest.mark.parametrize(("name", "way"), others_slow(CASES, [case for case in CASES if case not in SLOW]))
def test_callback(name, way, tmp_path):
    ROWS[name](way, tmp_path)


# Those that only look on share one training for each way.


class Receiver(http.server.BaseHTTPRequestHandler):
    """A server of this machine alone, which keeps what a RemoteMonitor sends."""

    def do_POST(self):
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@functools.cache
def looked_on(way):
    """What the callbacks that look on have left of a training, a dictionary."""
    folder = Path(tempfile.mkdtemp())
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    history, ends, printed = keras.callbacks.History(), [], io.StringIO()
    # Keras writes by TensorFlow there.
    of_tensorflow = keras.backend.backend() == "tensorflow"
    board = [keras.callbacks.TensorBoard(str(folder / "board"), update_freq=1)] if of_tensorflow else []
    callbacks = [
        history,
        keras.callbacks.Callback(),
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        *board,
        keras.callbacks.RemoteMonitor(f"http://127.0.0.1:{server.server_port}", send_as_json=True),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append((epoch, dict(logs)))),
        keras.callbacks.ProgbarLogger(),
    ]
    with contextlib.redirect_stdout(printed):
        model, watch = WAYS[way](callbacks, verbose=1)
    server.shutdown()
    server.server_close()
    found = {"model": model, "watch": watch, "history": history, "ends": ends, "printed": printed.getvalue()}
    return {**found, "received": server.received, "folder": folder, "board": board}


def trainings(way):
    return [list(range(EPOCHS))] if way == "fit" else [list(range(GATED_EPOCHS)), list(range(GATED_EPOCHS, EPOCHS))]


@row
def Callback(way, tmp_path):  # noqa: N802 (the rows are called as the callbacks are)
    """The epochs are counted through, and what looks on changes nothing of the size."""
    seen = looked_on(way)
    assert [each["epochs"] for each in seen["watch"].trainings] == trainings(way)
    small = seen["model"] if way == "compress" else tfgates.finish(seen["model"], (X, Y))
    assert tfgates.cost(small).macs <= BUDGET["macs"] * tfgates.cost(network()).macs


@row
def History(way, tmp_path):  # noqa: N802 (as above)
    history = looked_on(way)["history"]
    assert len(history.history["loss"]) == len(history.history["val_loss"]) == EPOCHS
    assert history.epoch == trainings(way)[-1]


@row
def CSVLogger(way, tmp_path):  # noqa: N802 (as above)
    """A row for each epoch of both trainings, with the columns of the first."""
    with open(looked_on(way)["folder"] / "log.csv", newline="") as file:
        names, *rows = list(csv.reader(file))
    assert {"epoch", "loss", "val_loss", "expected_macs", "structure_loss"} <= set(names)
    assert [int(each[0]) for each in rows] == list(range(EPOCHS))
    assert all(len(each) == len(names) for each in rows)
    losses = [float(each[names.index("loss")]) for each in rows]
    np.testing.assert_allclose(losses, looked_on(way)["history"].history["loss"], rtol=1e-6)
    absent = [each[names.index("expected_macs")] == "NA" for each in rows]
    assert absent == [way == "compress" and epoch >= GATED_EPOCHS for epoch in range(EPOCHS)]


@row
def LambdaCallback(way, tmp_path):  # noqa: N802 (as above)
    ends = looked_on(way)["ends"]
    assert [epoch for epoch, _ in ends] == list(range(EPOCHS))
    assert all(np.isfinite(logs["loss"]) for _, logs in ends)


@row
def ProgbarLogger(way, tmp_path):  # noqa: N802
    printed = looked_on(way)["printed"]
    for epoch in range(EPOCHS):
        last = GATED_EPOCHS if way == "compress" and epoch < GATED_EPOCHS else EPOCHS
        assert printed.count(f"Epoch {epoch + 1}/{last}\n") == 1


@row
def RemoteMonitor(way, tmp_path):  # noqa: N802
    """Its server is one of this machine; what the logs hold can be written as JSON."""
    received = looked_on(way)["received"]
    assert [each["epoch"] for each in received] == list(range(EPOCHS))
    assert all(np.isfinite(each["val_loss"]) for each in received)


def scalars(folder):
    """The scalars that a TensorBoard wrote: for each tag the steps."""
    tf = tensorflow("keras.callbacks.TensorBoard writes by TensorFlow")
    steps = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


@row
def TensorBoard(way, tmp_path):  # noqa: N802
    """Steps never go back in a run: what is left after pruning has runs of its own, by epochs that go on."""
    tensorflow("keras.callbacks.TensorBoard writes by TensorFlow")
    folder = looked_on(way)["folder"] / "board"
    runs = [""] if way == "fit" else ["", "fine-tuning"]
    for run, epochs in zip(runs, trainings(way), strict=True):
        train, validation = scalars(folder / run / "train"), scalars(folder / run / "validation")
        assert train["epoch_loss"] == train["epoch_learning_rate"] == validation["epoch_loss"] == epochs
        assert train["batch_loss"] == sorted(set(train["batch_loss"]))
    assert looked_on(way)["board"][0].log_dir == str(folder)


# Those that act.


def rising():
    """Logs what only rises, so that the first epoch that a callback sees is the best to it."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(rising=float(epoch)))


CHOICE = {"monitor": "rising", "mode": "min"}


@row
def EarlyStopping(way, tmp_path):  # noqa: N802
    start = GATED_EPOCHS - 1 if way == "compress" else 0
    early = keras.callbacks.EarlyStopping(**CHOICE, patience=1, restore_best_weights=True, start_from_epoch=start)
    best = []
    note = keras.callbacks.LambdaCallback(on_train_end=lambda logs: best.append(early.best_epoch))
    _, watch = WAYS[way]([rising(), early, note])
    first = watch.trainings[0]
    assert first["holds"]
    # With gates it sees the epochs alone at which the budget holds; without, it begins again.
    assert best[0] == max(watch.first_held(), start)
    assert first["epochs"] == trainings(way)[0][: len(first["epochs"])]
    assert best[1:] == ([GATED_EPOCHS] if way == "compress" else [])


@row
def ModelCheckpoint(way, tmp_path):  # noqa: N802
    """The file of the best is of an epoch within the budget; after `compress`, of the pruned network."""
    best, weights, each = tmp_path / "best.keras", tmp_path / "best.weights.h5", tmp_path / "{epoch:02d}.keras"
    kinds = keras.callbacks.ModelCheckpoint
    saving = [
        kinds(str(best), save_best_only=True, **CHOICE),
        kinds(str(weights), save_best_only=True, save_weights_only=True, **CHOICE),
        kinds(str(each), save_freq=8 * 5),
    ]
    model, watch = WAYS[way]([rising(), *saving])
    assert sorted(path.stem for path in tmp_path.glob("??.keras")) == [f"{n:02d}" for n in range(5, EPOCHS + 1, 5)]
    saved = keras.models.load_model(best)
    model.load_weights(weights)
    for ours, theirs in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if way == "fit":
        assert holds(saved)
        assert saving[0].best == watch.first_held()
    else:
        assert not isinstance(saved, tfgates.GatedModel) and saved.count_params() == model.count_params()
        assert saving[0].best == GATED_EPOCHS


@row
def ReduceLROnPlateau(way, tmp_path):  # noqa: N802
    """The weights' rate falls within the budget alone, the gates' never; after pruning it begins again."""
    _, watch = WAYS[way]([rising(), keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, **CHOICE)])
    first = watch.trainings[0]
    assert first["holds"] and len(set(first["paces"])) == 1
    before = first["rates"][: watch.first_held() + 1]
    np.testing.assert_allclose(before, 0.01, rtol=1e-6)
    assert first["rates"][-1] < 0.01
    if way == "compress":
        np.testing.assert_allclose(
            watch.trainings[1]["rates"], 0.01 * 0.5 ** np.arange(EPOCHS - GATED_EPOCHS), rtol=1e-5
        )


@row
def LearningRateScheduler(way, tmp_path):  # noqa: N802
    """A function of the epoch holds in both trainings."""
    _, watch = WAYS[way]([keras.callbacks.LearningRateScheduler(lambda epoch: 0.02 / (1 + epoch))])
    rates = [rate for each in watch.trainings for rate in each["rates"]]
    np.testing.assert_allclose(rates, 0.02 / (1 + np.arange(EPOCHS)), rtol=1e-6)
    assert len(set(watch.trainings[0]["paces"])) == 1 and watch.trainings[0]["holds"]


@row
def TerminateOnNaN(way, tmp_path):  # noqa: N802
    """The end is told; `compress` prunes no network that is lost."""
    data, stop = (X, np.full_like(Y, np.nan)), keras.callbacks.TerminateOnNaN()
    told = {
        "fit": pytest.warns(tfgates.GatesWarning, match="ended the training of .* before its budget held"),
        "compress": pytest.raises(
            RuntimeError, match="after the training with gates .* not finite.*Received: optimizer="
        ),
    }
    ignored = pytest.warns(tfgates.GatesWarning) if way == "compress" else contextlib.nullcontext()
    with told[way], ignored:
        WAYS[way]([stop], data=data)


@row
def SwapEMAWeights(way, tmp_path):  # noqa: N802
    """Validation is by the averages of the weights, in both trainings; without averages it is refused."""
    with pytest.raises(ValueError, match=r"give .*Adam\(..., use_ema=True\). Received: SwapEMAWeights"):
        WAYS[way]([keras.callbacks.SwapEMAWeights()])
    check_averages(way, on_epoch=False)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_averages_that_stay_in_the_network_between_epochs(way):
    check_averages(way, on_epoch=True)


def check_averages(way, on_epoch):
    averaged, raw, watch = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9), [], Watch()

    def measure(epoch, logs):
        raw.append(float(np.mean((watch.model(X, training=False) - Y) ** 2)) / logs["val_loss"])

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=on_epoch)
    WAYS[way]([swap, watch, keras.callbacks.LambdaCallback(on_epoch_end=measure)], optimizer=averaged)
    assert watch.trainings[0]["holds"]
    # With `swap_on_epoch` the averages stand in the network at the end of an epoch, else its own weights do.
    assert [math.isclose(each, 1.0, rel_tol=1e-3) for each in raw] == [on_epoch] * EPOCHS


class End(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == GATED_EPOCHS:
            raise TrainingEndedError


@row
def BackupAndRestore(way, tmp_path):  # noqa: N802
    """`fit` goes on where it was, with its pace; `compress` says what to write."""
    backup = functools.partial(keras.callbacks.BackupAndRestore, str(tmp_path / "backup"))
    if way == "compress":
        with pytest.raises(ValueError, match="`callbacks` must not hold a BackupAndRestore.*write `resume=.*backup'"):
            compress([backup()])
        return
    with pytest.raises(TrainingEndedError):
        fit([backup(), End()])
    _, watch = fit([backup()])
    (seen,) = watch.trainings
    assert seen["epochs"] == list(range(GATED_EPOCHS, EPOCHS)) and seen["holds"]


@row
def CallbackList(way, tmp_path):  # noqa: N802
    made = keras.callbacks.CallbackList([keras.callbacks.EarlyStopping("loss")])
    model = tfgates.gate_model(network(), budget=tfgates.Budget(**BUDGET))
    model.compile("sgd", "mse")
    calls = {
        "fit": lambda: model.fit(X, Y, callbacks=made, verbose=0),
        "compress": lambda: tfgates.compress(network(), (X, Y), tfgates.Budget(**BUDGET), "mse", callbacks=made),
    }
    with pytest.raises(ValueError, match="`callbacks` must be a list .*Received: a CallbackList"):
        calls[way]()


class Orbax(keras.callbacks.OrbaxCheckpoint):
    """Without the package that Keras would ask for, and without files: it notes what it would save."""

    def __init__(self, save_freq="epoch"):
        keras.callbacks.Callback.__init__(self)
        self.save_best_only, self.save_freq, self.best, self.saved = True, save_freq, None, []

    def set_model(self, model):
        self._model = model

    def on_epoch_end(self, epoch, logs=None):
        if self.best is None or logs["rising"] < self.best:
            self.best = logs["rising"]
            self.saved.append(epoch)

    def on_train_batch_end(self, batch, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass


@row
def OrbaxCheckpoint(way, tmp_path):  # noqa: N802
    """With `save_best_only` it is shown epochs within the budget; `compress` refuses one that counts steps."""
    orbax = [Orbax()]
    if importlib.util.find_spec("orbax") is not None:
        orbax.append(keras.callbacks.OrbaxCheckpoint(str(tmp_path / "orbax"), save_best_only=True, **CHOICE))
    _, watch = WAYS[way]([rising(), *orbax])
    best = [watch.first_held(), *([GATED_EPOCHS] if way == "compress" else [])]
    assert orbax[0].saved == best and orbax[-1].best == best[-1]
    for saved in (tmp_path / "orbax").glob("*"):
        assert saved.name == str(best[-1])
    if way == "compress":
        with pytest.raises(ValueError, match="`callbacks` must not hold an OrbaxCheckpoint.*Received: save_freq=5"):
            compress([Orbax(save_freq=5)])
