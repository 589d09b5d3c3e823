"""python -m tfgates: what it prints and writes, and what it says of files that are no models."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import app

import tfgates
from tfgates import __main__ as command
from tfgates.pruning import PruningError


@pytest.fixture
def flags(monkeypatch):
    """Sets flags for one test."""

    def parse(*arguments):
        command.FLAGS.unparse_flags()
        command.FLAGS(["tfgates", *arguments])

    parse()
    yield parse
    for name in ("out", "export", "min_units", "round_to", "unsafe"):
        command.FLAGS[name].unparse()
    command.FLAGS(["tfgates"])


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


def test_inspect(saved, flags, capsys):
    model, path = saved
    command.main(["tfgates", "inspect", str(path)])
    output = capsys.readouterr().out
    assert str(tfgates.plan_pruning(model)) in output
    assert "3 of 8" in output


def test_prune_writes_a_plain_model(saved, flags, tmp_path, capsys):
    model, path = saved
    out = tmp_path / "pruned.keras"
    flags(f"--out={out}", f"--export={tmp_path / 'saved_model'}", "--round_to=4")
    command.main(["tfgates", "prune", str(path)])
    small = keras.models.load_model(out)
    assert [layer.filters for layer in small.layers if isinstance(layer, keras.layers.Conv2D)] == [4]
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    np.testing.assert_allclose(small(x), model(x, training=False), atol=1e-5)
    assert (tmp_path / "saved_model" / "saved_model.pb").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_prune_without_anything_closed(flags, tmp_path, capsys):
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(tmp_path / "plain.keras")
    flags(f"--out={tmp_path / 'small.keras'}")
    command.main(["tfgates", "prune", str(tmp_path / "plain.keras")])
    assert "Nothing is closed, so nothing was removed" in capsys.readouterr().out


def test_report(saved, flags, tmp_path):
    _, path = saved
    flags(f"--out={tmp_path / 'report'}")
    command.main(["tfgates", "report", str(path)])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "3 of 8" in text
    assert f"model.keras has {path.stat().st_size / 1024:,.1f} KiB, " in text and " KiB packed." in text
    assert (tmp_path / "report" / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_are_no_models(saved, flags, tmp_path):
    _, path = saved
    cut = tmp_path / "cut.keras"
    cut.write_bytes(path.read_bytes()[:1000])
    foreign = tmp_path / "foreign.keras"
    import zipfile

    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("hello.txt", "hello")
    for file, message in [
        (tmp_path / "nothing.keras", "There is no file"),
        (tmp_path, "must be a model saved as .keras"),
        (cut, "cut off while it was written"),
        (foreign, "cannot be loaded"),
    ]:
        with pytest.raises(SystemExit, match=message):
            command.load(file)


def test_code_in_a_file_runs_only_when_asked(flags, tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1, output_shape=(2,))(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(SystemExit, match="cannot be loaded"):
        command.load(tmp_path / "lambda.keras")
    flags("--unsafe")
    assert command.load(tmp_path / "lambda.keras")(np.zeros((1, 2)))[0, 0] == 1


def test_usage(saved, flags, tmp_path):
    _, path = saved
    with pytest.raises(app.UsageError, match="Give one of inspect, prune, report"):
        command.main(["tfgates", "shrink", str(path)])
    for name, message in (("prune", "--out=SMALL.keras"), ("report", "--out=FOLDER")):
        with pytest.raises(SystemExit, match=message):
            command.main(["tfgates", name, str(path)])
    (tmp_path / "file").write_text("")
    flags(f"--out={tmp_path / 'file' / 'pruned.keras'}")
    with pytest.raises(SystemExit, match="cannot be made"):
        command.main(["tfgates", "prune", str(path)])


def test_a_failure_leaves_what_was_there(saved, flags, tmp_path, monkeypatch):
    _, path = saved
    out = tmp_path / "pruned.keras"
    out.write_bytes(b"before")
    flags(f"--out={out}")

    def broken(self, target, **kwargs):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save", broken)
    with pytest.raises(SystemExit, match="tfgates: disk full"):
        command.main(["tfgates", "prune", str(path)])
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.keras", "pruned.keras"]


def close_all(model):
    for gate in model.gates:
        gate.logits.assign(np.full(gate.units, -6.0))


def spoil(model):
    model.gates[0].logits.assign(np.full(8, np.nan))


@pytest.mark.parametrize("name", ["inspect", "prune", "report"])
@pytest.mark.parametrize(("change", "message"), [(close_all, "are closed"), (spoil, "must be finite")])
def test_models_that_cannot_be_pruned(name, change, message, saved, flags, tmp_path, capsys):
    model, path = saved
    change(model)
    model.save(path)
    flags(*({"prune": [f"--out={tmp_path / 'small.keras'}"], "report": [f"--out={tmp_path}"]}.get(name, [])))
    if change is close_all and name != "prune":
        # What would be refused is shown.
        command.main(["tfgates", name, str(path)])
        return
    with pytest.raises(SystemExit, match=f"^tfgates: .*{message}") as end:
        command.main(["tfgates", name, str(path)])
    assert "\n" not in str(end.value)
    assert not (tmp_path / "small.keras").exists()


def test_a_model_that_is_not_built(flags, tmp_path):
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    with pytest.raises(SystemExit, match="^tfgates: `model` must be built"):
        command.main(["tfgates", "inspect", str(tmp_path / "unbuilt.keras")])


@pytest.mark.parametrize(
    "error", [ImportError("Pictures need matplotlib"), OSError("disk full"), PruningError("It\ndiffers")]
)
def test_what_is_missing_is_told_in_a_sentence(error, saved, flags, tmp_path, monkeypatch):
    _, path = saved
    flags(f"--out={tmp_path}")

    def failing(*_):
        raise error

    monkeypatch.setattr(command, "draw_plan", failing)
    with pytest.raises(SystemExit) as end:
        command.main(["tfgates", "report", str(path)])
    assert str(end.value) == "tfgates: " + " ".join(str(error).split())


def test_bugs_keep_their_tracebacks(saved, flags, tmp_path, monkeypatch):
    _, path = saved
    flags(f"--out={tmp_path}")
    monkeypatch.setattr(command, "draw_plan", None)
    with pytest.raises(TypeError):
        command.main(["tfgates", "report", str(path)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inspect model.keras --export=folder", "--export is for prune. Received: inspect --export=folder"),
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
def test_arguments_are_checked_before_the_model_is_loaded(line, message, saved, flags, tmp_path, monkeypatch):
    _, path = saved
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load", lambda path: pytest.fail(f"It loaded {path}"))
    (tmp_path / "link.keras").symlink_to(path)
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    for name in ("saved_model.pb", "my_notes.txt"):
        (tmp_path / "mine" / name).write_text("mine")
    name, model, *rest = line.split()
    flags(*rest)
    with pytest.raises(SystemExit, match=message):
        command.main(["tfgates", name, model])
    assert path.read_bytes() == before and (tmp_path / "mine" / "my_notes.txt").read_text() == "mine"


def test_an_export_is_replaced_whole(saved, flags, tmp_path, monkeypatch):
    _, path = saved
    folder = tmp_path / "saved_model"
    flags(f"--out={tmp_path / 'small.keras'}", f"--export={folder}")
    command.main(["tfgates", "prune", str(path)])
    (folder / "assets" / "of_the_old_one").write_text("")
    command.main(["tfgates", "prune", str(path)])
    assert (folder / "saved_model.pb").exists() and not (folder / "assets" / "of_the_old_one").exists()

    def broken(self, target, **kwargs):
        pathlib.Path(target).mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "export", broken)
    before = (folder / "saved_model.pb").read_bytes()
    with pytest.raises(SystemExit, match="disk full"):
        command.main(["tfgates", "prune", str(path)])
    assert (folder / "saved_model.pb").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tfgates", "inspect", str(tmp_path / "none.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"tfgates: There is no file {tmp_path / 'none.keras'}" in done.stderr
