"""Every network with every gate method: trained, pruned exactly, exported, reloaded."""

import keras
import numpy as np
import pytest

import tfgates
from tests.reload import predict_in_fresh_process
from tfgates import applications
from tfgates.gates import ScalingGate
from tfgates.testing import METHODS

# What the quick suite runs; the rest takes minutes.
QUICK = [
    ("lenet5", "hard_concrete"),
    ("resnet20", "scaling"),
    *[("mlp", method) for method in ("disarm", "forward")],
]
SLOW = [(name, method) for name in applications.__all__ for method in METHODS if (name, method) not in QUICK]
# Those of ImageNet run at a smaller size where the weights are the same; the size of the image is
# no part of what is tested.
SIZES = {"mlp": (28, 28, 1), "lenet5": (28, 28, 1), "resnet50": (64, 64, 3), "resnext50": (64, 64, 3)}


def build(name, method, **arguments):
    keras.utils.set_random_seed(3)
    arguments = {**METHODS[method].arguments, **arguments}
    shape = SIZES.get(name, (32, 32, 3))
    return getattr(applications, name)(input_shape=shape, classes=10, **arguments), shape


def data(shape, count=4):
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, *shape)).astype("float32"), generator.integers(0, 10, count)


def close_some(model):
    """Closes about half of the units of each gate, and at least one; leaves at least one open."""
    generator = np.random.default_rng(5)
    for gate in model.gates:
        if gate._source is not None:
            continue
        variable = gate.scale if isinstance(gate, ScalingGate) else gate.logits
        scaling = isinstance(gate, ScalingGate)
        closed = generator.permutation(gate.units) < gate.units / 2
        if gate.units == 1:
            closed = np.array([generator.random() < 0.5])
        value = generator.uniform(0.4, 1.0, gate.units)
        variable.assign(np.where(closed, 0.0 if scaling else -4.0, value))
    for layer in model.layers:
        if isinstance(layer, tfgates.layers.GateGenerator):
            for weight in layer.weights:
                if "bias" in weight.name:
                    weight.assign(generator.choice([-1.0, 0.5], weight.shape, p=[0.4, 0.6]))


