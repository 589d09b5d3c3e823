"""compress: phases, the size that comes out, and that training goes on exactly after an interruption."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import array, tensorflow
from tests.interruption.methods import Interrupt, TrainingEndedError
from tfgates.compression import phases
from tfgates.compression.phases import fine_tuning_epochs
from tfgates.gating import check
from tfgates.graph.equality import outputs_of
from tfgates.graph.examples import AT_A_TIME, in_parts
from tfgates.testing import METHODS
from tfgates.training.steps import steps_of, steps_per_epoch

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def digits():
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    x, y = datasets.load_digits(return_X_y=True)
    return (x / 16.0).reshape(-1, 8, 8, 1).astype("float32"), y


def network():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(12, 3, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(24, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(48, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def test_fine_tuning_epochs():
    assert fine_tuning_epochs(30, 0.4) == 12
    assert fine_tuning_epochs(2, 0.1) == 1
    assert fine_tuning_epochs(3, 0.9) == 2
    assert fine_tuning_epochs(1, 0.0) == 0
    with pytest.raises(ValueError, match="`epochs` must be an integer of at least 2. Received: epochs=1"):
        fine_tuning_epochs(1, 0.4)
    with pytest.raises(ValueError, match="`fine_tune` must be a share.*Received: fine_tune=1"):
        fine_tuning_epochs(10, 1.0)


def test_steps_of():
    tf = tensorflow("its data are of tf.data")
    x = np.zeros((10, 2))
    assert steps_per_epoch((x, x), 4) == 3
    assert steps_per_epoch({"a": x}, 5) == 2
    data = tf.data.Dataset.from_tensor_slices((x, x)).batch(5)
    assert steps_per_epoch(data, 4) == 2
    assert steps_per_epoch(data.filter(lambda a, b: True), 4) == 2
    assert steps_per_epoch(data.repeat(), 4) is None
    assert steps_of({"x": x, "epochs": 3, "validation_split": 0.5, "batch_size": 2}) == 9
    assert steps_of({"x": data.repeat(), "epochs": 5, "initial_epoch": 3, "steps_per_epoch": 7}) == 14
    assert steps_of({"x": data.repeat(), "epochs": 5}) is None


def test_no_layer_sees_the_training_data_whole_before_the_training(monkeypatch):
    # A whole training set at once fills the memory with what each layer makes of it.
    sizes = []
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
    data = np.ones((200, 4), "float32"), np.ones((200, 2), "float32")
    monkeypatch.setattr(check, "outputs_of", lambda model, x, call: sizes.append(len(x)) or outputs_of(model, x, call))
    monkeypatch.setattr(phases.GatesPhase, "finished", lambda self, trained: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tfgates.compress(model, data, tfgates.Budget(params=0.7), "mse", epochs=2, batch_size=100, verbose=0)
    assert max(sizes) == AT_A_TIME
    assert [len(x) for x in in_parts(np.ones((70, 4)))] == [32, 32, 6]
    one, scalar = {"a": np.ones((70, 4)), "b": np.ones((70,))}, {"a": np.ones((70, 4)), "b": np.float32(1.0)}
    assert [{k: len(v) for k, v in x.items()} for x in in_parts(one)][-1] == {"a": 6, "b": 6}
    assert list(in_parts(scalar)) == [scalar] and len(list(in_parts([["a"]] * 70))) == 1


def test_sizes_that_are_open_and_the_page_of_the_run(capsys, tmp_path):
    inputs = keras.Input((None, 3))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(8, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    history = keras.callbacks.History()
    data = np.ones((8, 5, 3), "float32"), np.ones((8, 2), "float32")
    page = tmp_path / "run.html"
    tfgates.compress(
        model, data, tfgates.Budget(params=0.7), "mse", epochs=2, callbacks=[history], verbose=2, report=page
    )
    text = page.read_text("utf-8")
    for shown in (
        "<td>Budget(params=0.7)</td>",
        ">expected_params</text>",
        ">fine-tuning</text>",
        "<td>1 and 1 of fine-tuning",
    ):
        assert shown in text
    printed = capsys.readouterr().out
    # The data say how long the open axis is: 3 places of the 5.
    assert "62 parameters and 145 MACs" in printed and "nan" not in printed
    assert "expected_params" in printed and "expected_macs" in printed


def every_gate(quick):
    """The gates of all methods, those that are not in `quick` in the slow suite."""
    gates = [name for name, method in METHODS.items() if method.generator is None]
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in gates]


@pytest.mark.parametrize("gate", every_gate(quick=("disarm",)))
def test_every_method_lands_within_three_points(digits, gate):
    x, y = digits
    model = network()
    before = [array(w) for w in model.weights]
    small = tfgates.compress(
        model, (x[:1400], y[:1400]), tfgates.Budget(macs=0.3), LOSS,
        epochs=10, metrics=["accuracy"], batch_size=64, gate=gate, verbose=0,
    )  # fmt: skip
    fraction = tfgates.cost(small).macs / tfgates.cost(model).macs
    assert 0.27 <= fraction <= 0.3
    assert small.evaluate(x[1400:], y[1400:], verbose=0)[1] > 0.8
    assert not any(type(layer).__module__.startswith("tfgates") for layer in small.layers)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.5, 0.3])
def test_mobilenet_with_the_same_defaults(digits, target):
    """Inverted residuals with depthwise convolutions: the size is met, and something is learnt."""
    x, y = digits
    x = np.repeat(np.repeat(np.repeat(x, 4, axis=1), 4, axis=2), 3, axis=3)
    model = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Averages that settle within the few steps of this run.
            layer.momentum = 0.9
    small = tfgates.compress(
        model, (x[:1400], y[:1400]), tfgates.Budget(macs=target), LOSS,
        epochs=12, metrics=["accuracy"], batch_size=64, verbose=0,
    )  # fmt: skip
    assert target - 0.03 <= tfgates.cost(small).macs / tfgates.cost(model).macs <= target
    # 264 steps from scratch: three times chance says that what is left learns at all.
    assert small.evaluate(x[1400:], y[1400:], verbose=0)[1] > 0.3


def test_datasets_weights_and_no_fine_tuning(digits, capsys):
    tf = tensorflow("its data are of tf.data")
    x, y = digits
    weights = np.ones(len(y), "float32")
    data = tf.data.Dataset.from_tensor_slices((x[:256], y[:256], weights[:256])).batch(64)
    small = tfgates.compress(network(), data, tfgates.Budget(params=0.5), LOSS, epochs=2, fine_tune=0.0, verbose=2)
    assert tfgates.cost(small).params <= 0.5 * network().count_params()
    assert "compress: pruned to" in capsys.readouterr().out


def test_a_loss_that_cannot_be_written_down_trains_both(digits):
    x, y = digits
    small = tfgates.compress(
        network(), (x[:64], y[:64]), tfgates.Budget(macs=0.5), lambda y, p: LOSS(y, p), epochs=2, verbose=0
    )
    assert small.compiled and int(small.optimizer.iterations) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"batch_size": None}, "`batch_size` must be a positive integer. Received: batch_size=None"),
        ({"validation_data": np.zeros((3, 8, 8, 1))}, "`validation_data` must have targets for `loss`"),
        ({"validation_data": iter([])}, "`validation_data` must be arrays or a data set that can be read again"),
        ({"batch_size": True}, "`batch_size` must be a positive integer. Received: batch_size=True"),
        ({"data": (np.zeros((0, 8, 8, 1)), np.zeros(0))}, "`data` must be .* with at least one example"),
        ({"data": ([[1.0] * 64] * 500, [0] * 500)}, r"`data` must be arrays or a finite data set. .{1,400}$"),
    ],
)
def test_mistakes_are_told_before_anything_is_gated(digits, change, message):
    with pytest.raises(ValueError, match=message):
        tfgates.compress(
            **{
                "model": network(),
                "data": digits,
                "budget": tfgates.Budget(macs=0.5),
                "loss": LOSS,
                "epochs": 2,
                **change,
            }
        )


# What is made by a function has no length for Keras, either.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("importance", [None, "magnitude"])
def test_a_length_where_the_data_do_not_tell_it(importance):
    tf = tensorflow("its data are of tf.data")
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Embedding(20, 4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))
    parts = np.random.default_rng(0).integers(0, 20, (16, 7)), np.zeros(16, "int64")
    told = tf.data.Dataset.from_tensor_slices(parts).batch(8)
    open_size = (tf.TensorSpec((None,), "int64"), tf.TensorSpec((), "int64"))
    data = tf.data.Dataset.from_generator(lambda: zip(*parts, strict=True), output_signature=open_size).padded_batch(8)
    asked = {"loss": LOSS, "epochs": 2, "verbose": 0, "importance": importance}
    with pytest.raises(ValueError, match="needs those of every layer to be known.*give `length`"):
        tfgates.compress(model, data, tfgates.Budget(macs=0.5), **asked)
    small = tfgates.compress(model, data, tfgates.Budget(macs=0.5), length=7, **asked)
    assert tfgates.cost(small, length=7).macs <= 0.5 * tfgates.cost(model, length=7).macs
    small = tfgates.compress(model, told, tfgates.Budget(macs=0.5), **asked)
    assert tfgates.cost(small, length=7).macs <= 0.5 * tfgates.cost(model, length=7).macs


def test_bad_budget(digits):
    with pytest.raises(ValueError, match="`budget` must be a tfgates.Budget"):
        tfgates.compress(network(), digits, None, LOSS, epochs=3)


@pytest.mark.parametrize(
    "ends", [(1, 4), *[pytest.param(ends, marks=pytest.mark.slow) for ends in ((1,), (4,), (0, 3, 5))]], ids=str
)
def test_interrupted_and_started_again_it_ends_the_same_to_the_bit(digits, tmp_path, ends):
    """Epochs 0 to 3 have gates, 4 and 5 fine-tune; state lies in a folder for each."""
    tf = tensorflow("its data are of tf.data")
    data = tf.data.Dataset.from_tensor_slices((digits[0][:320], digits[1][:320])).batch(64)

    def run(*callbacks, **arguments):
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        return tfgates.compress(
            network(), data, tfgates.Budget(macs=0.4), LOSS,
            epochs=6, seed=1, verbose=0, callbacks=callbacks, **arguments,
        )  # fmt: skip

    whole = run()
    for end in ends:
        with pytest.raises(TrainingEndedError):
            run(Interrupt(end), resume=tmp_path)
    resumed = run(resume=tmp_path)
    for ours, theirs in (
        (whole.variables, resumed.variables),
        (whole.optimizer.variables, resumed.optimizer.variables),
    ):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_callbacks_for_gates_see_the_gated_network_alone(digits, tmp_path):
    class Seen(keras.callbacks.Callback):
        models = []

        def on_train_begin(self, logs=None):
            self.models.append(type(self.model).__name__)

    data = (digits[0][:128], digits[1][:128])
    callbacks = [tfgates.callbacks.SparsityMonitor(str(tmp_path)), Seen()]
    tfgates.compress(network(), data, tfgates.Budget(macs=0.5), LOSS, epochs=2, verbose=0, callbacks=callbacks)
    assert Seen.models == ["FunctionalGatedModel", "Functional"]
    with pytest.raises(
        ValueError, match="`callbacks` must not hold a Resume: give its folder as `resume`. Received: one"
    ):
        tfgates.compress(
            network(), data, tfgates.Budget(macs=0.5), LOSS, callbacks=[tfgates.callbacks.Resume(tmp_path)]
        )


def test_without_fine_tuning_averages_fit_what_is_left(digits):
    """Ten steps of a momentum of 0.99 leave averages near their start; those of the result are the data's."""
    x, y = digits[0][:640], digits[1][:640]
    small = tfgates.compress(
        network(), (x, y), tfgates.Budget(macs=0.5), LOSS, epochs=1, fine_tune=0.0, batch_size=64, verbose=0
    )
    (layer,) = [layer for layer in small.layers if isinstance(layer, keras.layers.BatchNormalization)]
    seen = keras.Model(small.input, layer._inbound_nodes[0].input_tensors[0])(x, training=False)
    np.testing.assert_allclose(layer.moving_mean, np.mean(seen, axis=(0, 1, 2)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gate", [pytest.param("hard_concrete", marks=pytest.mark.slow), "disarm"])
def test_resumed_training_is_the_same_to_the_bit(digits, tmp_path, gate):
    x, y = digits[0][:512], digits[1][:512]

    def train(model, epochs, initial_epoch=0):
        # One shuffle per epoch from a seed of its own, so that data are the same after a restart.
        for epoch in range(initial_epoch, epochs):
            order = np.random.default_rng(epoch).permutation(len(x))
            model.fit(x[order], y[order], batch_size=64, epochs=1, shuffle=False, verbose=0)

    def fresh():
        keras.utils.clear_session()
        keras.utils.set_random_seed(3)
        model = tfgates.gate_model(network(), gate=gate, budget=tfgates.Budget(macs=0.3), seed=5)
        model.compile("adam", loss=LOSS)
        return model

    whole = fresh()
    train(whole, 4)
    part = fresh()
    train(part, 2)
    part.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    train(resumed, 4, initial_epoch=2)
    assert int(whole._structure_step) == int(resumed._structure_step) == 4 * 8
    pairs = [(m.variables, m.optimizer.variables) for m in (whole, resumed)]
    for ours, theirs in zip(*pairs, strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), a.path)


def test_importance_in_place_of_gates(digits):
    """The control: the same epochs, steps and rates; the dense network is trained, then pruned by magnitude."""
    x, y = digits[0][:640], digits[1][:640]
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kinds = {type(layer).__module__.split(".")[0] for layer in self.model.layers}
            seen.append((epoch, self.model.count_params(), kinds, type(self.model.optimizer).__name__))

    model = network()
    before = [np.array(v) for v in model.variables]
    small = tfgates.compress(
        model, (x, y), tfgates.Budget(macs=0.4), LOSS,
        epochs=5, batch_size=64, verbose=0, importance="magnitude",
        callbacks=[Seen(), tfgates.callbacks.SparsityMonitor()],
    )  # fmt: skip
    assert 0.37 <= tfgates.cost(small).macs / tfgates.cost(model).macs <= 0.4
    dense, left = model.count_params(), small.count_params()
    assert [row[:2] for row in seen] == [(0, dense), (1, dense), (2, dense), (3, left), (4, left)]
    assert all(kinds == {"keras"} and optimizer == "AdamW" for _, _, kinds, optimizer in seen)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable))


