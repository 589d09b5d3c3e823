"""Importing without a backend."""

import os
import subprocess
import sys

import pytest

BARRED = """
import sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {0!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Barred())
import tfgates
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_backend_that_is_not_installed_is_named(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    run = subprocess.run(
        [sys.executable, "-c", BARRED.format(backend)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode and f"Keras that asks for {backend}, which is not installed" in run.stderr
    assert f'"tfgates[{backend}]"' in run.stderr
