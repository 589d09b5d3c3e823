"""prune_by: what is removed, what stays, and that the result computes the network with these units zeroed."""

import keras
import numpy as np
import pytest

import tfgates
from tests.calculus import tensorflow
from tests.selection.test_selection import network
from tests.slow import others_slow
from tfgates.importance import NAMES


def trained(seed=0):
    """A network in which no constant is 0, compiled."""
    model = network(seed)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            for variable in (layer.beta, layer.moving_mean):
                variable.assign(rng.normal(0.0, 0.3, variable.shape))
    model.compile("sgd", loss="mse", metrics=["mae"])
    return model


def data(count=24):
    rng = np.random.default_rng(5)
    return rng.normal(size=(count, 10, 10, 3)).astype("float32"), rng.normal(size=(count, 4)).astype("float32")


def norms(layer):
    rows = np.asarray(layer.kernel).reshape(-1, layer.kernel.shape[-1])
    found = np.sqrt((rows**2).sum(axis=0))
    return found / found.mean()


def test_the_smallest_filters_go_and_the_rest_computes_the_same():
    model, (x, _) = trained(), data()
    before = [np.array(v) for v in model.variables]
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5))
    assert tfgates.cost(small).macs <= 0.5 * tfgates.cost(model).macs
    zeroed = keras.models.clone_model(model)
    zeroed.set_weights(before)
    for name, norm in (("conv2d_1", "batch_normalization_1"), ("conv2d_3", None), ("dense", None)):
        layer, left = model.get_layer(name), small.get_layer(name)
        kept = np.sort(np.argsort(-norms(layer))[: left.kernel.shape[-1]])
        assert 0 < len(kept) < layer.kernel.shape[-1] or name == "dense"
        if name == "conv2d_1":
            np.testing.assert_array_equal(np.asarray(layer.kernel)[..., kept], np.asarray(left.kernel))
        mask = np.isin(np.arange(layer.kernel.shape[-1]), kept).astype("float32")
        for variable in zeroed.get_layer(norm or name).trainable_variables:
            variable.assign(np.asarray(variable) * mask)
    expected = np.asarray(zeroed(x, training=False))
    assert np.abs(expected - np.asarray(model(x, training=False))).max() > 1e-3
    np.testing.assert_allclose(small(x, training=False), expected, rtol=1e-4, atol=1e-5)
    assert small.compiled and small.loss == "mse" and isinstance(small.optimizer, keras.optimizers.SGD)
    assert not any(type(layer).__module__.startswith("tfgates") for layer in small.layers)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable))


@pytest.mark.parametrize("importance", others_slow([name for name in NAMES if name != "batch_norm"], ["l1", "taylor"]))
def test_every_importance_keeps_the_budget_and_is_the_same_again(importance):
    model = trained()
    arguments = {"importance": importance, "data": data() if importance == "taylor" else None, "batch_size": 8}
    first, again = (tfgates.prune_by(model, tfgates.Budget(macs=0.4), **arguments) for _ in range(2))
    assert 0.37 <= tfgates.cost(first).macs / tfgates.cost(model).macs <= 0.4
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_scales_of_normalisations_decide():
    model = trained()
    scale = np.random.default_rng(0).permutation(np.linspace(0.1, 2.0, 24))
    model.get_layer("batch_normalization_1").gamma.assign(scale)
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.6), "batch_norm", layers="conv2d_1")
    left = np.asarray(small.get_layer("batch_normalization_1").gamma)
    np.testing.assert_allclose(np.sort(left), np.sort(scale)[-len(left) :], rtol=1e-6)
    with pytest.raises(ValueError, match="needs a BatchNormalization.*Received, without one: .'conv2d_3'."):
        tfgates.prune_by(model, tfgates.Budget(macs=0.6), "batch_norm")


def test_seeds_of_random_choices():
    model = trained()
    one, other = (tfgates.prune_by(model, tfgates.Budget(macs=0.4), "random", seed=seed) for seed in (0, 1))
    kernels = [np.asarray(small.get_layer("conv2d_1").kernel) for small in (one, other)]
    assert kernels[0].shape != kernels[1].shape or not np.array_equal(*kernels)


