"""The benchmark that gates networks of others counts what it says it counts, and tells equal from unequal."""

import keras
import numpy as np
from keras import layers

import tfgates
from benchmarks import coverage
from benchmarks.coverage_cases import measure
from tfgates.graph.network import Network


def network():
    """16 -> 8 -> 4 -> 2 with a residual stream of 4, MACs 128 + 32 + 16 + 8; the stream is not gated by default."""
    inputs = keras.Input((16,))
    x = layers.Dense(8, activation="relu")(inputs)
    x = layers.Dense(4)(x)
    x = layers.Add()([x, layers.Dense(4)(x)])
    return keras.Model(inputs, layers.Dense(2)(x))


def test_shares_are_those_that_were_counted_by_hand():
    row = measure.measure("residual", "tests", network)
    assert (row.result, row.gated, row.gateable) == ("equal", 1, 3)
    # All of 128 + 32 + 16 + 8 could go; behind the gate of the first layer are 128 + 32.
    np.testing.assert_allclose(row.behind, 160 / 184)
    assert 0.0 < row.params < 1.0


def normalised():
    """Patches of 12 numbers -> 8 -> 8 -> 5 -> 2, a normalisation behind each 8: nothing of 12 x 8 and 8 x 8 can go."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Dense(8)(keras.ops.image.extract_patches(inputs, 2))
    x = layers.Dense(8)(layers.LayerNormalization()(x))
    x = layers.Dense(5, activation="relu")(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def test_what_nobody_can_take_out_is_not_counted():
    network = Network(normalised())
    counts = measure.products(network)
    stuck = measure.stuck(network, counts)
    kept = {network.nodes[i].name: stuck[i] / macs for i, macs in counts.items() if macs}
    assert list(kept.values()) == [1.0, 1.0, 1.0, 0.0, 0.0], kept
    row = measure.measure("normalised", "tests", normalised)
    assert (row.result, row.behind) == ("equal", 1.0)


def test_what_differs_is_told():
    gated, other = network(), network()
    assert measure.compare(gated, gated, Network(gated), None) is None
    assert measure.compare(gated, other, Network(gated), None) is not None


def test_refusals_and_faults_are_told_apart(monkeypatch):
    def refused():
        inputs = keras.Input((3,))
        return keras.Model(inputs, layers.Dense(2)(inputs))

    def faulty(*_, **__):
        raise KeyError("no such thing")

    assert measure.measure("linear", "tests", refused).result == "refused"
    monkeypatch.setattr(tfgates, "gate_model", faulty)
    assert measure.measure("broken", "tests", network).result == "fault"


def test_the_page_counts_what_was_found():
    def row(name, result, behind):
        return {"source": "some", "name": name, "result": result, "behind": behind} | dict(
            gated=1, gateable=2, params=0.5, seconds=1.0, why="", counting=1 if name == "b" else 3
        )

    found = [row("a", "equal", 0.9), row("b", "equal", 0.1), row("c", "refused", 0.0), row("d", "not built", 0.0)]
    page = coverage.table({f"some/{each['name']}": each for each in found})
    assert "3 networks: 2 gated, pruned and equal (67%), 1 refused, 0 wrong; in 1 of them" in page
    assert "| a | equal | 1 of 2 | 90% | 50% | 1.0 |  |" in page and "not counted: some/d" in page
    # A star marks what was counted in another way.
    assert "| b * | equal | 1 of 2 | 10% | 50% | 1.0 |  |" in page
    # Another mark is for another commit than that of most rows.
    for each in (found[0], found[1]):
        each["commit"] = "abc1234"
    page = coverage.table({f"some/{each['name']}": each for each in found})
    assert "another commit than abc1234" in page and "| a | equal" in page and "| c ° | refused" in page
