"""The guides run as they stand, with fewer epochs."""

import functools
import json
import os
import pathlib
import re
import tempfile

import keras
import pytest

from tests import forked

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


GUIDES = {
    "gate_your_own_model": ["2", "small.keras"],
    "choose_a_method": ["1", "0.5"],
    "transfer_learning": ["2", "0.5"],
    "from_training_to_litert": ["2", "litert"],
}

# In one process, one after the other: to import TensorFlow takes as long as a guide.
RUN_ALL = """
import contextlib, io, json, runpy, sys
import keras
folder, guides = sys.argv[1], json.loads(sys.argv[2])
printed = {}
for name, arguments in guides.items():
    keras.utils.clear_session()
    sys.argv[:] = [f"{folder}/{name}.py", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(sys.argv[0], run_name="__main__")
    printed[name] = out.getvalue()
print("\\n" + json.dumps(printed))
"""


def finished(**guides):
    return finished_once(json.dumps(guides))


@functools.cache
def finished_once(guides):
    """What each guide printed, and the folder that they ran in."""
    folder = pathlib.Path(tempfile.mkdtemp())
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = forked.run(["-c", RUN_ALL, EXAMPLES, guides], cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_gate_your_own_model():
    """The others, and this one with an epoch more, are slow."""
    check_own_model(*finished(gate_your_own_model=["1", "small.keras"]))


@pytest.mark.slow
def test_gate_your_own_model_for_two_epochs():
    check_own_model(*finished(**GUIDES))


def check_own_model(folder, printed):
    text = printed["gate_your_own_model"]
    assert re.search(r"^  inner +64 units", text, re.MULTILINE)
    assert re.search(r"Test accuracy of the pruned network: [\d.]+ %, dense: [\d.]+ %", text)
    assert keras.saving.load_model(folder / "small.keras").count_params() < 301_130


@pytest.mark.slow
def test_choose_a_method():
    _, printed = finished(**GUIDES)
    rows = [line.split()[0] for line in printed["choose_a_method"].splitlines() if line.endswith(tuple("0123456789"))]
    assert rows == ["dense", "hard_concrete", "disarm", "ar", "scaling"]


@pytest.mark.slow
def test_transfer_learning():
    _, printed = finished(**GUIDES)
    text = printed["transfer_learning"]
    assert re.search(
        r"backbone's layers: conv2d, batch_normalization, re_lu, conv2d_1, .*global_average_pooling2d$", text, re.M
    )
    assert re.search(r"pruned network: [\d.]+ %, dense: [\d.]+ %, of the head on the frozen backbone: [\d.]+ %", text)


@pytest.mark.slow
def test_from_training_to_litert():
    folder, printed = finished(**GUIDES)
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