def test_uniform_keeps_the_same_share_of_each_layer():
    model = trained()
    # A layer of large weights would otherwise keep all of its units.
    model.get_layer("conv2d_3").kernel.assign(10.0 * np.asarray(model.get_layer("conv2d_3").kernel))
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5), "l1", compare="uniform")
    widths = [
        (small.get_layer(n).kernel.shape[-1], model.get_layer(n).kernel.shape[-1])
        for n in ("conv2d_1", "conv2d_3", "dense")
    ]
    shares = [left / whole for left, whole in widths]
    assert max(shares) - min(shares) < 0.06 and max(shares) < 0.9
    by_size = tfgates.prune_by(model, tfgates.Budget(macs=0.7), "l1", compare="global")
    assert by_size.get_layer("conv2d_3").kernel.shape[-1] == 32


def test_channels_of_a_residual_stream_go_together():
    model = trained()
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.4), residual="tied")
    widths = {small.get_layer(name).kernel.shape[-1] for name in ("conv2d", "conv2d_2")}
    assert len(widths) == 1 and widths.pop() < 16


def test_widths_are_rounded_within_the_budget():
    small = tfgates.prune_by(trained(), tfgates.Budget(macs=0.5), round_to=4, verbose=0)
    assert all(small.get_layer(name).kernel.shape[-1] % 4 == 0 for name in ("conv2d_1", "conv2d_3", "dense"))
    assert tfgates.cost(small).macs <= 0.5 * tfgates.cost(trained()).macs


def test_a_function_of_the_users(capsys):
    seen = []

    def last_ones(units):
        seen.append((units.name, units.count, [layer.name for layer in units.layers]))
        return np.arange(units.count)

    model = trained()
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5), last_ones, verbose=1)
    assert seen == [("conv2d_1", 24, ["conv2d_1"]), ("conv2d_3", 32, ["conv2d_3"]), ("dense", 20, ["dense"])]
    left = np.asarray(small.get_layer("conv2d_1").kernel)
    np.testing.assert_array_equal(left, np.asarray(model.get_layer("conv2d_1").kernel)[..., -left.shape[-1] :])
    assert "chosen to keep the budget" in capsys.readouterr().out
    with pytest.raises(ValueError, match="one finite number for each of the 24 units of 'conv2d_1'"):
        tfgates.prune_by(model, tfgates.Budget(macs=0.5), lambda units: [1.0])


def test_a_network_that_is_not_compiled_stays_so():
    model = network()
    small = tfgates.prune_by(model, tfgates.Budget(macs=0.5), "taylor", data=data(), loss="mse")
    assert not small.compiled


def test_variables_without_weight_decay_are_said():
    model = trained()
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_list=model.trainable_variables[:1])
    model.compile(optimizer, "mse")
    with pytest.warns(tfgates.GatesWarning, match="not compiled.*var_list.*there are others now"):
        assert not tfgates.prune_by(model, tfgates.Budget(macs=0.5)).compiled


def test_data_sets_of_batches():
    tf = tensorflow("its data are of tf.data")
    model, (x, y) = trained(), data()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    a = tfgates.prune_by(model, tfgates.Budget(macs=0.5), "taylor", data=batches)
    b = tfgates.prune_by(
        model, tfgates.Budget(macs=0.5), "taylor", data=[(x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)].__iter__()
    )
    np.testing.assert_array_equal(
        np.asarray(a.get_layer("conv2d_1").kernel), np.asarray(b.get_layer("conv2d_1").kernel)
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"importance": "size"}, "`importance` must be one of .* Received: importance="),
        ({"compare": "local"}, "`compare` must be one of .* Received: compare="),
        ({"residual": "block"}, "`residual` must be one of .* Received: residual="),
        ({"importance": "taylor"}, "`importance='taylor'` needs `data`.*Received: data=None"),
        ({"importance": "taylor", "data": 3}, "`data` must be a data set.*Received: data=int"),
        ({"importance": "taylor", "data": "xy", "steps": 0}, "`steps` must be a positive integer. Received: steps=0"),
        ({"budget": None}, "`budget` must be a tfgates.Budget.*Received: budget=None"),
        ({"budget": tfgates.Budget(macs=0.001)}, "`budget` cannot be reached"),
        ({"min_units": 16}, "`budget` cannot be kept.*min_units=16"),
    ],
)
def test_errors(arguments, message):
    arguments = {"budget": tfgates.Budget(macs=0.3), **arguments}
    if arguments.get("data") == "xy":
        arguments["data"] = data()
    with pytest.raises(ValueError, match=message):
        tfgates.prune_by(trained(), **arguments)


def test_networks_with_gates_are_refused():
    with pytest.raises(ValueError, match="`model` must have no gates: use `tfgates.prune`. Received: model="):
        tfgates.prune_by(tfgates.gate_model(network()), tfgates.Budget(macs=0.5))
