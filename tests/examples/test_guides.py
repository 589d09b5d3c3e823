"""The guides run as they stand, with fewer epochs."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def start(folder, name, *arguments):
    # The largest problem of the runs is how long it takes to import TensorFlow, so they share that time.
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What each guide printed, and the folder that they ran in."""
    folder = tmp_path_factory.mktemp("guides")
    running = {
        "gate_your_own_model": start(folder, "gate_your_own_model.py", "2", "small.keras"),
        "choose_a_method": start(folder, "choose_a_method.py", "1", "0.5"),
        "transfer_learning": start(folder, "transfer_learning.py", "2", "0.5"),
        "from_training_to_litert": start(folder, "from_training_to_litert.py", "2", "litert"),
    }
    printed = {}
    for name, process in running.items():
        printed[name], errors = process.communicate()
        assert process.returncode == 0, errors
    return folder, printed


def test_gate_your_own_model(finished):
    folder, printed = finished
    text = printed["gate_your_own_model"]
    assert re.search(r"^  inner +64 units", text, re.MULTILINE)
    assert re.search(r"Test accuracy of the pruned network: [\d.]+ %, dense: [\d.]+ %", text)
    assert keras.saving.load_model(folder / "small.keras").count_params() < 301_130


def test_choose_a_method(finished):
    _, printed = finished
    rows = [line.split()[0] for line in printed["choose_a_method"].splitlines() if line.endswith(tuple("0123456789"))]
    assert rows == ["dense", "hard_concrete", "disarm", "ar", "scaling"]


def test_transfer_learning(finished):
    _, printed = finished
    text = printed["transfer_learning"]
    assert re.search(
        r"backbone's layers: conv2d, batch_normalization, re_lu, conv2d_1, .*global_average_pooling2d$", text, re.M
    )
    assert re.search(r"pruned network: [\d.]+ %, dense: [\d.]+ %, of the head on the frozen backbone: [\d.]+ %", text)


def test_from_training_to_litert(finished):
    folder, printed = finished
    assert re.search(r"pruned network: [\d.]+ %, dense: [\d.]+ %", printed["from_training_to_litert"])
    sizes = {}
    for line in printed["from_training_to_litert"].splitlines():
        if line.startswith(("SavedModel ", "LiteRT ")):
            kind, network, size, _, difference = line.split()
            sizes[kind, network] = float(size)
            assert float(difference) < 1e-5
    assert sizes["LiteRT", "pruned"] < sizes["LiteRT", "dense"]
    assert sizes["SavedModel", "pruned"] < sizes["SavedModel", "dense"]
    assert (folder / "litert" / "pruned.tflite").exists()
