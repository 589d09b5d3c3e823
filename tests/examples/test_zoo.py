"""examples/zoo.py: cards and index say what the results do; a zoo is made, gone on with, and its files load."""

import importlib
import json
import pathlib

import keras
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
    assert "[LeNet-5 on MNIST, 10 % of the parameters](params-0.1-gates.md)" in index and "50 %" not in index


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