def randomise_normalisation(model, x):
    """Averages and offsets that are not those of the start, so that a wrong channel shows.

    They are those of the data, and something beside: where averages have nothing to do with what
    comes in, differences between inputs die out over many layers.
    """
    generator = np.random.default_rng(6)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.gamma.assign(generator.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(generator.normal(0.0, 0.3, layer.beta.shape))
    assert tfgates.reestimate_statistics(model, (x,)) == len(layers)
    for layer in layers:
        mean, variance = np.array(layer.moving_mean), np.array(layer.moving_variance)
        layer.moving_mean.assign(mean + np.sqrt(variance) * generator.normal(0.0, 0.3, mean.shape))
        layer.moving_variance.assign(variance * generator.uniform(0.5, 1.5, mean.shape))


def expose_logits(model, x):
    """Takes the softmax away, behind which differences can hide, and makes the largest output 1."""
    head = model.get_layer("predictions")
    head.activation = keras.activations.linear
    largest = float(keras.ops.max(keras.ops.abs(model(x, training=False))))
    for weight in (head.kernel, head.bias):
        weight.assign(weight / largest)
    outputs = np.array(model(x, training=False))
    # The outputs depend on the input by far more than what equality tolerates.
    assert np.ptp(outputs, axis=0).max() > 5e-3
    return outputs


def check(name, method, tmp_path):
    model, shape = build(name, method)
    x, y = data(shape)
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    history = model.fit(x, y, batch_size=2, epochs=1, verbose=0, callbacks=METHODS[method].callbacks())
    assert np.isfinite(history.history["loss"][-1])
    close_some(model)
    randomise_normalisation(model, x)
    expected = expose_logits(model, x)
    small = tfgates.prune(model)
    assert small.count_params() < model.count_params()
    assert not any(type(layer).__module__.startswith("tfgates") for layer in small._flatten_layers())
    assert tfgates.cost(small).macs == tfgates.cost(model).macs < tfgates.cost(model).dense_macs
    made = np.array(small(x, training=False))
    np.testing.assert_allclose(made, expected, atol=1e-4)
    small.export(str(tmp_path / "exported"), verbose=False)
    (exported,) = predict_in_fresh_process(str(tmp_path / "exported"), x, tmp_path, plain=True)
    np.testing.assert_allclose(exported, expected, atol=1e-4)
    # Compiled or not: the file of what is left loads without tfgates.
    small.save(tmp_path / "small.keras")
    (plain,) = predict_in_fresh_process(str(tmp_path / "small.keras"), x, tmp_path, plain=True)
    np.testing.assert_allclose(plain, expected, atol=1e-4)
    path = str(tmp_path / "model.keras")
    model.save(path)
    (reloaded,) = predict_in_fresh_process(path, x, tmp_path)
    np.testing.assert_allclose(reloaded, expected, atol=1e-5)


@pytest.mark.parametrize("name, method", QUICK)
def test_small_networks(name, method, tmp_path):
    check(name, method, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name, method", SLOW)
def test_all_networks(name, method, tmp_path):
    check(name, method, tmp_path)


@pytest.mark.parametrize("depth", [29, pytest.param(164, marks=pytest.mark.slow)])
def test_closed_blocks_vanish(depth):
    """A ResNet-164 with 40 of its 54 blocks closed is left with 14, a ResNet-29 with 3 of 9; projections stay."""
    keras.utils.set_random_seed(3)
    shape, blocks = (32, 32, 3), (depth - 2) // 3
    arguments = {"bottleneck": True, "preactivated": True, "shortcut": "projection", "gate": "scaling"}
    model = applications.resnet.resnet_cifar(depth, shape, **arguments)
    randomise_normalisation(model, data(shape)[0])
    closed = np.random.default_rng(1).permutation(blocks) < blocks * 3 // 4
    # Among the closed ones is one with a projection shortcut.
    first = blocks // 3
    closed[first], closed[first - 1] = True, closed[first]
    for gate, is_closed in zip(model.gates, closed, strict=True):
        gate.scale.assign([0.0 if is_closed else 0.3])
    x, _ = data(shape)
    expected = expose_logits(model, x)
    small = tfgates.prune(model)
    np.testing.assert_allclose(small(x), expected, atol=1e-4)
    additions = [layer for layer in small.layers if isinstance(layer, keras.layers.Add)]
    assert len(additions) == blocks - closed.sum() > 0
    left = {layer.name for layer in small.layers}
    assert {f"stage{stage}_block1_shortcut_conv" for stage in (1, 2, 3)} <= left
    assert "stage2_block1_conv1" not in left
    for gate, is_closed in zip(model.gates, closed, strict=True):
        assert (gate.name.replace("branch_gate", "conv3") in left) == (not is_closed)


def test_closed_groups_shrink_the_cardinality():
    model, shape = build("resnext20", "scaling")
    randomise_normalisation(model, data(shape)[0])
    generator = np.random.default_rng(2)
    numbers = [5, 32, 1, 17, 8, 30]
    for gate, number in zip(model.gates, numbers, strict=True):
        gate.scale.assign(np.where(generator.permutation(32) < number, generator.uniform(0.3, 1.0, 32), 0.0))
    x, _ = data(shape)
    expected = expose_logits(model, x)
    small = tfgates.prune(model)
    np.testing.assert_allclose(small(x), expected, atol=1e-4)
    names = [f"stage{stage}_block{number}_conv2" for stage in (1, 2, 3) for number in (1, 2)]
    grouped = [small.get_layer(name) for name in names]
    assert [layer.groups for layer in grouped] == numbers
    widths = [1, 1, 2, 2, 4, 4]
    assert [layer.filters for layer in grouped] == [n * w for n, w in zip(numbers, widths, strict=True)]
    # The convolutions around it shrink along.
    for name, layer in zip(names, grouped, strict=True):
        assert small.get_layer(name.replace("conv2", "conv1")).filters == layer.filters
