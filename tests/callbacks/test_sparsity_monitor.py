"""What SparsityMonitor writes and what it adds to the logs."""

import importlib.util
import io

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

import tfgates
from tests.calculus import array
from tests.opaque import needs_values
from tfgates.callbacks import SparsityMonitor
from tfgates.callbacks.sparsity_monitor import check_writable
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedDense

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
Y = np.zeros((8, 2), "float32")


def chain(kind, first=None, **arguments):
    """Six inputs, eight gated units, two outputs."""
    stack = [
        GatedDense(8, gate=HardConcreteGate(name="first", logits_limit=None, **arguments), name="dense1"),
        GatedDense(2, gate=HardConcreteGate(name="second", initial_open_probability=0.95), name="dense2"),
    ]
    if kind == "sequential":
        model = keras.Sequential([keras.Input((6,)), *stack])
    else:
        inputs = keras.Input((6,))
        model = tfgates.GatedModel(inputs, stack[1](stack[0](inputs)))
    if first is not None:
        stack[0].gate.logits.assign(first)
    # With a learning rate of 0 what was set is what is found at the end of an epoch.
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def events_in(path):
    """The events of a file, each checked against its sums."""
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        yield Event.FromString(reader.record())


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def written(log_dir, run=""):
    """All values in the run `gates`, or one below it: {tag: {step: value}}."""
    found = {}
    for path in sorted(file for file in (log_dir / "gates" / run).iterdir() if file.is_file()):
        for event in events_in(path):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = make_ndarray(value.tensor)
    return found


KINDS = ("open_probability", "open_probability_by_epoch", "test_gates")

HALF_OPEN = np.array([9.0] * 4 + [-9.0] * 4)


@pytest.mark.parametrize("kind", ["sequential", "gated_model"])
def test_adds_fractions_to_the_logs(kind):
    model = chain(kind, first=HALF_OPEN)
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[SparsityMonitor()]).history
    # Left of 6 -> 8 -> 2: four hidden units with 6 + 1 weights each, then 2 outputs with 4 + 1.
    dense, left = 8 * 7 + 2 * 9, 4 * 7 + 2 * 5
    np.testing.assert_allclose(history["params"], [left / dense] * 2, rtol=1e-6)
    np.testing.assert_allclose(history["macs"], [(6 * 4 + 4 * 2) / (6 * 8 + 8 * 2)] * 2, rtol=1e-6)
    np.testing.assert_allclose(history["open_units"], [(4 + 2) / 10] * 2)
    expected = sum(float(np.sum(array(gate.open_probability()))) for gate in tfgates.gates.gates_of(model)) / 10
    np.testing.assert_allclose(history["expected_open_units"], [expected] * 2, rtol=1e-5)
    cost = tfgates.cost(model)
    np.testing.assert_allclose(history["expected_params"], [cost.expected_params / dense] * 2, rtol=1e-5)
    np.testing.assert_allclose(history["expected_macs"], [cost.expected_macs / 64] * 2, rtol=1e-5)


