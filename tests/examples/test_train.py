"""examples/train.py as a user runs it, and the parts that it is made of."""

import importlib
import importlib.util
import json
import os
import pathlib
import sys
import types

import keras
import numpy as np
import pytest

import tfgates
from tests import forked
from tests.reload import predict_in_fresh_process

# A result of frontier.py, with figures that no run would give.
FINISHED = {
    "model": "lenet5", "dataset": "digits", "gate": "disarm", "budget": {"macs": 0.5}, "seed": 0,
    "params": 1234, "macs": 5678, "params_left": 0.5, "macs_left": 0.4321, "validation_error": 0.25,
    "test_error": 0.125, "seconds": 1.0,
}  # fmt: skip

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(monkeypatch):
    """Imports a file of examples/ by its name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loaded = []

    def load(name):
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    for name in loaded:
        sys.modules.pop(name, None)


def run(*flags):
    return forked.run([EXAMPLES / "train.py", *flags])


# Runs the program where two formats cannot be made, which the report then says.
NO_CONVERTERS = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
import exports, keras
export = keras.Model.export
def picky(self, path, format="tf_saved_model", **rest):
    if format != "tf_saved_model":
        raise RuntimeError("no converter")
    return export(self, path, format=format, **rest)
keras.Model.export, exports.HAS_ONNX = picky, False
sys.argv[0] = sys.path[0] + "/train.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_digits_from_training_to_a_report(tmp_path):
    """Without the network to compare with, LiteRT and ONNX; with them it is slow."""
    flags = ("--epochs=2", "--finetune_epochs=1", f"--out={tmp_path}", "--batch_size=128", "--macs=0.5", "--nodense")
    done = forked.run(["-c", NO_CONVERTERS, EXAMPLES, *flags])
    assert done.returncode == 0, done.stderr
    for text in ("expected_params: ", "open_units: ", "test accuracy", "weights removed"):
        assert text in done.stdout
    small = keras.saving.load_model(tmp_path / "pruned.keras")
    assert 0 < tfgates.cost(small).macs <= 0.5 * 2_293_000
    assert "| conv2 | GatedConv2D |" in (tmp_path / "report.md").read_text()
    assert "<td>--macs</td><td>0.5</td>" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_digits_from_training_to_saved_model(tmp_path):
    (tmp_path / "frontier.json").write_text(json.dumps([FINISHED, {**FINISHED, "dataset": "mnist", "params": 777}]))
    done = run("--epochs=2", "--finetune_epochs=1", f"--out={tmp_path}", "--batch_size=128", "--macs=0.5")
    assert done.returncode == 0, done.stderr
    # The progress bar has the sparsity, the table what was found.
    for text in ("expected_params: ", "open_units: ", "test accuracy", "parameters", "MACs", "SavedModel, packed"):
        assert text in done.stdout
    assert "latency" in done.stdout and "weights removed" in done.stdout
    assert f"Pruned: {tmp_path / 'pruned_saved_model'}" in done.stdout
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in done.stdout
    assert {"gates", "train", "validation", "finetune", "dense"} <= {p.name for p in (tmp_path / "logs").iterdir()}
    x = np.random.default_rng(0).random((4, 28, 28, 1)).astype("float32")
    small = keras.saving.load_model(tmp_path / "pruned.keras")
    (served,) = predict_in_fresh_process(tmp_path / "pruned_saved_model", x, tmp_path, plain=True)
    np.testing.assert_allclose(served, small(x), atol=1e-5)
    assert 0 < tfgates.cost(small).macs <= 0.5 * 2_293_000
    report = (tmp_path / "report.md").read_text()
    for text in ("| conv2 | GatedConv2D |", "| `--macs` | 0.5 |", "| keras |"):
        assert text in report
    for name in ("before_and_after", "layers", "sparsity", "path", "report_frontier"):
        assert f"]({name}.png)" in report and (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    check_side_by_side(report, small, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in ("<td>--macs</td><td>0.5</td>", "test accuracy, pruned", ">fine-tuning</text>"))
    # The results of frontier.py for this network and data, and no others.
    assert "1,234 (50.00 %) | 5,678 (43.21 %)" in report and "777" not in report
    # Nothing half-written is left behind.
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def check_side_by_side(report, small, folder):
    """The dense, the gated and the pruned network in each format, smaller after pruning."""
    rows = {cells[0]: cells[1:] for line in report.splitlines() if len(cells := line.strip("| ").split(" | ")) == 4}
    assert next(line for line in report.splitlines() if line.startswith("|")) == "|  | dense | gated | pruned |"
    assert rows["parameters"][0] == "431,080" and rows["parameters"][2].startswith(f"{small.count_params():,} (")
    assert rows["MACs"][0] == "2,293,000"
    # The dense network was trained as long: it has an accuracy too.
    assert all(0 <= float(cell.removesuffix(" %")) <= 100 for cell in rows["test accuracy"])
    assert "trained as long as the other two together took" in report
    formats = ["SavedModel", "SavedModel, packed", ".keras", "LiteRT"]
    formats += ["ONNX"] if importlib.util.find_spec("onnx") and importlib.util.find_spec("tf2onnx") else []
    for name in formats:
        dense, gated, pruned = (float(cell.removesuffix(" KiB").replace(",", "")) for cell in rows[name])
        assert 0 < pruned < 0.8 * dense < gated
    # Without an optimizer, 4 bytes for each parameter and little else.
    assert 1684 < float(rows[".keras"][0].removesuffix(" KiB").replace(",", "")) < 1800
    for name in ("SavedModel latency, 1 image", "SavedModel latency, 120 images", "LiteRT latency, 1 image"):
        assert all(float(cell.removesuffix(" ms")) > 0 for cell in rows[name])
    # What is not trained is not left lying about.
    assert (folder / "pruned.tflite").exists() and not list(folder.glob("dense*"))


def test_without_the_dense_network_there_is_no_figure_of_it(load_example, tmp_path, monkeypatch):
    """Nor a line of it in the pictures."""
    monkeypatch.setattr(load_example("exports"), "side_by_side", lambda networks, images: ([], []))
    report = load_example("report")
    monkeypatch.setattr(report, "reload_difference", lambda *rest: 0.0)
    inputs = keras.Input((4,))
    gated = tfgates.gate_model(keras.Sequential([inputs, *(keras.layers.Dense(units) for units in (8, 2))]))
    plan, x, y = tfgates.plan_pruning(gated), np.zeros((6, 4), "float32"), np.zeros(6, "int64")
    batches = load_example("data").tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    data = types.SimpleNamespace(validation=batches, test=batches)
    found = {
        trained: report.measure(tfgates.prune(gated), gated, tfgates.prune(gated), plan, data, tmp_path, trained)
        for trained in (True, False)
    }
    assert set(found[True].tested) == set(found[True].validated) == {"dense", "gated", "pruned"}
    assert set(found[False].tested) == set(found[False].validated) == {"gated", "pruned"}
    assert [row[1] for row in found[False].rows if row[0] == "test accuracy"] == ["-"]
    assert "with untrained weights" in found[False].notes[0] and "trained as long" in found[True].notes[0]
    for name, before in (("with", 0.5), ("without", None)):
        load_example("before_and_after").draw(plan, before, 0.25, tmp_path / f"{name}.png")
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_a_format_that_does_not_work_gets_a_dash_and_the_reason(load_example, tmp_path, monkeypatch):
    exports = load_example("exports")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    export = keras.Model.export

    def picky(self, path, format="tf_saved_model", **rest):
        if format != "tf_saved_model" and self.name == "odd":
            raise RuntimeError("No such operation\nat length")
        export(self, path, format=format, **rest)

    monkeypatch.setattr(keras.Model, "export", picky)
    monkeypatch.setattr(exports, "HAS_ONNX", False)
    odd = keras.Model(model.input, model.output, name="odd")
    rows, notes = exports.side_by_side({"dense": (odd, None), "pruned": (model, tmp_path)}, np.zeros((3, 4), "float32"))
    cells = {name: values for name, *values in rows}
    assert notes == ["No LiteRT of the dense network: No such operation", exports.NO_ONNX]
    assert exports.NO_ONNX.endswith('pip install "tfgates[onnx]"')
    assert cells["LiteRT"][0] == "-" and cells["LiteRT"][1].endswith(" KiB")
    assert cells["LiteRT latency, 1 image"][0] == "-" and cells["SavedModel"][0].endswith(" KiB")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pruned.keras", "pruned.tflite", "pruned_saved_model"]


MISTAKES = {
    "--finetune_epochs=60": "--finetune_epochs must be less than --epochs. Received: 60",
    "--l0=1 --macs=0.3": "--l0 must not be given with a budget",
    "--penalty_params=1 --params=12k": "--penalty_params must not be given with a budget",
    "--macs=0": "`macs` must be a fraction",
    "--params=many": "`params` must be a fraction",
    "--l0=1,x": "--l0 must be numbers. Received: 1,x",
    "--boundaries=3,x": "--boundaries must be numbers. Received: 3,x",
    "--l0=1,2": "`l0` must have one entry for each",
    "--gate=scaling --macs=0.3": "--macs must not be given with --gate=scaling",
    "--gate=scaling --generator=forward": "--generator must not be given with --gate=scaling",
    "--sampling=example": "--sampling=example is for Bernoulli gates. Received: --gate=hard_concrete",
    "--strategy=multiworker": "needs TF_CONFIG in the environment of each worker",
    "--validation_share=2": "`validation_share` must lie in (0, 1). Received: 2.0",
    "--dataset=no_such_set --data_dir=.": "--dataset must be digits or a data set",
    "--dataset=mnist --data_dir=no_folder": "--data_dir must be a folder of tensorflow-datasets. Received: no_folder",
    "--dataset=mnist --data_dir=.": "The data set mnist is not in .: name another --data_dir, or --download it",
    "--out=theirs": "`folder` must be new, empty or hold a SavedModel alone",
    "--out=broken": "broken/frontier.json must be results of frontier.py",
    "--out=file/run": "`out` must be a folder that can be made and written",
}

# Calls `main` for each line of flags and prints how it ended; one process, since the imports take longest.
TRY_ALL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import train
from absl.testing import flagsaver
def trained(*rest):
    raise RuntimeError("It trained.")
train.fit = trained
ends = {}
for line in json.loads(sys.argv[2]):
    with flagsaver.flagsaver():
        train.FLAGS(["train.py", "--verbose=0", *line.split()])
        try:
            train.main(["train.py"])
        except SystemExit as end:
            ends[line] = str(end)
ends["--help"] = sorted(flag.name for flag in train.FLAGS.get_key_flags_for_module("train"))
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    """The last words of the program for each of `MISTAKES`."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "file").write_text("in the way")
    (folder / "theirs" / "pruned_saved_model").mkdir(parents=True)
    (folder / "theirs" / "pruned_saved_model" / "thesis.tex").write_text("not ours")
    (folder / "broken").mkdir()
    (folder / "broken" / "frontier.json").write_text("[{")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    done = forked.run(["-c", TRY_ALL, EXAMPLES, json.dumps(list(MISTAKES))], cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("flags", MISTAKES)
def test_mistakes_are_told_before_training(endings, flags):
    assert MISTAKES[flags] in endings[flags]


def test_help_lists_the_flags_of_this_program(endings):
    assert {"recipe", "model", "dense", "macs", "verbose"} <= set(endings["--help"])


def test_a_mistake_is_one_sentence():
    done = run("--l0=x")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "train.py" in line] == [
        "train.py: --l0 must be numbers. Received: x"
    ]
    assert "USAGE" not in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_digits_are_split_without_overlap(load_example):
    data = load_example("data").load("digits", None, 100, image_size=8)
    parts = [
        np.concatenate([images.numpy() for images, _ in split]).reshape(-1, 64)
        for split in (data.train, data.validation, data.test)
    ]
    assert [len(part) for part in parts] == [1318, 120, 359]
    assert data.train_examples == 1318 and data.input_shape == (8, 8, 1) and data.classes == 10
    # All scans differ from one another, so what is distinct is what there is.
    distinct = len(np.unique(np.concatenate(parts), axis=0))
    assert distinct == 1797
    assert all(part.min() >= 0.0 and part.max() == 1.0 for part in parts)


