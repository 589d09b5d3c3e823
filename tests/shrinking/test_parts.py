"""A training in which the network shrinks: to callbacks it is one."""

import csv

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tfgates.callbacks import Resume, SparsityMonitor
from tfgates.shrinking import Shrinking

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = X[:, :2] * 0.5

# No clock decides: in every run the same.
SETTINGS = Shrinking(checks=1, least_saving=0.1, rebuild=0.0)


def gated(optimizer=None, names=("first", "second", "last"), compiled=None, **arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, activation="relu", name=names[0])(inputs)
    x = keras.layers.Dense(16, activation="relu", name=names[1])(x)
    dense = keras.Model(inputs, keras.layers.Dense(2, name=names[2])(x))
    budget = tfgates.Budget(macs=0.3, warm_up=0, ramp=12)
    model = tfgates.gate_model(dense, seed=2, budget=budget, **arguments)
    optimizer = keras.optimizers.Adam(0.01) if optimizer is None else optimizer
    model.compile(optimizer, "mse", gate_optimizer=keras.optimizers.Adam(0.6), **(compiled or {}))
    return model


def trained(model, epochs=10, callbacks=(), shrink=SETTINGS):
    return tfgates.fit(
        model, X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks), shrink=shrink
    )


class Seen(keras.callbacks.Callback):
    """What a callback is told."""

    def __init__(self):
        super().__init__()
        self.told, self.models = [], []

    def on_train_begin(self, logs=None):
        self.told.append("begin")

    def on_train_end(self, logs=None):
        self.told.append("end")

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(epoch)
        self.models.append(self.model)


def test_callbacks_see_one_training(tmp_path):
    seen, path = Seen(), tmp_path / "log.csv"
    stopping = keras.callbacks.EarlyStopping("loss", patience=20, restore_best_weights=True)
    monitor = SparsityMonitor(tmp_path / "board")
    others = [monitor, seen, stopping, keras.callbacks.CSVLogger(path)]
    if keras.backend.backend() == "tensorflow":
        others.append(keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False))
    model = gated()
    history = trained(model, callbacks=others)
    assert seen.told == ["begin", *range(10), "end"]
    rebuilds = history.history["rebuilds"]
    assert history.epoch == list(range(10)) and rebuilds[0] == 0 and rebuilds[-1] >= 1
    # The network of each epoch is the one that was trained in it.
    assert [len(each.removals) for each in seen.models] == rebuilds
    small = history.model
    assert small is seen.models[-1] and len(small.removals) == rebuilds[-1]
    assert sum(gate.units for gate in small.gates) < 32
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(10))
    # Shares are of the dense network, and fall by no jump where units go.
    macs, is_open = (np.array(history.history[name]) for name in ("expected_macs", "open_units"))
    assert np.abs(np.diff(macs)).max() < 0.4 and is_open[-1] <= 0.7
    assert stopping.best_weights is None or len(stopping.best_weights) == len(small.weights)
    pruned = tfgates.prune(small)
    report = tfgates.report_of(pruned).plan
    assert tfgates.cost(pruned).macs <= 0.3 * report["dense_macs"] and report["dense_macs"] == 6 * 16 + 16 * 16 + 32
    assert {row["name"]: row["units"] for row in report["layers"]}["first"] == 16


def test_best_weights_get_smaller_too():
    from tfgates.shrinking.parts import shrink_best_weights
    from tfgates.shrinking.record import plan_of
    from tfgates.shrinking.shrink import shrunk

    model = gated()
    best = [np.array(weight) + 1.0 for weight in model.weights]
    plan = plan_of(model, {model.gates[0].name: [0, 3]})
    small, heirs = shrunk(plan)
    callback = keras.callbacks.EarlyStopping()
    callback.best_weights = best
    shrink_best_weights(callback, model, small, heirs)
    small.set_weights(callback.best_weights)
    kept = np.setdiff1d(np.arange(16), [0, 3])
    expected = np.array(model.get_layer("first").kernel)[:, kept] + 1.0
    np.testing.assert_array_equal(np.array(small.get_layer("first").kernel), expected)
    np.testing.assert_array_equal(np.array(small.multipliers), np.array(model.multipliers) + 1.0)