def test_writes_scalars_histograms_and_images(tmp_path):
    model = chain("gated_model", first=HALF_OPEN)
    # The callback of Keras writes by TensorFlow.
    beside = [keras.callbacks.TensorBoard(tmp_path)] if importlib.util.find_spec("tensorflow") else []
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[SparsityMonitor(tmp_path), *beside])
    values, actual, expected = (written(tmp_path, run) for run in ("", "actual", "expected"))
    # What is expected and what is actual share a chart: they have the same tags, in the order of the alphabet.
    first = ["cost/macs", "cost/open_units", "cost/params"]
    assert sorted(actual) == sorted(expected) == [*first, "open_units/first", "open_units/second"]
    assert all(set(steps) == {0, 1} for steps in (*actual.values(), *expected.values()))
    cost = tfgates.cost(model)
    np.testing.assert_allclose(actual["cost/macs"][1], cost.macs / cost.dense_macs, rtol=1e-5)
    np.testing.assert_allclose(expected["cost/macs"][1], cost.expected_macs / cost.dense_macs, rtol=1e-5)
    np.testing.assert_allclose(expected["cost/params"][1], cost.expected_params / cost.dense_params, rtol=1e-5)
    assert actual["open_units/first"][1] == 4 / 8
    np.testing.assert_allclose(
        expected["open_units/first"][1], np.mean(array(model.gates[0].open_probability())), rtol=1e-5
    )
    # Without a budget nothing is a target, and gates without an optimizer of their own have the rate of the weights.
    assert not (tmp_path / "gates" / "target").exists()
    kinds = {"layers", *(f"{kind}/{gate}" for kind in KINDS for gate in ("first", "second"))}
    assert set(values) == kinds
    # Buckets of a histogram are rows of (left, right, count).
    buckets = values["open_probability/first"][1]
    assert buckets[:, 2].sum() == 8
    assert buckets[0, 2] == 4 and buckets[-1, 2] == 4
    width, height, png = values["test_gates/first"][1]
    picture = pixels(png)
    assert picture.shape == (int(height), int(width)) == (24, 24)
    # Three squares a row; the ninth square is no unit.
    np.testing.assert_allclose(picture[4::8, 4::8].ravel(), [255] * 4 + [0] * 4 + [128], atol=1)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_target_and_whose_learning_rate_is_whose(tmp_path, mixed):
    model = network(tfgates.Budget(params=0.5), tfgates.Budget(macs=0.75, per_layer=True))
    weights = keras.optimizers.SGD(0.25)
    if mixed:
        weights = keras.optimizers.LossScaleOptimizer(weights)
    model.compile(weights, "mse", gate_optimizer=keras.optimizers.Adam(0.125))
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[SparsityMonitor(tmp_path)])
    # Of bounds on the whole model; a chart of each layer would be too much.
    target = written(tmp_path, "target")
    assert set(target) == {"cost/params"} and target["cost/params"] == {0: 0.5, 1: 0.5}
    own = written(tmp_path)
    assert own["learning_rate/weights"] == {0: 0.25, 1: 0.25} and own["learning_rate/gates"] == {0: 0.125, 1: 0.125}


def test_pruning_is_marked_by_a_line_that_begins_there(tmp_path):
    model = network(tfgates.Budget(params=0.5))
    model.compile("sgd", "mse")
    monitor = SparsityMonitor(tmp_path)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[monitor])
    small = tfgates.finish(model, (X, Y))
    history = small.fit(X, Y, epochs=4, initial_epoch=2, verbose=0, callbacks=[monitor]).history
    left = tfgates.cost(small).params / tfgates.cost(model).dense_params
    assert history["params"] == [left] * 2 and left <= 0.5
    pruned = written(tmp_path, "pruned")
    assert set(pruned) == {"cost/params", "cost/macs"} and set(pruned["cost/macs"]) == {2, 3}
    np.testing.assert_allclose(pruned["cost/params"][3], left, rtol=1e-6)
    marks = written(tmp_path)["pruning"]
    assert set(marks) == {2} and str(tfgates.report_of(small)) in marks[2].item().decode()
    assert set(written(tmp_path, "actual")["cost/params"]) == {0, 1}


def test_compress_shows_it_both_trainings(tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(16), keras.layers.Dense(2)])
    tfgates.compress(
        model, (X, Y), tfgates.Budget(params=0.5), "mse", epochs=4, fine_tune=0.5, verbose=0,
        callbacks=[SparsityMonitor(tmp_path)],
    )  # fmt: skip
    assert set(written(tmp_path, "actual")["cost/params"]) == {0, 1}
    assert set(written(tmp_path, "pruned")["cost/params"]) == {2, 3}


def network(*budgets):
    """Six inputs, eight gated units, two outputs, under budgets."""
    inputs = keras.Input((6,))
    hidden = GatedDense(8, gate="hard_concrete")(inputs)
    return tfgates.GatedModel(inputs, keras.layers.Dense(2)(hidden), budget=list(budgets))


def test_other_callbacks_can_use_the_logs(tmp_path):
    model = chain("sequential", first=HALF_OPEN)
    stop = keras.callbacks.EarlyStopping("expected_macs", mode="min", patience=1)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "params", save_best_only=True, mode="min")
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[SparsityMonitor(), stop, best])
    # It never improves, so patience ends it after the second epoch.
    assert len(history.epoch) == 2
    assert (tmp_path / "best.keras").exists()


