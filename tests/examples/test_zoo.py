"""examples/zoo.py: cards and index say what the results do; a zoo is made, gone on with, and its files load."""

import importlib
import json
import pathlib

import keras
import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
ZOO = EXAMPLES.parent / "docs" / "zoo"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def result(method, budget, **figures):
    settings = {"network": "lenet5", "dataset": "mnist", "epochs": 3, "examples": None, "batch_size": 128, "seed": 0}
    made = {"tfgates": "1", "keras": "2", "backend": "tensorflow", "widths": [["conv1", figures["params"] // 100]]}
    name = "-".join(f"{key}-{value}" for key, value in budget.items()) or "dense"
    return {**settings, "method": method, "budget": budget, "file": f"{name}-{method}.keras", **made, **figures}


RESULTS = [
    result("dense", {}, params=1000, macs=8000, bytes=4096, test=0.99, validation=0.98, milliseconds=0.5),
    result("gates", {"params": 0.1}, params=100, macs=2000, bytes=1024, test=0.97, validation=0.96, milliseconds=0.25),
    result("magnitude", {"params": 0.1}, params=99, macs=2400, bytes=1024, test=0.95, validation=0.94),
    # Not compared with anything yet.
    result("gates", {"params": 0.5}, params=500, macs=4000, bytes=2048, test=0.98, validation=0.97),
]


def test_cards(example, tmp_path):
    cards = example("cards")
    paths = cards.write(tmp_path, RESULTS)
    assert [path.name for path in paths] == ["params-0.1-gates.md", "README.md"]
    card, index = (path.read_text("utf-8") for path in paths)
    for text in (
        "# LeNet-5 on MNIST, 10 % of the parameters", "| this network, by gates | 100 (10.00 %) | 2,000 (25.0 %) |",
        "0.250 ms | 3.00 % |", "| as large, by magnitude | 99 (9.90 %) |", "not measured | 5.00 %", "conv1 1 of 10",
        "`Budget(params=0.1)`, 3 epochs in all, batches of 128, seed 0", "Apache 2.0", "--network=lenet5",
    ):  # fmt: skip
        assert text in card
    assert "--examples" not in card
    assert "[LeNet-5 on MNIST, 10 % of the parameters](params-0.1-gates.md)" in index
    assert "50 % of the parameters" not in index and "python benchmarks/minilm.py" in index


def test_cards_of_the_repository_are_those_of_its_results(example):
    """`python examples/zoo.py --cards` would change nothing, and each card has its file."""
    results = json.loads((ZOO / "zoo.json").read_text("utf-8"))
    cards = example("cards")
    for name, text in cards.pages(results).items():
        assert (ZOO / name).read_text("utf-8") == text, name
        file = ZOO / f"{name.removesuffix('.md')}.keras"
        assert name == "README.md" or file.stat().st_size < 256 * 1024


def test_networks_of_the_repository_load():
    results = json.loads((ZOO / "zoo.json").read_text("utf-8"))
    for file in ZOO.glob("*.keras"):
        (found,) = (result for result in results if result["file"] == file.name)
        model = keras.saving.load_model(file, compile=False)
        assert model.count_params() == found["params"] and not type(model).__module__.startswith("tfgates")


def test_a_network_of_another_seed_than_the_dense_one(example):
    """As those of benchmarks/lenet5.py are, by a number of parameters; of magnitude there is no file."""
    dense, gates, magnitude, _ = RESULTS
    budget = {"params": 50}
    other = {"seed": 1, "budget": budget, "command": "python made.py"}
    results = [dense, {**gates, **other, "file": "small.keras"}, {**magnitude, **other, "bytes": None}]
    pages = example("cards").pages(results)
    assert set(pages) == {"small.md", "README.md"}
    for text in (
        "# LeNet-5 on MNIST, 50 parameters", "errors are of one seed, 1 (0 for the dense network)", "`python made.py`",
        "| as large, by magnitude | 99 (9.90 %) | 2,400 (30.0 %) | not kept |", "`Budget(params=50)`",
    ):  # fmt: skip
        assert text in pages["small.md"], text


def test_a_network_of_the_benchmark_is_taken_as_it_is(example, tmp_path):
    zoo_small = example("zoo_small")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save(tmp_path / "run.keras")
    x = np.eye(4, dtype="float32")
    y = np.argmax(model.predict(x, verbose=0), -1)
    row = {"row": "gates", "params": 15, "macs": 12, "kernels": [[4, 3]] * 4, "clock": 1.0, "version": "1"}
    noted = zoo_small.entry({**row, "validation_error": 0.5, "test_error": 0.0}, 1, 15, 12)
    assert noted["file"] == "lenet5-mnist-params-15.keras" and "--seeds 1" in noted["command"]
    found = zoo_small.taken(tmp_path / "run.keras", noted, (x, y), tmp_path)
    assert found["bytes"] == (tmp_path / noted["file"]).stat().st_size and found["macs"] == 12
    with pytest.raises(SystemExit, match="is not the network that was noted"):
        zoo_small.taken(tmp_path / "run.keras", {**noted, "test": 0.5}, (x, y), tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfgates.GatesWarning")
def test_a_zoo_is_made_and_gone_on_with(example, tmp_path, monkeypatch, capsys):
    zoo = example("zoo")
    monkeypatch.setitem(zoo.NETWORKS["lenet5"], "budgets", [{"params": 0.5}])
    flags = [
        "zoo.py",
        "--dataset=digits",
        "--epochs=2",
        "--examples=128",
        "--verbose=0",
        "--rounds=3",
        f"--out={tmp_path}",
    ]
    monkeypatch.setattr("sys.argv", flags)
    zoo.main()
    assert capsys.readouterr().out.count("Run ") == 3
    results = json.loads((tmp_path / "zoo.json").read_text("utf-8"))
    assert all(found["milliseconds"] > 0 for found in results) and results[1]["params"] <= 0.5 * results[0]["params"]
    zoo.main()
    assert "Run " not in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["zoo.py", "--cards", f"--out={tmp_path / 'none'}"])
    with pytest.raises(SystemExit, match="--cards needs results"):
        zoo.main()