def test_digits_are_scaled_up_and_shuffled_anew_each_epoch(load_example):
    data = load_example("data").load("digits", None, 64, seed=1)
    assert data.input_shape == (28, 28, 1)
    orders = [np.concatenate([labels.numpy() for _, labels in data.train]) for _ in range(2)]
    assert np.any(orders[0] != orders[1])
    np.testing.assert_array_equal(np.sort(orders[0]), np.sort(orders[1]))
    again = load_example("data").load("digits", None, 64, seed=1)
    np.testing.assert_array_equal(orders[0], np.concatenate([labels.numpy() for _, labels in again.train]))


def test_refused_validation_share(load_example):
    with pytest.raises(ValueError, match=r"`validation_share` must lie in \(0, 1\). Received: 1.0"):
        load_example("data").load("digits", None, 64, validation_share=1.0)


def test_penalties_are_the_papers(load_example):
    data = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)
    model = load_example("networks").build("lenet5", data, "hard_concrete")
    np.testing.assert_allclose([gate.l0 * 60_000 for gate in model.gates], [10, 0.5, 0.1, 10])
    model = load_example("networks").build("mlp", data, "hard_concrete", l0=[0.3])
    np.testing.assert_allclose([gate.l0 * 60_000 for gate in model.gates], [0.3] * 3)


