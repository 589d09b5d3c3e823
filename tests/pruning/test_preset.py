"""What is left as an instance of the class that was gated."""

import contextlib

import keras
import numpy as np
import pytest

import tfgates
from tests.pruning import tiny_backbone
from tfgates.constraints.structure import Structure
from tfgates.graph.original import original_of

TOKENS = np.random.default_rng(1).integers(0, 11, (2, 5))


@contextlib.contextmanager
def bounded(gated, share):
    """A budget for a while."""
    before = gated._budget, gated._structure
    gated._budget, gated._structure = (
        tfgates.Budget(params=share),
        Structure(gated, budget=tfgates.Budget(params=share)),
    )
    try:
        yield
    finally:
        gated._budget, gated._structure = before


@pytest.fixture(scope="module")
def gated():
    return tiny_backbone.gated_backbone()


def test_layers_units_and_heads_go(gated, tmp_path):
    tiny_backbone.close(gated, width=(3, 5, 2), heads=(1, 1, 1), layers=[0])
    small = tfgates.prune(gated, preset=True)
    assert type(small) is tiny_backbone.Backbone
    assert small.get_config() == {
        "name": gated.name,
        "num_layers": 2,
        "num_heads": 1,
        "hidden_dim": 8,
        "intermediate_dim": 5,
        "head_dim": 4,
        "first": True,
    }
    np.testing.assert_allclose(small(TOKENS), gated(TOKENS), rtol=1e-4, atol=1e-5)
    # A unit that is closed and stays counts nothing.
    (kernel,) = (v for v in small.weights if v.path.endswith("layer_1/hidden/kernel"))
    assert np.sum(np.all(np.asarray(kernel) == 0.0, axis=0)) == 3
    assert small.count_params() == tfgates.plan_pruning(gated, preset=True).params

    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(loaded(TOKENS), small(TOKENS), rtol=1e-6)
    # The gated network remembers its class in files.
    gated.save(tmp_path / "gated.keras")
    again = tfgates.prune(keras.saving.load_model(tmp_path / "gated.keras"), preset=True)
    np.testing.assert_allclose(again(TOKENS), small(TOKENS), rtol=1e-6)


def test_a_branch_of_a_layer_that_stays_is_silenced(gated):
    tiny_backbone.close(gated, width=(3, 3, 3), heads=(2, 2, 2))
    branch = next(gate for gate in gated.gates if gate.axis is None)
    branch.logits.assign(np.full(branch.unit_shape, -4.6))
    small = tfgates.prune(gated, preset=True)
    assert small.get_config()["num_layers"] == 3
    np.testing.assert_allclose(small(TOKENS), gated(TOKENS), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:To give all layers one width")
@pytest.mark.parametrize("share", [pytest.param(0.7, marks=pytest.mark.slow), 0.3])
def test_a_budget_holds_in_the_shape_of_the_class(gated, share):
    total = tiny_backbone.backbone().count_params()
    tiny_backbone.close(gated, width=(3, 6, 2), heads=(1, 2, 1))
    with bounded(gated, share):
        plan = tfgates.plan_pruning(gated, preset=True)
        small = tfgates.prune(gated, plan=plan, preset=True)
        assert plan.params == small.count_params() <= share * total
        # The network is that of the gates that were chosen.
        with tfgates.selection.held(plan.selection.values):
            np.testing.assert_allclose(small(TOKENS), gated(TOKENS), rtol=1e-4, atol=1e-5)


def test_what_the_class_cannot_say_stays():
    model = tiny_backbone.backbone(tiny_backbone.WithoutHeads, first=False, num_layers=2)
    gated = tfgates.gate_model(model, residual=("inner", "block"), length=5)
    tiny_backbone.close(gated, width=(3, 5), heads=(1, 1), layers=[0])
    plan = tfgates.plan_pruning(gated, preset=True)
    assert "no argument `head_dim`" in plan.selection.shape.why["num_heads"]
    assert "something stays, 'layer_0_norm_" in plan.selection.shape.why["num_layers"]
    assert ("num_heads", plan.selection.shape.why["num_heads"]) in plan.unmoved
    small = tfgates.prune(gated, plan=plan, preset=True)
    assert small.get_config() == model.get_config() | {"intermediate_dim": 5}
    np.testing.assert_allclose(small(TOKENS), gated(TOKENS), rtol=1e-4, atol=1e-5)
    with (
        bounded(gated, 0.3),
        pytest.raises(ValueError, match=r"of the model's own class.*`num_heads` stays"),
    ):
        tfgates.prune(gated, preset=True)


def test_whole_layers_go_with_the_normalisations_behind_their_sums():
    model = tiny_backbone.backbone(first=False, num_layers=2)
    gated = tfgates.gate_model(model, residual=("inner", "layer"), length=5)
    tiny_backbone.close(gated, width=(3, 5), heads=(1, 1), layers=[0])
    small = tfgates.prune(gated, preset=True)
    assert small.get_config() == model.get_config() | {
        "num_layers": 1,
        "num_heads": 1,
        "intermediate_dim": 5,
        "head_dim": 4,
    }
    np.testing.assert_allclose(small(TOKENS), gated(TOKENS), rtol=1e-4, atol=1e-5)
    # The class knows no half of a layer: what stays is opened fully, and that is said.
    wholes = [gate for gate in gated.gates if gate.axis is None]
    wholes[-1].logits.assign([0.2])
    plan = tfgates.plan_pruning(gated, preset=True)
    assert plan.chosen[-1] == (wholes[-1].name, "opens fully, from 0.589")
    with tfgates.selection.held(plan.selection.values):
        np.testing.assert_allclose(tfgates.prune(gated, plan=plan, preset=True)(TOKENS), gated(TOKENS), rtol=1e-4)
    wholes[-1].logits.assign([-4.6])
    with pytest.warns(tfgates.GatesWarning, match=f"what training had closed is opened.*{wholes[-1].name}"):
        tfgates.prune(gated, preset=True)


def test_what_is_no_instance_of_such_a_class_is_refused(gated):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    plain = tfgates.gate_model(model)
    with pytest.raises(ValueError, match="`preset=True` needs a network that `gate_model` made of an instance"):
        tfgates.prune(plain, preset=True)
    with pytest.raises(ValueError, match="`plan` must be made with the same `preset`"):
        tfgates.prune(gated, plan=tfgates.plan_pruning(gated), preset=True)


def test_a_class_that_is_not_there_or_says_something_else_is_refused(gated):
    tiny_backbone.close(gated, width=(3, 5, 2), heads=(1, 1, 1))
    plan = tfgates.plan_pruning(gated, preset=True)
    plan.selection.shape.arguments["intermediate_dim"] += 1
    with pytest.raises(
        ValueError, match=r"cannot be said by the arguments.*intermediate_dim=6.*\(8, 6\) where \(8, 5\)"
    ):
        tfgates.prune(gated, plan=plan, preset=True)
    original = original_of(gated)
    kind, places = original.kind, original.places
    try:
        original.kind = "nobody>Nothing"
        with pytest.raises(ValueError, match="needs the class of the network that was gated.*'nobody>Nothing'"):
            tfgates.prune(gated, preset=True)
        original.places = {}
        with pytest.raises(ValueError, match="needs gates on units, heads or branches"):
            tfgates.prune(gated, preset=True)
    finally:
        original.kind, original.places = kind, places
