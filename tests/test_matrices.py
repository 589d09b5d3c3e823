"""The counts of the matrices are those of the run, on one process and on several."""

import os
import pathlib
import subprocess
import sys

import pytest

CELLS = """
import pytest

@pytest.mark.parametrize("cell", range(9))
def test_export(cell):
    if cell == 7:
        pytest.skip("not here")
    assert cell != 8

@pytest.fixture
def broken():
    yield
    raise RuntimeError("after the test")

@pytest.mark.parametrize("cell", ["late"])
def test_cell(cell, broken):
    pass

def test_export_is_named_alike():
    pass
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_printed_is_what_passed(workers, tmp_path):
    for name in ("export", "precision"):
        (tmp_path / "tests" / name).mkdir(parents=True)
        (tmp_path / "tests" / name / "test_matrix.py").write_text(CELLS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.matrices",
            "--import-mode=importlib",
            f"-n{workers}",
            "-p",
            "no:cacheprovider",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
    )
    printed = [line for line in done.stdout.splitlines() if " matrix: " in line]
    assert printed == [
        "export matrix: 7 of 16 cells passed, 1 failed, 1 skipped",
        "precision matrix: 0 of 42 cells passed, 1 failed",
    ], done.stdout + done.stderr