def test_the_gates_that_flags_ask_for(load_example):
    networks = load_example("networks")
    data = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)
    model = networks.build("lenet5", data, "dep_hc")
    (generator,) = (layer for layer in model.layers if isinstance(layer, tfgates.layers.GateGenerator))
    assert generator.order == "forward" and generator.units == [20, 50, 800, 500]
    np.testing.assert_allclose([gate.l0 * 60_000 for gate in model.gates], [0.1] * 4)
    model = networks.build("mlp", data, "arm")
    assert {(gate.sampling, gate.estimator) for gate in model.gates} == {("example", "arm")}
    model = networks.build("mlp", data, "arm", sampling="batch")
    assert {gate.sampling for gate in model.gates} == {"batch"}
    model = networks.build("mlp", data, "hard_concrete", budget=tfgates.Budget(params=0.5))
    assert model.budget.params == 0.5 and {gate.l0 for gate in model.gates} == {0.0}
    model = networks.build("mlp", data, "hard_concrete", penalty_params=1e-6)
    np.testing.assert_allclose(model.penalty["params"], 266_610e-6)


# Prints what flags make of the optimizers and penalties; in a process of its own, as flags are global.
RECIPES = """
import json, sys, types
sys.path.insert(0, sys.argv[1])
import train
from absl.testing import flagsaver
data = types.SimpleNamespace(train=types.SimpleNamespace(cardinality=lambda: 10), input_shape=(32, 32, 3), classes=10)
found = {}
for line in json.loads(sys.argv[2]):
    with flagsaver.flagsaver():
        train.FLAGS(["train.py", *line.split()])
        train.settings.apply_recipe()
        train.settings.check()
        weights, gates = train.weights_optimizer(data, 200, train.FLAGS.weight_decay), train.gates_optimizer(data, 200)
        rate = getattr(gates, "learning_rate", 0)
        found[line] = [weights.weight_decay, getattr(gates, "weight_decay", None), type(gates).__name__, float(rate),
                       train.settings.penalty_params(), train.settings.penalties()]
print(json.dumps(found))
"""
FLAGS = (
    "--recipe=l0_hc_wrn28_10_cifar10",
    "--recipe=dep_l0_vgg16_cifar10",
    "--recipe=dep_l0_vgg16_cifar10 --macs=0.5",
    "--macs=0.5",
    "--macs=0.5 --gate_learning_rate=0.5",
)