@pytest.mark.parametrize(
    "importance", ["taylor", {"importance": "l1", "compare": "uniform"}, lambda units: -np.arange(units.count)]
)
def test_any_importance_in_place_of_gates(digits, importance):
    tf = tensorflow("its data are of tf.data")
    x, y = digits[0][:256], digits[1][:256]
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(64)
    model = network()
    small = tfgates.compress(model, data, tfgates.Budget(macs=0.4), LOSS, epochs=2, verbose=0, importance=importance)
    assert tfgates.cost(small).macs <= 0.4 * tfgates.cost(model).macs


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gate": "arm"}, "`importance` takes the place of gates.*Received: gate='arm'"),
        ({"generator": "forward"}, "`importance` takes the place of gates.*generator='forward'"),
        ({"seed": 3}, "`importance` takes the place of gates.*Received: .*{'seed': 3}"),
        ({"importance": {"round_to": 2}}, "`importance` must leave to `compress`.*Received: .'round_to'."),
    ],
)
def test_importance_beside_gates_is_refused(digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        tfgates.compress(
            network(), digits, tfgates.Budget(macs=0.5), LOSS, epochs=2, verbose=0, **{"importance": "l1", **arguments}
        )


@pytest.mark.parametrize("report", ["run.txt", "no/such/folder/run.html", ".", 3])
def test_a_page_that_cannot_be_written_is_refused_before_training(digits, report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"`report` must be None or the path of an HTML file.*report={report!r}"):
        tfgates.compress(network(), digits, tfgates.Budget(macs=0.5), LOSS, epochs=2, report=report)


@pytest.mark.parametrize("importance", [None, "l1"])
def test_widths_that_no_budget_holds_are_refused_before_training(digits, importance):
    class Never(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise AssertionError

    with pytest.raises(ValueError, match=r"`budget` cannot be kept: .*\(for round_to=12\) it is exceeded"):
        tfgates.compress(
            network(), digits, tfgates.Budget(macs=0.2), LOSS,
            epochs=2, verbose=0, round_to=12, importance=importance, callbacks=[Never()],
        )  # fmt: skip
