"""The command tfgates: what it prints and writes, what it says of files that are no models, and how soon."""

import json
import os
import pathlib
import runpy
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import tfgates
import tfgates_cli
from tfgates import commands
from tfgates.pruning import PruningError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def saved(tmp_path):
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.Flatten()(x)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(3)(x), name="small_one"))
    for gate in model.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < 3, 3.0, -3.0))
    path = tmp_path / "model.keras"
    model.save(path)
    return model, path


def run(*line):
    """What the command does in this process; paths are strings."""
    tfgates_cli.main([str(part) for part in line])


def test_inspect_is_one_table(saved, capsys):
    model, path = saved
    run("inspect", path)
    output = capsys.readouterr().out
    plan, cost = tfgates.plan_pruning(model), tfgates.cost(model)
    assert output == plan.table(cost) + "\n"
    (row,) = [line.split() for line in output.splitlines() if line.startswith("conv2d")]
    assert row == f"conv2d GatedConv2D 3 of 8 30 of 80 {cost.layers[0].expected_params:.0f} 432 of 1,152 {570}".split()
    assert sum(line.startswith("total") for line in output.splitlines()) == 1


def test_inspect_of_a_plain_model_expects_nothing(tmp_path, capsys):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.save(tmp_path / "plain.keras")
    run("inspect", tmp_path / "plain.keras")
    assert capsys.readouterr().out == f"{tfgates.plan_pruning(model)}\n"


@pytest.mark.parametrize("given, counted", [(None, 20), (30, 30)])
@pytest.mark.parametrize("gated", [False, True])
def test_inspect_of_a_length(gated, given, counted, tmp_path, capsys):
    """Of a gated network the length is known from `gate_model`, unless another one is given."""
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Dense(7)(keras.layers.Embedding(50, 5)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    model = tfgates.gate_model(model, length=20) if gated else model
    model.save(tmp_path / "open.keras")
    run("inspect", tmp_path / "open.keras", "--json", *([f"--length={given}"] if given else []))
    result = json.loads(capsys.readouterr().out)
    assert result["dense_macs"] == (counted * 5 * 7 + 7 * 3 if gated or given else None)


def test_inspect_as_json(saved, capsys):
    model, path = saved
    run("inspect", path, "--json", "--min_units=5")
    result = json.loads(capsys.readouterr().out)
    plan, cost = tfgates.plan_pruning(model, min_units=5), tfgates.cost(model)
    assert (result["params"], result["macs"]) == (plan.params, plan.macs)
    assert result["min_units"] == 5 and result["layers"][0]["units_left"] == 5
    assert result["expected_macs"] == pytest.approx(cost.expected_macs)
    assert [row["expected_params"] for row in result["layers"]] == [row.expected_params for row in cost.layers]


def test_prune_writes_a_plain_model(saved, tmp_path, capsys):
    model, path = saved
    out = tmp_path / "pruned.keras"
    run("prune", path, "--out", out, "--export", tmp_path / "saved_model", "--round_to=4", "--json")
    small = keras.models.load_model(out)
    assert [layer.filters for layer in small.layers if isinstance(layer, keras.layers.Conv2D)] == [4]
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    np.testing.assert_allclose(small(x), model(x, training=False), atol=1e-5)
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    result = json.loads(capsys.readouterr().out)
    assert (result["out"], result["params"]) == (str(out), small.count_params())


@pytest.mark.parametrize("kind", [None, "renorm", "frozen", "plain"])
def test_prune_tells_of_averages_that_it_cannot_gather(kind, tmp_path, capsys):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3)(inputs)
    x = x if kind is None else keras.layers.BatchNormalization(renorm=kind == "renorm", trainable=kind != "frozen")(x)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.ReLU()(x))))
    model.gates[0].logits.assign([3.0, -9.0, 3.0])
    model.save(tmp_path / "gated.keras")
    run("prune", tmp_path / "gated.keras", f"--out={tmp_path / 'small.keras'}")
    said = capsys.readouterr().err
    assert ("averages of batch normalisation stay" in said) is (kind == "plain")
    assert len(said.splitlines()) == (kind == "plain")


@pytest.mark.filterwarnings("default::tfgates.GatesWarning")
def test_prune_without_anything_closed(tmp_path, capsys):
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs), name="open").save(tmp_path / "plain.keras")
    run("prune", tmp_path / "plain.keras", f"--out={tmp_path / 'small.keras'}")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tfgates: `prune` removes nothing") and "model='open'" in line


def test_report(saved, tmp_path, capsys):
    _, path = saved
    run("report", path, f"--out={tmp_path / 'report'}", "--json")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "3 of 8" in text
    assert f"model.keras has {path.stat().st_size / 1024:,.1f} KiB, " in text and " KiB packed." in text
    assert (tmp_path / "report" / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(capsys.readouterr().out)["files"] == [
        str(tmp_path / "report" / name) for name in ("report.md", "layers.png")
    ]


def test_files_that_are_no_models(saved, tmp_path):
    _, path = saved
    cut = tmp_path / "cut.keras"
    cut.write_bytes(path.read_bytes()[:1000])
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "hello")
    for file, message in [
        (tmp_path / "nothing.keras", "There is no file"),
        (tmp_path, "must be a model saved as .keras"),
        (cut, "cut off while it was written"),
        (foreign, "cannot be loaded"),
    ]:
        with pytest.raises(SystemExit, match=message):
            run("inspect", file)


