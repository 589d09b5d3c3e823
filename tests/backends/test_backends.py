"""Gates on Keras's other backends, in processes of their own: a process has one backend."""

import ast
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def installed(backend):
    """The mark of a test of `backend`."""
    reason = f"{backend} is not installed: pip install tfgates[{backend}]"
    return pytest.param(backend, marks=pytest.mark.skipif(importlib.util.find_spec(backend) is None, reason=reason))


on_each = pytest.mark.parametrize("backend", [installed("jax"), installed("torch")])


def run(backend, *command):
    """What a Python process on another backend prints."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What counts in graphs of TensorFlow is imported where it is needed.
OF_TENSORFLOW = {"graph/products.py", "graph/constants.py"}


def test_tensorflow_is_imported_where_it_is_used_alone():
    """Not with a module, whatever the backend; the tour below imports tfgates where TensorFlow cannot be."""
    found = set()
    for path in sorted((ROOT / "tfgates").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            names.append(getattr(node, "module", None) or "")
            if any(name.partition(".")[0] == "tensorflow" for name in names):
                found.add(path.relative_to(ROOT / "tfgates").as_posix())
            modules = {name.removeprefix("tfgates.").replace(".", "/") + ".py" for name in names}
            assert not modules & OF_TENSORFLOW or path.name == "products.py"
    assert found == OF_TENSORFLOW


@on_each
def test_tour_without_tensorflow(backend):
    found = json.loads(run(backend, str(ROOT / "tests" / "backends" / "tour.py")).splitlines()[-1])
    assert found["backend"] == backend and not found["tensorflow"]
    assert found["expected_macs"][0] > 0.8 and found["expected_macs"][-1] < 0.7
    assert found["share"] <= 0.5 and found["share_by_magnitude"] <= 0.5
    assert found["finite"]
    loss, structure_loss = found["losses"]
    assert 0.0 < loss < 10.0 and structure_loss > 1000.0
    assert "which the loss of this training step does not contain" in found["refused"] or (
        "can be trained only in a tfgates.GatedModel" in found["refused"]
    )


@on_each
@pytest.mark.slow
def test_every_feature(backend, tmp_path):
    printed = [json.loads(line) for line in run(backend, "-m", "tests.backends.features", str(tmp_path)).splitlines()]
    assert len(printed) == 11 and all(each["passed"] for each in printed)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [installed("jax")])
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_saved_models(backend, tmp_path):
    printed = run(backend, "-m", "tests.backends.features", str(tmp_path), "saved_model").splitlines()
    assert json.loads(printed[-1])["passed"]


@on_each
@pytest.mark.slow
def test_files_of_one_backend_are_read_by_another(backend, tmp_path):
    """Outputs are equal, and what was read trains on: compiled and not, gated and pruned."""
    both = (backend, "tensorflow" if importlib.util.find_spec("tensorflow") else backend)
    for each in dict.fromkeys(both):
        run(each, "-m", "tests.backends.features", str(tmp_path), "write")
    for each in dict.fromkeys(both):
        found = json.loads(run(each, "-m", "tests.backends.features", str(tmp_path), "read").splitlines()[-1])
        assert found["files"] == 8 * len(set(both))


@on_each
@pytest.mark.slow
def test_programs(backend, tmp_path):
    """With TensorFlow installed their data are of tf.data, without it arrays."""
    for package in ("sklearn", "matplotlib", "rich", "absl"):
        pytest.importorskip(package)
    flags = ["--macs=0.5", "--epochs=2", "--verbose=0"]
    printed = run(
        backend, "examples/frontier.py", *flags, "--examples=256", "--nodense", f"--out={tmp_path / 'frontier'}"
    )
    assert "| hard_concrete | macs 0.5 |" in printed and (tmp_path / "frontier" / "frontier.png").exists()
    printed = run(
        backend, "examples/train.py", *flags, "--finetune_epochs=1", "--nodense", f"--out={tmp_path / 'train'}"
    )
    assert "Reloaded without tfgates: outputs equal to" in printed
    assert (tmp_path / "train" / "report.md").exists() and (tmp_path / "train" / "pruned.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", [installed("jax")])
def test_eight_devices_train_as_one(backend):
    printed = run(backend, "-m", "tests.backends.data_parallel").splitlines()
    assert len([line for line in printed if line.startswith("equal")]) == 3
