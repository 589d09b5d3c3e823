"""Gates on Keras's JAX backend, in processes of their own: a process has one backend."""

import ast
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install tfgates[jax]"
)


def run(backend, *command):
    """What a Python process on another backend prints."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "ignore", *command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What counts in graphs of TensorFlow, and what writes for TensorBoard, is imported where it is needed.
OF_TENSORFLOW = {"graph/products.py", "graph/constants.py", "callbacks/event_files.py"}


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


@needs_jax
def test_tour_without_tensorflow():
    found = json.loads(run("jax", str(ROOT / "tests" / "backends" / "tour.py")).splitlines()[-1])
    assert found["backend"] == "jax" and not found["tensorflow"]
    assert found["expected_macs"][0] > 0.8 and found["expected_macs"][-1] < 0.6
    assert found["share"] <= 0.5 and found["share_by_magnitude"] <= 0.5
    assert found["finite"]
    loss, structure_loss = found["losses"]
    assert 0.0 < loss < 10.0 and structure_loss > 1000.0
    assert "which the loss of this training step does not contain" in found["refused"] or (
        "can be trained only in a tfgates.GatedModel" in found["refused"]
    )


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["batch", "example"])
@pytest.mark.parametrize("link", ["sigmoid", "hard_sigmoid", "callable"])
def test_gradients_are_those_of_the_enumeration(sampling, link):
    estimators = ("ar", "arm", "disarm", "reinforce_leave_one_out")
    printed = run("jax", "-m", "tests.backends.enumeration_worker", sampling, link, *estimators)
    assert len([line for line in printed.splitlines() if line.startswith(f"jax {sampling} {link}")]) == 8