def test_code_in_a_file_runs_only_when_asked(tmp_path, capsys):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1, output_shape=(2,))(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(SystemExit, match="cannot be loaded"):
        run("inspect", tmp_path / "lambda.keras")
    run("inspect", tmp_path / "lambda.keras", "--unsafe")
    assert "total" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: COMMAND (see tfgates --help)"),
        ("shrink model.keras", "invalid choice: 'shrink' (choose from"),
        ("prune --out=small.keras", "the following arguments are required: MODEL.keras (see tfgates prune --help)"),
        ("inspect model.keras --export=folder", "unrecognized arguments: --export=folder"),
        ("inspect model.keras --round_to=0", "argument --round_to: must be an integer of at least 1. Received: 0"),
        ("inspect model.keras --min_units=-1", "must be an integer of at least 0. Received: -1"),
        ("inspect model.keras --length=0", "argument --length: must be an integer of at least 1. Received: 0"),
        ("inspect model.keras --min_units=few", "must be an integer of at least 0. Received: few"),
        ("inspect model.keras --min_units=1-", "must be an integer of at least 0. Received: 1-"),
    ],
)
def test_what_is_asked_for_wrongly(line, message, capsys):
    with pytest.raises(SystemExit) as end:
        run(*line.split())
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.err.startswith("tfgates: ") and message in output.err
    assert output.err.count("\n") == 1 and output.out == ""


def test_a_failure_leaves_what_was_there(saved, tmp_path, monkeypatch):
    _, path = saved
    out = tmp_path / "pruned.keras"
    out.write_bytes(b"before")

    def broken(self, target, **kwargs):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", broken)
    with pytest.raises(SystemExit, match="tfgates: disk full"):
        run("prune", path, f"--out={out}")
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.keras", "pruned.keras"]


def close_all(model):
    for gate in model.gates:
        gate.logits.assign(np.full(gate.units, -6.0))


def spoil(model):
    model.gates[0].logits.assign(np.full(8, np.nan))


@pytest.mark.parametrize("name", ["inspect", "prune", "report"])
@pytest.mark.parametrize(("change", "message"), [(close_all, "are closed"), (spoil, "must be finite")])
def test_models_that_cannot_be_pruned(name, change, message, saved, tmp_path, capsys):
    model, path = saved
    change(model)
    model.save(path)
    line = [
        name,
        path,
        *({"prune": [f"--out={tmp_path / 'small.keras'}"], "report": [f"--out={tmp_path}"]}.get(name, [])),
    ]
    if change is close_all and name != "prune":
        # What would be refused is shown.
        run(*line)
        return
    with pytest.raises(SystemExit, match=f"^tfgates: .*{message}") as end:
        run(*line)
    assert "\n" not in str(end.value)
    assert not (tmp_path / "small.keras").exists()


def test_a_model_that_is_not_built(tmp_path):
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    with pytest.raises(SystemExit, match="^tfgates: `model` must be built"):
        run("inspect", tmp_path / "unbuilt.keras")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strings are of TensorFlow")
def test_a_model_that_reads_strings(tmp_path):
    inputs = keras.Input((1,), dtype="string")
    found = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.Dense(16, activation="relu")(found))
    tfgates.gate_model(keras.Model(inputs, outputs)).save(tmp_path / "words.keras")
    with pytest.raises(SystemExit, match=r"The command has no data: `tfgates.prune` in Python has `inputs`. No random"):
        run("prune", tmp_path / "words.keras", f"--out={tmp_path / 'small.keras'}")


@pytest.mark.parametrize(
    "error", [ImportError("Pictures need matplotlib"), OSError("disk full"), PruningError("It\ndiffers")]
)
def test_what_is_missing_is_told_in_a_sentence(error, saved, tmp_path, monkeypatch):
    _, path = saved

    def failing(*_):
        raise error

    monkeypatch.setattr(commands, "draw_plan", failing)
    with pytest.raises(SystemExit) as end:
        run("report", path, f"--out={tmp_path}")
    assert str(end.value) == "tfgates: " + " ".join(str(error).split())