def test_training_is_the_same_without_it():
    weights = []
    for callbacks in ([], [SparsityMonitor()]):
        keras.utils.set_random_seed(3)
        model = chain("gated_model", seed=1, l0=1e-3)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(X, Y, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
        weights.append(model.get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_frequency(tmp_path):
    model = chain("sequential")
    history = model.fit(X, Y, epochs=5, verbose=0, callbacks=[SparsityMonitor(tmp_path, frequency=2)]).history
    assert len(history["params"]) == 3
    assert set(written(tmp_path, "actual")["cost/params"]) == {0, 2, 4}


def test_a_second_fit_goes_on_writing(tmp_path):
    model, monitor = chain("sequential"), SparsityMonitor(tmp_path)
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[monitor])
    model.fit(X, Y, epochs=2, initial_epoch=1, verbose=0, callbacks=[monitor])
    assert set(written(tmp_path, "actual")["cost/params"]) == {0, 1}


def test_warns_once_of_a_gate_that_has_closed():
    model = chain("sequential", first=np.full(8, -9.0))
    with pytest.warns(UserWarning, match="All units of gate `first` are closed") as caught:
        history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[SparsityMonitor()]).history
    assert len([w for w in caught if "are closed" in str(w.message)]) == 1
    assert history["open_units"] == [0.2] * 3


def test_a_model_without_a_graph_is_watched_without_its_cost():
    class Free(tfgates.GatedModel):
        def __init__(self):
            super().__init__()
            self.dense = GatedDense(2)

        def call(self, inputs, training=None):
            return self.dense(needs_values(inputs), training=training)

    model = Free()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="cannot tell the cost"):
        history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[SparsityMonitor()]).history
    assert len(history["open_units"]) == 2
    assert "params" not in history


def test_inputs_of_unknown_size_have_parameters_but_no_macs():
    inputs = keras.Input((None, 6))
    model = keras.Model(inputs, GatedDense(2)(inputs))
    model.compile("sgd", "mse")
    x, y = X[:, None], Y[:, None]
    history = model.fit(x, y, epochs=1, verbose=0, callbacks=[SparsityMonitor()]).history
    assert "params" in history and "macs" not in history


def test_a_heat_map_has_a_row_per_epoch_and_a_column_per_unit(tmp_path):
    model = chain("gated_model", first=HALF_OPEN)
    close = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.gates[0].logits.assign(HALF_OPEN if epoch < 2 else -HALF_OPEN)
    )
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[close, SparsityMonitor(tmp_path)])
    maps = written(tmp_path)["open_probability_by_epoch/first"]
    assert set(maps) == {0, 1, 2}
    width, height, png = maps[2]
    picture = pixels(png)
    assert picture.shape == (int(height), int(width)) == (3 * 85, 8 * 32)
    rows = picture[42::85, 16::32]
    np.testing.assert_allclose(rows, [[255] * 4 + [0] * 4] * 2 + [[0] * 4 + [255] * 4], atol=1)


@pytest.mark.parametrize(("frequency", "steps"), [(None, {0, 1, 2, 3}), (3, {0, 3}), (2, {0, 2, 3})])
def test_pictures_of_the_layers(tmp_path, frequency, steps):
    model = chain("gated_model", first=HALF_OPEN)
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[SparsityMonitor(tmp_path, picture_frequency=frequency)])
    values = written(tmp_path)
    assert set(values["layers"]) == set(values["open_probability_by_epoch/second"]) == steps
    picture = pixels(values["layers"][3][2])
    # The blue of what is kept and the grey of what goes.
    for colour in ((0x2B, 0x6C, 0xB0), (0xD9, 0xD9, 0xD9)):
        assert np.all(picture[..., :3] == colour, axis=-1).sum() > 1000


def test_without_matplotlib_there_is_no_picture_of_the_layers(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else real(name, *rest)
    )
    chain("sequential").fit(X, Y, verbose=0, callbacks=[SparsityMonitor(tmp_path)])
    values = written(tmp_path)
    assert "layers" not in values and "open_probability_by_epoch/first" in values


def test_many_epochs_have_few_pictures(tmp_path):
    model = chain("sequential")
    model.fit(X, Y, initial_epoch=96, epochs=100, verbose=0, callbacks=[SparsityMonitor(tmp_path)])
    assert set(written(tmp_path)["layers"]) == {96, 99}