def test_averages_of_weights_come_in_at_the_end_alone():
    model = gated(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    small = trained(model, epochs=10).model
    averages = small.optimizer.weights_optimizer._model_variables_moving_average
    kernel = small.get_layer("last").kernel
    index = [v is kernel for v in small.optimizer.weights_optimizer._trainable_variables].index(True)
    assert small.removals
    np.testing.assert_array_equal(np.array(kernel), np.array(averages[index]))


def test_without_shrinking_it_is_fit():
    history = trained(gated(), epochs=1, shrink=False)
    assert "rebuilds" not in history.history and history.model.removals == []


class EndedError(Exception):
    pass


class End(keras.callbacks.Callback):
    """Ends a process in the midst of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.now = epoch, None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise EndedError


def state(model):
    return [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize("moments", [(0,), pytest.param((-1, 1), marks=pytest.mark.slow)])
def test_an_interrupted_training_goes_on_in_its_shape(tmp_path, moments):
    alone = trained(gated(), 8, [Resume(tmp_path / "alone")])
    expected, first = state(alone.model), alone.history["rebuilds"].index(1)
    assert 0 < first < 7
    # Right at the first rebuild, of which nothing is saved yet, before and after it.
    for epoch in (first + moment for moment in moments):
        folder = tmp_path / str(epoch)
        with pytest.raises(EndedError):
            trained(gated(), 8, [Resume(folder), End(epoch)])
        # Keras numbers layers anew where a model is made once more in the same process.
        again = trained(gated(names=("one", "two", "three")), 8, [Resume(folder)])
        assert again.history["rebuilds"] == alone.history["rebuilds"][epoch:]
        for a, b in zip(expected, state(again.model), strict=True):
            np.testing.assert_array_equal(b, a)
    # At the end nothing is left to do, in the shape that there was.
    again = trained(gated(names=("one", "two", "three")), 8, [Resume(tmp_path / "alone")])
    for a, b in zip(expected, state(again.model), strict=True):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (r"`shrink` must be True, False.*Received: shrink=3", {"shrink": 3}),
        (r"Resume\('a'\) in its place", {"callbacks": [keras.callbacks.BackupAndRestore("a")]}),
        (r"`callbacks` must be a list.*CallbackList", {"callbacks": keras.callbacks.CallbackList([])}),
    ],
)
def test_errors(error, arguments):
    with pytest.raises(ValueError, match=error):
        tfgates.fit(gated(), X, Y, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"checks": 0}, {"least_saving": 1.0}, {"rebuild": "no"}, {"rebuild": -1.0}, {"spare": 0.5}]
)
def test_settings_are_checked(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: {name}="):
        Shrinking(**arguments)


def test_several_steps_at_once_shrink_as_steps_one_by_one():
    one, two = (trained(gated(compiled={"steps_per_execution": steps}), epochs=5) for steps in (1, 2))
    assert two.model.removals and two.model.steps_per_execution == 2
    assert [each["gates"] for each in two.model.removals] == [each["gates"] for each in one.model.removals]
    assert two.history["rebuilds"] == one.history["rebuilds"]
    for a, b in zip(one.model.weights, two.model.weights, strict=True):
        np.testing.assert_allclose(np.array(b), np.array(a), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_by_xla_it_shrinks():
    # Its noise is another one, so that other units go.
    history = trained(gated(compiled={"jit_compile": True}), epochs=5)
    small = history.model
    assert small.removals and small.jit_compile and small.removals[-1]["step"] < 20 == int(small.optimizer.iterations)
    assert sum(gate.units for gate in small.gates) == 32 - sum(each["units"] for each in small.removals)
    assert np.isfinite(history.history["loss"]).all()


def test_scaling_factors_go_once_they_are_zero():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, activation="relu", name="first")(inputs)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2, name="last")(x)), "scaling")
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    sparse = tfgates.callbacks.SparseScaling(0.3, stop_at=4)
    history = trained(model, epochs=5, callbacks=[sparse])
    small = history.model
    (gate,) = small.gates
    assert history.history["rebuilds"][-1] >= 1 and gate.units < 16
    assert history.history["open_structures"][-1] == np.count_nonzero(np.array(gate.scale)) >= 4
    # The factors are still those of APG, with their momentum.
    (momentum,) = small.optimizer.scaling.momentums
    assert small.optimizer.paths == {gate.scale.path} and tuple(momentum.shape) == (gate.units,)
    assert small.removals[0]["probability"] == 0.0


@pytest.mark.slow
def test_half_precision_several_steps_at_once_and_classes_of_the_users():
    keras.utils.set_random_seed(0)

    @keras.saving.register_keras_serializable("tests.shrinking")
    class Counting(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.steps = 0

        def train_step(self, data):
            self.steps += 1
            return super().train_step(data)

    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((6,))
        x = keras.layers.Dense(16, activation="relu", name="first")(inputs)
        dense = Counting(inputs, keras.layers.Dense(2, name="last")(x))
        model = tfgates.gate_model(dense, seed=2, budget=tfgates.Budget(macs=0.3, warm_up=0, ramp=8))
        optimizer = keras.optimizers.SGD(0.01)
        model.compile(optimizer, "mse", gate_optimizer=keras.optimizers.Adam(0.6), steps_per_execution=2)
        small = trained(model, epochs=5).model
    finally:
        keras.config.set_dtype_policy("float32")
    assert small.removals and type(small) is type(model) and small.steps_per_execution == 2
    assert small.get_layer("first").compute_dtype == "float16" and small.steps > model.steps
    assert isinstance(small.optimizer, keras.optimizers.LossScaleOptimizer)
    assert int(small.optimizer.iterations) >= 20


def test_compress_trains_on_less_and_less(monkeypatch):
    # So fast that units are closed for good within an epoch.
    monkeypatch.setattr("tfgates.optimizers.gate_optimizer.LARGEST_STEP", 0.2)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, activation="relu", name="first")(inputs)
    x = keras.layers.Dense(16, activation="relu", name="second")(x)
    dense = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    budget = tfgates.Budget(macs=0.3, warm_up=0, ramp=12)
    settings = {"epochs": 10, "batch_size": 8, "verbose": 0, "fine_tune": 0.1}
    small = tfgates.compress(dense, (X, Y), budget, "mse", shrink=Shrinking(1, 0.1, 0.0), seed=2, **settings)
    report = tfgates.report_of(small)
    rebuilds = [row["rebuilds"] for row in report.history.records()]
    assert rebuilds[0] == 0 and rebuilds[8] >= 1 and rebuilds[9] is None
    assert report.plan["dense_macs"] == 6 * 16 + 16 * 16 + 32 == tfgates.cost(dense).macs
    assert tfgates.cost(small).macs == report.plan["macs"] <= 0.3 * report.plan["dense_macs"]


class PairedSGD(keras.optimizers.SGD):
    """Keeps a number for each pair of units of a kernel, which nobody knows how to cut."""

    def build(self, variables):
        super().build(variables)
        for variable in variables:
            if len(variable.shape) == 2:
                self.add_variable((variable.shape[0], variable.shape[0]), name=f"pairs_{variable.name}")


def test_a_training_that_cannot_shrink_goes_on_and_says_why():
    model, seen = gated(PairedSGD(0.01)), Seen()
    with pytest.warns(tfgates.GatesWarning, match="goes on without.*ValueError") as caught:
        history = trained(model, callbacks=[seen])
    assert [each.category for each in caught].count(tfgates.GatesWarning) == 1
    assert seen.told == ["begin", *range(10), "end"]
    assert history.model is model and history.history["rebuilds"] == [0] * 10


class Numbers(keras.metrics.Metric):
    """Notes the numbers of the batches, which stand in the first target."""

    def __init__(self):
        super().__init__(name="numbers")
        self.last = self.add_variable((), "zeros", name="last")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.last.assign(keras.ops.mean(y_true[:, 0]))

    def reset_state(self):
        pass

    def result(self):
        return keras.ops.convert_to_tensor(self.last)


def steps_of_numbers(data, shrink, steps=3, epochs=10):
    model, seen = gated(compiled={"metrics": [Numbers()]}), []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(round(logs["numbers"])))
    history = tfgates.fit(
        model, data, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[note], shrink=shrink
    )
    return seen, history


# What is made by a function has no length for Keras.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("length", ["known", "endless", "unknown"])
def test_data_go_on_across_rebuilds(length):
    """With `steps_per_epoch` each batch is used when it would be in a training without rebuilds."""
    tf = tensorflow("its data are of tf.data")
    # Keras ends an epoch early where data of known length end in its midst.
    count = 9
    y = np.tile(np.arange(count, dtype="float32")[:, None, None], (1, 8, 2)) * [1.0, 0.0]
    data = tf.data.Dataset.from_tensor_slices((np.resize(X, (count, 8, 6)), y))
    data = {"known": data, "endless": data.repeat(), "unknown": data.filter(lambda x, y: True)}[length]
    seen, history = steps_of_numbers(data, SETTINGS)
    assert history.history["rebuilds"][-1] >= 2
    whole = steps_of_numbers(data, False)[0]
    if length == "unknown":
        # An epoch in which Keras finds out that they have ended has no step.
        assert seen[:9] == whole[:9] == list(range(9)) and set(seen[-9:]) == set(range(9))
    else:
        assert seen == whole == [step % count for step in range(30)]


def test_data_that_begin_anew_are_said():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 7

        def __getitem__(self, i):
            return X[:8], Y[:8]

    with pytest.warns(tfgates.GatesWarning, match="the data begin anew after each rebuild.* data of type Batches"):
        tfgates.fit(gated(), Batches(), epochs=2, steps_per_epoch=3, verbose=0, shrink=SETTINGS)


def test_classes_are_no_callbacks():
    message = r"such as EarlyStopping\(...\). Received: <class"
    with pytest.raises(ValueError, match=message):
        trained(gated(), callbacks=[keras.callbacks.EarlyStopping])
    with pytest.raises(ValueError, match=message):
        gated().fit(X, Y, callbacks=[keras.callbacks.EarlyStopping], verbose=0)


def test_what_is_not_compiled_is_told_by_keras():
    model = tfgates.gate_model(keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(2)]))
    for train in (model.fit, lambda *given, **more: tfgates.fit(model, *given, **more)):
        with pytest.raises(ValueError, match="call `compile"):
            train(X, Y, verbose=0)