@pytest.fixture(scope="module")
def made_of_flags():
    done = forked.run(["-c", RECIPES, EXAMPLES, json.dumps(FLAGS)])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_gates_never_have_weight_decay(made_of_flags):
    """The recipe of the wide ResNet updates gates as weights, but for the decay."""
    weights, gates, kind, rate, _, l0 = made_of_flags["--recipe=l0_hc_wrn28_10_cifar10"]
    assert weights == pytest.approx(5e-3) and gates is None
    assert kind == "SGD" and rate == pytest.approx(0.1) and len(l0) == 1


def test_a_budget_takes_the_place_of_a_recipe_s_penalty(made_of_flags):
    assert made_of_flags["--recipe=dep_l0_vgg16_cifar10"][4] == 1e-6
    assert made_of_flags["--recipe=dep_l0_vgg16_cifar10 --macs=0.5"][4] is None


def test_a_budget_sets_the_pace_of_the_gates_unless_told(made_of_flags):
    assert made_of_flags["--macs=0.5"][2] == "str"
    assert made_of_flags["--macs=0.5 --gate_learning_rate=0.5"][2:4] == ["Adam", 0.5]


def test_learning_rates(load_example):
    schedule = load_example("optimization").schedule
    steps = schedule(0.1, [2, 4], 0.5, steps_per_epoch=10, epochs=6)
    np.testing.assert_allclose([float(steps(s)) for s in (0, 20, 21, 40, 41)], [0.1, 0.1, 0.05, 0.05, 0.025])
    cosine = schedule(0.1, "cosine", 0.5, steps_per_epoch=10, epochs=6)
    np.testing.assert_allclose([float(cosine(s)) for s in (0, 30, 60)], [0.1, 0.05, 0.0], atol=1e-7)
    assert schedule(0.1, [], 0.5, 10, 6) == 0.1


def test_optimizers(load_example):
    make = load_example("optimization").optimizer
    sgd = make("sgd", 0.1, momentum=0.5, nesterov=False, weight_decay=1e-4, average=0.9)
    assert isinstance(sgd, keras.optimizers.SGD) and not sgd.nesterov
    assert (sgd.momentum, sgd.weight_decay, sgd.use_ema, sgd.ema_momentum) == (0.5, 1e-4, True, 0.9)
    adam = make("adam", 0.1)
    assert isinstance(adam, keras.optimizers.Adam) and adam.weight_decay is None and not adam.use_ema


def test_kernel_weights_are_those_of_the_papers(load_example):
    data = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)
    model = load_example("networks").build("lenet5", data, "hard_concrete")
    assert load_example("report").kernel_weights(model) == 500 + 25_000 + 400_000 + 5_000