def test_bugs_keep_their_tracebacks(saved, tmp_path, monkeypatch):
    _, path = saved
    monkeypatch.setattr(commands, "draw_plan", None)
    with pytest.raises(TypeError):
        run("report", path, f"--out={tmp_path}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inspect none.keras", "There is no file none.keras"),
        ("prune none.keras", "There is no file none.keras"),
        ("prune none.keras --out=small.h5", "There is no file none.keras"),
        ("report none.keras", "There is no file none.keras"),
        ("prune model.keras", "prune needs --out=SMALL.keras. Received: --out=None"),
        ("prune model.keras --out=small.h5", "prune needs --out=SMALL.keras. Received: --out=small.h5"),
        ("prune model.keras --out=folder.keras", "--out must be a file. Received: --out=folder.keras"),
        ("prune model.keras --out=file/small.keras", "file cannot be made: File exists"),
        ("prune model.keras --out=./model.keras", "--out must be another file than the model. Received: model.keras"),
        ("prune model.keras --out=link.keras", "--out must be another file than the model. Received: model.keras"),
        ("prune link.keras --out=model.keras", "--out must be another file than the model. Received: link.keras"),
        ("prune model.keras --out=small.keras --export=file", "--export: `folder` must be new, empty or hold a Saved"),
        ("prune model.keras --out=small.keras --export=mine", r"Received: folder='mine' \(it holds my_notes.txt\)"),
        (
            "prune model.keras --out=small.keras --export=.",
            "--export must be a folder of its own. Received: --export=.",
        ),
        ("prune model.keras --out=new/a.keras --export=new", "--export must be a folder of its own. Received"),
        ("prune model.keras --out=small.keras --export=file/saved", "file cannot be made"),
        ("report model.keras", "report needs --out=FOLDER"),
        ("report model.keras --out=file", "file cannot be made: File exists"),
    ],
)
def test_arguments_are_checked_before_the_model_is_loaded(line, message, saved, tmp_path, monkeypatch):
    _, path = saved
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "load", lambda path, unsafe: pytest.fail(f"It loaded {path}"))
    (tmp_path / "link.keras").symlink_to(path)
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    for name in ("saved_model.pb", "my_notes.txt"):
        (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(SystemExit, match=message):
        run(*line.split())
    assert path.read_bytes() == before and (tmp_path / "mine" / "my_notes.txt").read_text() == "mine"


def test_an_export_is_replaced_whole(saved, tmp_path, monkeypatch):
    _, path = saved
    folder = tmp_path / "saved_model"
    line = ("prune", path, f"--out={tmp_path / 'small.keras'}", f"--export={folder}")
    run(*line)
    (folder / "assets" / "of_the_old_one").write_text("")
    run(*line)
    assert (folder / "saved_model.pb").exists() and not (folder / "assets" / "of_the_old_one").exists()

    def broken(self, target, **kwargs):
        pathlib.Path(target).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "export", broken)
    before = (folder / "saved_model.pb").read_bytes()
    with pytest.raises(SystemExit, match="disk full"):
        run(*line)
    assert (folder / "saved_model.pb").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def program(*line, **settings):
    """The command in a process of its own, its output as text."""
    return subprocess.run(
        [sys.executable, *map(str, line)], capture_output=True, text=True, check=False, cwd=ROOT, **settings
    )


def test_the_module_is_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tfgates", "inspect", str(tmp_path / "none.keras")])
    with pytest.raises(SystemExit, match="^tfgates: There is no file"):
        runpy.run_module("tfgates", run_name="__main__", alter_sys=True)


def test_nothing_is_loaded_before_the_arguments_are_checked(saved, tmp_path):
    _, path = saved
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    code = (
        "import sys, tfgates_cli\n"
        "try:\n    tfgates_cli.main(sys.argv[1:])\n"
        "finally:\n    print({'tensorflow', 'keras', 'numpy', 'tfgates'} & set(sys.modules))"
    )
    out = f"--out={tmp_path / 'small.keras'}"
    for line, message in (
        (["--help"], "usage: tfgates"),
        (["prune", "--help"], "usage: tfgates prune"),
        (["--version"], f"tfgates {tfgates.__version__}"),
        (["inspect", tmp_path / "none.keras"], "There is no file"),
        (["prune", path, out, f"--export={tmp_path / 'mine'}"], "it holds notes.txt"),
    ):
        done = program("-c", code, *line)
        assert message in done.stdout + done.stderr
        assert done.stdout.endswith("set()\n")


def test_success_is_quiet(saved, tmp_path):
    _, path = saved
    small, folder = tmp_path / "small.keras", tmp_path / "saved_model"
    # As a user starts it: without the settings of these tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = program("tfgates_cli.py", "prune", path, f"--out={small}", f"--export={folder}", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [str(small), str(folder)]


def test_what_libraries_say_is_shown_when_they_cannot_be_loaded(saved):
    _, path = saved
    code = (
        "import os, sys, tfgates_cli\n"
        "class Broken:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'keras':\n"
        "            os.write(2, b'no driver')\n"
        "            raise ImportError('no keras')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "tfgates_cli.main(sys.argv[1:])"
    )
    done = program("-c", code, "inspect", path)
    assert done.returncode == 1
    assert "no driver" in done.stderr and "ImportError: no keras" in done.stderr


def test_a_reader_that_has_had_enough(saved):
    _, path = saved
    # The output of a large network, more than a pipe holds.
    code = (
        "import sys, types, tfgates_cli\n"
        "sys.modules['tfgates.commands'] = types.SimpleNamespace(run=lambda _: print('layer\\n' * 100_000))\n"
        "tfgates_cli.main(sys.argv[1:])"
    )
    line = ["bash", "-c", '"$@" | head -n 1', "bash", sys.executable, "-c", code, "inspect", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("layer\n", "")
