"""Where each network of the papers carries its gates."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates import applications
from tfgates.gates import HardConcreteGate, ScalingGate


def places(model):
    """The layers with gates inside, and the gates that stand alone."""
    return [
        layer.name
        for layer in model.layers
        if isinstance(layer, tfgates.gates.Gate) or getattr(layer, "gate", None) is not None
    ]


# Network, gate, number of gates, first places, number of units in total.
CASES = [
    ("mlp", "hard_concrete", 3, ["dense1", "dense2"], 784 + 300 + 100),
    ("mlp", "scaling", 2, ["dense1", "dense2"], 300 + 100),
    ("lenet5", "hard_concrete", 4, ["conv1", "conv2", "dense1", "predictions"], 20 + 50 + 800 + 500),
    ("lenet5", "scaling", 3, ["conv1", "conv2", "dense1"], 20 + 50 + 500),
    ("vgg16", "hard_concrete", 13, ["conv1_1_bn", "conv1_2_bn"], 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512),
    ("resnet20", "hard_concrete", 10, ["stem_bn", "stage1_block1_bn1"], 16 + 3 * (16 + 32 + 64)),
    ("resnet20", "scaling", 9, ["stage1_block1_branch_gate"], 9),
    ("resnet56", "disarm", 28, ["stem_bn", "stage1_block1_bn1"], 16 + 9 * (16 + 32 + 64)),
    ("resnet164", "scaling", 54, ["stage1_block1_branch_gate"], 54),
    ("resnet164", "hard_concrete", 108, ["stage1_block1_bn1", "stage1_block1_bn2"], 36 * (16 + 32 + 64)),
    ("wrn28_10", "arm", 12, ["stage1_block1_bn1", "stage1_block2_bn1"], 4 * (160 + 320 + 640)),
    ("resnext20", "scaling", 6, ["stage1_block1_bn2", "stage1_block2_bn2"], 6 * 32),
    ("resnext20", "hard_concrete", 6, ["stage1_block1_bn2"], 6 * 32),
    ("resnet50", "hard_concrete", 33, ["stem_bn", "stage1_block1_bn1", "stage1_block1_bn2"], 64 + 7552),
    ("resnext50", "scaling", 16, ["stage1_block1_bn2"], 16 * 32),
]


@pytest.mark.usefixtures("no_initial_weights")
@pytest.mark.parametrize("name, gate, count, first, units", CASES)
def test_places(name, gate, count, first, units):
    model = getattr(applications, name)(gate=gate)
    assert isinstance(model, tfgates.GatedModel)
    assert places(model)[: len(first)] == first
    assert len(model.gates) == count
    assert sum(g.units for g in model.gates) == units


def test_resnet50_units_by_hand():
    widths = {64: 3, 128: 4, 256: 6, 512: 3}
    assert sum(2 * width * depth for width, depth in widths.items()) == 7552


def test_other_choice():
    model = applications.resnet20(gate="hard_concrete", gated="blocks")
    assert len(model.gates) == 9
    assert all(gate.axis is None for gate in model.gates)
    model = applications.mlp(gate="hard_concrete", gated="outputs")
    assert [gate.units for gate in model.gates] == [300, 100]


def test_copies_of_a_gate():
    gate = HardConcreteGate(initial_open_probability=0.6, temperature=0.5, seed=3)
    model = applications.lenet5(gate=gate)
    assert all(g is not gate for g in model.gates)
    assert [g.seed for g in model.gates] == [3, 4, 5, 6]
    assert all(g.temperature == 0.5 for g in model.gates)
    assert len({g.name for g in model.gates}) == 4


def test_penalty_per_weight():
    """lambda * |g| * P(open), with |g| the weights that a unit owns."""
    p = 0.7
    gate = HardConcreteGate(initial_open_probability=p)
    model = applications.lenet5(gate=gate, l0=[1.0, 2.0, 3.0, 4.0])
    model(np.zeros((1, 28, 28, 1), "float32"), training=True)
    expected = p * (1.0 * 20 * 26 + 2.0 * 50 * 501 + 3.0 * 800 * 500 + 4.0 * 500 * 10)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    model = applications.resnet20(gate=gate, l0=1.0)
    model(np.zeros((1, 32, 32, 3), "float32"), training=True)
    weights = 27 * 16 + 9 * (3 * 16 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 64 + 2 * 64 * 64)
    assert float(sum(model.losses)) == pytest.approx(p * weights, rel=1e-5)
    # The penalty survives saving, since it is the gate's own.
    again = keras.models.clone_model(model)
    again(np.zeros((1, 32, 32, 3), "float32"), training=True)
    assert float(sum(again.losses)) == pytest.approx(p * weights, rel=1e-5)


def test_penalty_of_groups_and_blocks():
    gate = HardConcreteGate(initial_open_probability=0.5)
    x = np.zeros((1, 32, 32, 3), "float32")
    model = applications.resnext20(gate=gate, l0=1.0)
    model(x, training=True)
    assert float(sum(model.losses)) == pytest.approx(
        0.5 * sum(2 * 9 * width**2 / 32 for width in (32, 64, 128)), rel=1e-5
    )
    model = applications.resnet20(gate=gate, gated="blocks", l0=1.0)
    model(x, training=True)
    kernels = sum(
        int(np.prod(layer.kernel.shape))
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name != "stem_conv"
    )
    assert float(sum(model.losses)) == pytest.approx(0.5 * kernels, rel=1e-5)


@pytest.mark.usefixtures("no_initial_weights")
@pytest.mark.parametrize("gate", ["hard_concrete", "disarm"])
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_generator(gate, order):
    model = applications.vgg16(gate=gate, generator=order)
    generator = model.get_layer("gate_generator")
    assert generator.order == order
    assert generator.units == [g.units for g in model.gates]
    for g in model.gates:
        np.testing.assert_allclose(g.open_probability(), 0.95, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gate": "hard_concrete", "gated": "rows"}, r"`gated` must be one of .* Received: gated='rows'"),
        ({"gate": "hard_concrete", "generator": "up"}, r"`generator` must be one of .* Received:"),
        ({"gate": "scaling", "generator": "forward"}, r"`generator` must be None for a ScalingGate"),
        ({"gate": "hard_concrete", "l0": [1.0]}, r"`l0` must have one entry .* Received: 1 entries"),
        ({"gate": "hard_concrete", "l0": [1.0] * 5}, r"each of the 4 gates. Received: 5 entries"),
        ({"l0": 1.0}, r"`l0` must be None without a gate. Received: l0=1.0"),
        ({"gated": "inputs"}, r"`gated` must be None without a gate. Received: gated='inputs'"),
        ({"generator": "forward"}, r"`generator` must be None without a gate"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        applications.lenet5(**arguments)


def test_depth_is_checked():
    with pytest.raises(ValueError, match=r"`depth` must be 6 n \+ 2 with n >= 1. Received: depth=21"):
        applications.resnet.resnet_cifar(21)


def test_scaling_needs_no_draw():
    model = applications.resnet20(gate=ScalingGate(initial_scale=0.5))
    assert all(gate.axis is None for gate in model.gates)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(model(x), model(x))
