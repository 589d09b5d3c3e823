"""The benchmark of a real MiniLM, with a small network in its place."""

import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("keras_hub", reason="needs KerasHub")

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def programs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import minilm
    import minilm_data

    return minilm, minilm_data


@pytest.fixture
def prepared(programs, tmp_path):
    """A network of two layers and texts whose second word says the section."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=40, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12, max_sequence_length=16
    )
    generator = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 64), ("validation", 20), ("test", 30)):
        labels = generator.integers(0, 20, count).astype("uint8")
        ids = generator.integers(1, 40, (count, 16)).astype("int16")
        ids[:, 1], ids[:, 9:] = labels + 1, 0
        parts[name] = (ids, labels)
    programs[1].write(tmp_path / "prepared.npz", parts, backbone)
    return tmp_path / "prepared.npz", parts, backbone


def test_no_source_package_and_no_text_is_on_both_sides(programs):
    generator = np.random.default_rng(0)
    rows = [(f"source{generator.integers(50)}", f"text {generator.integers(100)}", "section") for _ in range(400)]
    left, held = programs[1].split(rows, 5, 0)
    assert left and held and set(left) | set(held) <= set(rows)
    for column in (0, 1):
        assert not {row[column] for row in left} & {row[column] for row in held}
    assert len({row[0] for row in held}) == len({row[0] for row in rows}) // 5


def test_what_was_prepared_is_read_as_it_was_written(programs, prepared):
    path, parts, backbone = prepared
    read = programs[1].Prepared(path)
    x, y = read.part("test")
    assert np.array_equal(x["token_ids"], parts["test"][0]) and np.array_equal(y, parts["test"][1])
    assert np.array_equal(x["padding_mask"].sum(axis=1), np.full(30, 9)) and not x["segment_ids"].any()
    some, labels = read.part("train", 10, seed=1)
    assert some["token_ids"].shape == (10, 16) and np.array_equal(some["token_ids"][:, 1], labels + 1)
    assert not np.array_equal(labels, read.part("train", 10, seed=2)[1])
    for ours, theirs in zip(read.backbone().get_weights(), backbone.get_weights(), strict=True):
        assert np.array_equal(ours, theirs.astype("float16").astype("float32"))
    assert len(read.backbone(num_layers=1).weights) < len(backbone.weights)


def test_what_is_missing_is_named(programs, prepared, tmp_path, capsys):
    with pytest.raises(SystemExit):
        programs[0].main(["--out", str(tmp_path / "out")])
    assert "--prepared must name the file" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="`--dense` must hold the dense network of the seed. Received: no "):
        programs[0].main(["--out", str(tmp_path / "out"), "--prepared", str(prepared[0]), "--runs", "layers"])


def row(run, seed, accuracy):
    sizes = {"params": 100, "macs": 1000, "encoder_left": 0.4, "seconds": 2.0, "validation": 0.5}
    return {"run": run, "seed": seed, "accuracy": accuracy, **sizes}


def test_the_table_counts_where_gates_are_above(programs, tmp_path):
    rows = [row("dense", 0, 0.8), row("dense", 1, 0.8), row("compress", 0, 0.75), row("compress", 1, 0.81)]
    rows += [row("magnitude", 0, 0.76), row("magnitude", 1, 0.78)]
    for each in rows:
        (tmp_path / f"{each['run']}_{each['seed']}.json").write_text(json.dumps(each))
    found = programs[0].table(programs[0].results(tmp_path)).splitlines()
    assert found[3].startswith("| compress | 0.5000 | 0.7800 | 97.5 % |")
    assert found[4].endswith("| 0, 1 | compress in 1 |")


def test_logits_from_before_give_the_loss_of_the_teacher(programs, prepared):
    import keras

    import tfgates

    minilm, data = programs
    read = data.Prepared(prepared[0])
    x, y = read.part("test")
    teacher, student = minilm.classifier(read.backbone()), minilm.classifier(prepared[2])
    student.get_layer("logits").set_weights([w + np.arange(20) / 9 for w in student.get_layer("logits").get_weights()])
    asked, targets = minilm.distilled(teacher, x, y, minilm.Processor())
    made = student.predict(x, verbose=0)
    taught = tfgates.Teacher(teacher, outputs="logits")
    taught.follow(student, minilm.loss())
    wanted = minilm.loss()(y, made) + taught.loss(x, keras.ops.convert_to_tensor(made))
    found = asked(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(made))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    assert float(found) > float(minilm.loss()(y, made))


@pytest.mark.slow
def test_all_runs(programs, prepared, tmp_path):
    out = tmp_path / "out"
    given = ["--prepared", str(prepared[0]), "--out", str(out), "--epochs", "2", "--dense_epochs", "1"]
    given += ["--fine_tune", "0.5", "--removed", "0.3"]
    # Each as a process of its own would.
    for name in programs[0].RUNS:
        programs[0].main([*given, "--runs", name, *["--logits"] * (name == "compress")])
    rows = programs[0].results(out)
    assert [each["run"] for each in rows] == list(programs[0].RUNS)
    left = {each["run"]: each["encoder_left"] for each in rows}
    assert left["dense"] == 1.0 and left["layers"] == 0.5 and left["compress"] <= 0.7 and left["magnitude"] <= 0.7
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    programs[0].main([*given, "--table", "--results", str(tmp_path / "minilm.json")])
    programs[0].main(given)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == before
    assert len(json.loads((tmp_path / "minilm.json").read_text())["rows"]) == 4