def test_hparams(tmp_path):
    given = {"learning_rate": 0.5, "gate": "arm", "epochs": 3, "augment": True}
    chain("sequential").fit(X, Y, verbose=0, callbacks=[SparsityMonitor(tmp_path, hparams=given)])
    (content,) = (
        value.metadata.plugin_data.content
        for path in (tmp_path / "gates").glob("events*")
        for event in events_in(path)
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    )
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()} == given


@pytest.mark.parametrize("hparams", [[1], {1: 2}, {"a": None}])
def test_refused_hparams(hparams):
    with pytest.raises(ValueError, match="`hparams` must be a dict from strings .* Received: hparams="):
        SparsityMonitor(hparams=hparams)


def test_a_budget_shows_how_the_gates_stand_and_not_how_they_land():
    model = network(tfgates.Budget(params=0.5))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(X, Y, verbose=0, callbacks=[SparsityMonitor()]).history
    assert history["params"] == [1.0] and tfgates.cost(model).params <= 0.5 * tfgates.cost(model).dense_params


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = chain("sequential")
    steps = []
    seen = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with pytest.raises(ValueError, match="`log_dir` must be a folder that can be made and written. Received"):
        model.fit(X, Y, verbose=0, callbacks=[SparsityMonitor(tmp_path / "file" / "logs"), seen])
    assert steps == []


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    check_writable("out", str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []


def without(package, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted, *rest: None if wanted == package else real(wanted, *rest)
    )


def test_a_log_dir_without_what_writes_it_is_refused_before_training(tmp_path, monkeypatch):
    without("tensorboard", monkeypatch)
    with pytest.raises(ImportError, match="`log_dir` needs TensorBoard.*pip install tensorboard"):
        chain("sequential").fit(X, Y, verbose=0, callbacks=[SparsityMonitor(tmp_path)])
    history = chain("sequential").fit(X, Y, verbose=0, callbacks=[SparsityMonitor()]).history
    assert "params" in history


def test_a_remote_folder_needs_tensorflow(monkeypatch):
    without("tensorflow", monkeypatch)
    with pytest.raises(ValueError, match="`log_dir` must be a folder .*TensorFlow, which is not installed"):
        chain("sequential").fit(X, Y, verbose=0, callbacks=[SparsityMonitor("gs://bucket/logs")])


def test_a_model_without_gates_is_refused():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="needs a model with gates.* Received: model="):
        model.fit(X, Y, verbose=0, callbacks=[SparsityMonitor()])


@pytest.mark.parametrize("name", ["frequency", "picture_frequency"])
@pytest.mark.parametrize("frequency", [0, 1.5])
def test_refused_frequency(name, frequency):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer. Received: {name}="):
        SparsityMonitor(**{name: frequency})


def test_config():
    given = {"log_dir": "logs", "frequency": 3, "picture_frequency": 5, "hparams": {"seed": 1}}
    monitor = SparsityMonitor(**given)
    assert SparsityMonitor(**monitor.get_config()).get_config() == given


def test_many_layers_have_few_charts(tmp_path):
    """Of each gated layer one chart; the other layers have none."""
    inputs = keras.Input((6,))
    x = inputs
    for _ in range(4):
        x = keras.layers.BatchNormalization()(keras.layers.Dense(4, activation="relu")(x))
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)), budget=tfgates.Budget(params=0.9))
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, callbacks=[SparsityMonitor(tmp_path)])
    scalars = {tag for run in ("actual", "expected", "target") for tag in written(tmp_path, run)}
    scalars |= {tag for tag in written(tmp_path) if tag.startswith("learning_rate/")}
    assert len(scalars) == 3 + 2 + len(model.gates)


def test_a_model_that_takes_the_place_of_another_is_measured_itself():
    """As in a training that goes on with a network that has shrunk."""
    monitor, shares = SparsityMonitor(), []
    for first in ([4.0] * 8, [4.0] * 2 + [-4.0] * 6):
        monitor.set_model(chain("functional", first))
        logs = {}
        monitor.on_epoch_end(len(shares), logs)
        shares.append(logs["macs"])
    assert shares == [1.0, 0.25]
