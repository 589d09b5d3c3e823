"""`gate_model`: where gates go, what they share, what is refused, and that the original stays."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.reload import predict_in_fresh_process
from tfgates import gates, layers

K = keras.layers


def data(model, count=4, seed=0):
    generator = np.random.default_rng(seed)
    x = [generator.normal(size=(count, *t.shape[1:])).astype("float32") for t in model.inputs]
    return x[0] if len(x) == 1 else x


def block(x, filters=6, width=8):
    y = K.Conv2D(width, 3, padding="same", use_bias=False)(x)
    y = K.ReLU()(K.BatchNormalization()(y))
    y = K.BatchNormalization()(K.Conv2D(filters, 3, padding="same", use_bias=False)(y))
    return K.ReLU()(K.Add()([x, y]))


def residual_network():
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    x = block(block(x))
    x = K.GlobalAveragePooling2D()(x)
    x = K.Dense(10, activation="relu", name="hidden")(x)
    return keras.Model(inputs, K.Dense(3, name="head")(x), name="residual")


def plain_network():
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            K.Conv2D(6, 3, activation="relu", name="first"),
            K.Conv2D(5, 3, activation="relu", name="second"),
            K.Flatten(),
            K.Dense(7, activation="relu", name="third"),
            K.Dense(2, name="last"),
        ],
        name="plain",
    )


def gated_names(gated):
    return [name for name, _ in gated.report.gated]


def skipped(gated):
    return dict(gated.report.skipped)


def randomise(model, seed=3):
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(generator.normal(size=variable.shape))


def close_some(gated, seed=4):
    generator = np.random.default_rng(seed)
    for gate in gated.gates:
        shut = generator.random(gate.unit_shape) < 0.5
        shut.flat[0] = gate.axis is None and generator.random() < 0.5
        gate.logits.assign(np.where(shut, -5.0, generator.uniform(0.5, 5.0, gate.unit_shape)))


def open_all(gated):
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.unit_shape, 5.0))


def assert_same(a, b, x, tolerance=1e-6):
    a, b = np.asarray(a(x, training=False)), np.asarray(b(x, training=False))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(a).max())


def prunes(gated):
    """Prunes the gated model with some units closed; returns the plan."""
    close_some(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert pruned.count_params() == plan.params < plan.dense_params
    return plan


# Where gates go.


def test_sequential():
    model = plain_network()
    randomise(model)
    gated = tfgates.gate_model(model)
    assert isinstance(gated, tfgates.GatedModel) and gated.name == "plain"
    assert gated_names(gated) == ["first", "second", "third"]
    assert skipped(gated) == {"last": "an output of the model"}
    assert [gate.units for gate in gated.gates] == [6, 5, 7]
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


def test_inner_channels_of_residual_branches():
    gated = tfgates.gate_model(residual_network())
    assert gated_names(gated) == ["conv2d", "conv2d_2", "hidden"]
    for name in ("stem", "conv2d_1", "conv2d_3"):
        assert "(a residual stream" in skipped(gated)[name]
    prunes(gated)


def test_tied_streams_share_one_gate_and_one_draw():
    model = residual_network()
    gated = tfgates.gate_model(model, residual="tied", seed=5)
    streams = [what for name, what in gated.report.gated if name in ("stem", "conv2d_1", "conv2d_3")]
    assert streams == ["6 units (one gate for the residual stream)"] * 3
    assert len(gated.gates) == 4
    open_all(gated)
    assert_same(model, gated, data(model))
    plan = prunes(gated)
    assert len({row.units_left for row in plan.layers if row.name in ("stem", "conv2d_1", "conv2d_3")}) == 1


def test_streams_that_cannot_share_a_gate_say_so():
    inputs = keras.Input((4, 4, 3))
    x = K.Concatenate()([K.Conv2D(4, 3, padding="same", name=name)(inputs) for name in ("left", "right")])
    x = K.ReLU()(K.Add()([x, K.Conv2D(8, 3, padding="same", name="branch")(x)]))
    x = K.Conv2D(6, 3, activation="relu", name="after")(x)
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.Flatten()(x))), residual="tied")
    reasons = dict(gated.report.skipped)
    assert gated_names(gated) == ["after"]
    assert all("cannot share its gate" in reasons[name] for name in ("left", "right", "branch"))


def padded_network():
    """Two shortcuts padded with channels, as in the residual networks of CIFAR: 4, 7 and 9 channels."""
    inputs = keras.Input((8, 8, 3))
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)))
    for stage, filters in enumerate((7, 9)):
        y = K.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"branch{stage}")(x)
        front = (filters - x.shape[-1]) // 2
        pads = ((0, 0), (0, 0), (0, 0), (front, filters - x.shape[-1] - front))
        x = K.ReLU()(K.Add()([keras.ops.pad(x[:, ::2, ::2], pads), K.BatchNormalization()(y)]))
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))


# Open units of the gates of the three streams, of 4, 7 and 9; a shortcut holds the positions from 1 on.
PADDED = {
    "holes in front": ([0, 3], range(7), range(9)),
    "holes behind": (range(4), [0, 2, 4, 6], [0, 1, 3, 5, 8]),
    "picked apart": ([1, 2], [1, 3, 6], [2, 4, 5, 8]),
    "nothing of the shortcut": (range(4), [0, 5, 6], [0, 8]),
    "nothing in common": ([0, 1], [3, 4, 6], [1, 2, 8]),
    "one channel": ([2], [3], [4]),
}


@pytest.mark.parametrize("case", PADDED)
def test_streams_of_padded_shortcuts_are_chosen_apart(case):
    model = padded_network()
    gated = tfgates.gate_model(model, residual="tied", seed=1)
    assert set(gated_names(gated)) == {"stem", "branch0", "branch1", "pad", "pad_1"}
    assert [(gate.name, gate.units) for gate in gated.gates] == [
        ("stem_gate", 4),
        ("branch0_gate", 7),
        ("branch1_gate", 9),
    ]
    open_all(gated)
    assert_same(model, gated, data(model))
    randomise(gated)
    for gate, left in zip(gated.gates, PADDED[case], strict=True):
        # A factor of its own for each unit that is open.
        gate.logits.assign(np.where(np.isin(np.arange(gate.units), left), np.linspace(0.3, 1.2, gate.units), -5.0))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert_same(gated, pruned, data(model))
    np.testing.assert_allclose(gated(data(model)), pruned(data(model)), atol=1e-5)
    kept = [len(left) for left in PADDED[case]]
    assert [pruned.get_layer(name).filters for name in ("stem", "branch0", "branch1")] == kept
    assert pruned.count_params() == plan.params


def ghost_network():
    """GhostNet: half of the channels of each block are made of the other half, one by one."""

    def block(x, filters):
        y = K.BatchNormalization()(K.Conv2D(filters // 2, 1, use_bias=False)(x))
        cheap = K.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        return K.Concatenate()([y, K.BatchNormalization()(cheap)])

    inputs = keras.Input((8, 8, 3))
    x = K.ReLU()(K.BatchNormalization()(K.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)))
    for _ in range(2):
        x = K.Add()([x, block(K.ReLU()(block(x, 10)), 6)])
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))


def test_channels_that_go_together_at_equal_distances_are_one_unit():
    model = ghost_network()
    gated = tfgates.gate_model(model)
    stream = [gate for gate in gated.gates if gate.interleaved]
    assert [(gate.units, gate.groups, gate.name) for gate in stream] == [(3, 3, "stem_gate")]
    assert sorted(gate.units for gate in gated.gates) == [3, 5, 5]
    open_all(gated)
    assert_same(model, gated, data(model))
    randomise(gated)
    stream[0].logits.assign([0.4, -5.0, 0.9])
    z = np.asarray(stream[0].test_gates())
    np.testing.assert_allclose(stream[0](np.ones((1, 2, 2, 6), "float32"))[0, 0, 0], np.tile(z, 2))
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert pruned.get_layer("stem").filters == 4 and pruned.count_params() == plan.params
    assert_same(gated, pruned, data(model))
    # The second unit makes next to nothing: channels 1 and 4 of the stem, channel 1 of what is added.
    weak = np.where(np.arange(6) % 3 == 1, 1e-4, 1.0)
    for layer in model.layers:
        if isinstance(layer, K.Conv2D) and layer.filters in (3, 6):
            layer.kernel.assign(np.array(layer.kernel) * weak[: layer.filters])
    small = tfgates.prune_by(model, tfgates.Budget(params=0.85))
    assert small.get_layer("stem").filters == 4
    assert np.abs(np.array(small.get_layer("stem").kernel)).sum(axis=(0, 1, 2)).min() > 1e-2


def test_units_at_equal_distances_go_in_training():
    inputs = keras.Input((8, 8, 3))
    x = K.BatchNormalization()(K.Conv2D(6, 1, use_bias=False, name="stem")(inputs))
    y = K.BatchNormalization()(K.Conv2D(3, 3, padding="same", use_bias=False, name="half")(x))
    x = K.ReLU()(K.Add()([x, K.Concatenate()([y, -y])]))
    model = keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))
    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.3))
    (gate,) = gated.gates
    assert gate.interleaved and gate.units == 3
    gated.compile(keras.optimizers.Adam(0.01), "mse")
    gated.fit(data(model), np.ones((4, 2), "float32"), verbose=0)
    gate.logits.assign([0.4, -1e4, 0.9])
    small = tfgates.shrink(gated)
    assert_same(gated, small, data(model), 1e-5)
    assert [each.units for each in small.gates] == [2] and small.get_layer("stem").filters == 4
    small.fit(data(model), np.ones((4, 2), "float32"), verbose=0)
    tfgates.prune(small)


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("network", ["padded_network", "reparameterized_network"])
def test_units_of_streams_gated_elsewhere_are_ranked_by_what_makes_them(network, importance):
    keras.utils.set_random_seed(0)
    model, x = globals()[network](), np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    unread = 0 if network == "reparameterized_network" else 2
    for layer in model.layers:
        # One channel of the stream that makes next to nothing.
        if isinstance(layer, K.Conv2D) and layer.name != "last":
            layer.kernel.assign(np.array(layer.kernel) * np.where(np.arange(layer.filters) == unread, 1e-4, 1.0))
        elif isinstance(layer, K.BatchNormalization) and layer.gamma.shape[0] != 4:
            layer.gamma.assign(np.where(np.arange(layer.gamma.shape[0]) == unread, 1e-4, 1.0))
    given = {"data": (x, np.arange(8) % 2)} if importance == "taylor" else {}
    budget = tfgates.Budget(params=0.9 if network == "reparameterized_network" else 0.6)
    small = tfgates.prune_by(model, budget, importance=importance, residual="tied", **given)
    (kernel,) = [layer.kernel for layer in small.layers if layer.name in ("stem", "a3")]
    assert np.abs(np.array(kernel)).sum(axis=(0, 1, 2)).min() > 1e-2


@pytest.mark.parametrize(
    "network, arguments",
    [
        ("padded_network", {"generator": "forward"}),
        ("padded_network", {"copy_weights": False}),
        ("reparameterized_network", {"gate": "disarm"}),
    ],
)
def test_streams_gated_elsewhere_train(network, arguments):
    gated = tfgates.gate_model(globals()[network](), residual="tied", seed=1, **arguments)
    gated.compile("sgd", "mse")
    gated.fit(data(gated), np.ones((4, 2), "float32"), verbose=0)
    assert_same(gated, tfgates.prune(gated), data(gated), 1e-5)


def test_padded_shortcuts_shrink_in_training_and_again():
    gated = tfgates.gate_model(padded_network(), residual="tied", budget=tfgates.Budget(macs=0.2), seed=1)
    gated.compile(keras.optimizers.Adam(0.01), "mse")
    small = gated
    for closed in ([1], [0, 4]), ([0], [1, 4]):
        for gate, units in zip(small.gates, [closed[0], closed[1], closed[1]], strict=True):
            value = np.array(gate.logits)
            value[units] = -1e4
            gate.logits.assign(value)
        before, x = small, data(small)
        small = tfgates.shrink(before)
        assert_same(before, small, x, 1e-5)
        np.testing.assert_allclose(before(x, training=False), small(x, training=False), atol=1e-5)
        small.fit(x, np.ones((4, 2), "float32"), verbose=0)
    assert [gate.units for gate in small.gates] == [2, 3, 5]
    tfgates.prune(small)


def reparameterized_network():
    """RepVGG while it trains: a normalised identity beside convolutions of 3 x 3 and 1 x 1."""
    x = inputs = keras.Input((8, 8, 3))
    for name in "abc":
        branches = [K.Conv2D(5, k, padding="same", use_bias=False, name=f"{name}{k}")(x) for k in (3, 1)]
        x = K.ReLU()(K.Add()([K.BatchNormalization()(y) for y in ([*branches, x] if name > "a" else branches)]))
    x = K.Conv2D(4, 3, padding="same", name="last")(x)
    return keras.Model(inputs, K.Dense(2, name="head")(K.GlobalAveragePooling2D()(x)))


def test_normalised_identities_are_gated_behind_their_sums():
    model = reparameterized_network()
    gated = tfgates.gate_model(model)
    assert gated_names(gated) == ["last", "add", "add_1", "add_2"]
    assert sorted(gate.units for gate in gated.gates) == [4, 5]
    open_all(gated)
    assert_same(model, gated, data(model))
    randomise(gated)
    plan = prunes(gated)
    pruned = tfgates.prune(gated, plan=plan)
    assert_same(gated, pruned, data(model))
    np.testing.assert_allclose(gated(data(model)), pruned(data(model)), atol=1e-5)
    assert len({pruned.get_layer(f"{name}{k}").filters for name in "abc" for k in (3, 1)}) == 1
    assert pruned.get_layer("a3").filters < 5


def test_streams_on_which_groups_and_channels_meet_are_refused_by_name():
    def convolution(x, filters, groups=1, **settings):
        x = K.Conv2D(filters, 1, groups=groups, use_bias=False, **settings)(x)
        return K.ReLU()(K.BatchNormalization()(x))

    inputs = keras.Input((6, 6, 3))
    x = convolution(inputs, 12, name="stem")
    for _ in range(2):
        y = convolution(x, 6, groups=3)
        y = K.Reshape((6, 6, 6))(K.Permute((1, 2, 4, 3))(K.Reshape((6, 6, 3, 2))(y)))
        y = K.BatchNormalization()(K.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        x = K.ReLU()(K.Add()([x, K.BatchNormalization()(K.Conv2D(12, 1, groups=3, use_bias=False)(y))]))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
    with pytest.raises(ValueError, match=r"(?s)no layer that can be gated.*stem +its channels are joined"):
        tfgates.gate_model(model)


def test_streams_are_gated_where_little_is_inside_of_branches():
    gated = tfgates.gate_model(reparameterized_network(), residual="inner")
    assert "add" in gated_names(gated)
    # What was asked for by name is not widened.
    gated = tfgates.gate_model(reparameterized_network(), layers=["last"])
    assert gated_names(gated) == ["last"]
    # Gates inside of these branches reach most of what there is.
    gated = tfgates.gate_model(residual_network())
    assert "stem" not in gated_names(gated)


def test_tied_gates_close_the_same_channels_while_training():
    inputs = keras.Input((3, 3, 2))
    x = K.Conv2D(6, 1, name="a")(inputs)
    x = K.Add()([x, K.Conv2D(6, 1, name="b")(x)])
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(x)), residual="tied", initial_open_probability=0.5)
    assert len(gated.gates) == 1
    inner = keras.Model(gated.input, gated.layers[-2].output)
    y = np.asarray(inner(data(gated), training=True))
    closed = np.all(y == 0.0, axis=(0, 1, 2))
    assert 0 < closed.sum() < 6


def test_block_gates():
    model = residual_network()
    gated = tfgates.gate_model(model, residual="block")
    assert gated.report.gated == [("add", "the whole branch"), ("add_1", "the whole branch")]
    assert all(gate.axis is None and gate.units == 1 for gate in gated.gates)
    open_all(gated)
    assert_same(model, gated, data(model))
    gated.gates[0].logits.assign([-5.0])
    plan = tfgates.plan_pruning(gated)
    assert plan.dropped == ["conv2d", "batch_normalization", "conv2d_1", "batch_normalization_1"]
    pruned = tfgates.prune(gated, plan=plan)
    assert sum(isinstance(layer, K.Add) for layer in pruned.layers) == 1


def test_inner_and_block_gates_together():
    gated = tfgates.gate_model(residual_network(), residual=("inner", "block"))
    assert gated_names(gated) == ["conv2d", "conv2d_2", "hidden", "add", "add_1"]
    prunes(gated)


def test_tied_and_block_gates_together():
    gated = tfgates.gate_model(residual_network(), residual=("tied", "block"))
    assert len(gated.gates) == 6
    prunes(gated)


def test_squeeze_and_excitation_is_gated_behind_the_depthwise_convolution():
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(8, 1, use_bias=False, name="expand")(inputs)
    x = K.Activation("silu")(K.BatchNormalization()(x))
    x = K.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = K.Activation("silu")(K.BatchNormalization(name="behind")(x))
    s = K.Reshape((1, 1, 8))(K.GlobalAveragePooling2D()(x))
    s = K.Conv2D(8, 1, activation="sigmoid", name="excite")(K.Conv2D(2, 1, activation="silu", name="squeeze")(s))
    x = K.Multiply()([x, s])
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.Conv2D(4, 1, name="project")(x))))
    randomise(model)
    gated = tfgates.gate_model(model)
    assert {"expand", "squeeze"} <= set(gated_names(gated))
    assert type(gated.get_layer("behind")).__name__ == "GatedBatchNormalization"
    open_all(gated)
    assert_same(model, gated, data(model))
    plan = prunes(gated)
    left = {row.name: row.units_left for row in plan.layers}
    assert left["expand"] == left["depthwise"] == left["excite"] < 8


def test_the_groups_of_a_grouped_convolution_are_its_units():
    inputs = keras.Input((4, 4, 3))
    x = K.Conv2D(8, 1, name="before")(inputs)
    x = K.Conv2D(8, 3, groups=4, activation="relu", name="grouped")(x)
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.Flatten()(x))), layers="grouped")
    assert gated.report.gated == [("grouped", "4 groups")]
    assert gated.gates[0].units == gated.gates[0].groups == 4
    plan = prunes(gated)
    left = {row.name: row.units_left for row in plan.layers}
    assert left["before"] == left["grouped"] == 2 * int(np.sum(gated.gates[0].open_units()))


def test_an_activation_that_makes_something_of_zero_gets_its_gate_behind_it():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, K.Dense(2)(K.Dense(6, activation="sigmoid", name="hidden")(inputs)))
    gated = tfgates.gate_model(model)
    assert isinstance(gated.get_layer("hidden_gate"), gates.Gate)
    prunes(gated)


def test_nested_models_are_laid_out_flat():
    inside = keras.Input((6, 6, 4))
    x = K.Conv2D(6, 1, activation="relu", name="first")(inside)
    inner = keras.Model(inside, K.Conv2D(5, 3, name="deep")(x), name="inner")
    head = keras.Sequential([keras.Input((5,)), K.Dense(6, activation="relu", name="first"), K.Dense(2)], name="head")
    inputs = keras.Input((6, 6, 3))
    x = inner(K.Conv2D(4, 1, name="outer")(inputs))
    model = keras.Model(inputs, head(K.GlobalMaxPooling2D()(x)))
    randomise(model)
    gated = tfgates.gate_model(model)
    assert gated_names(gated) == ["outer", "inner/first", "inner/deep", "head/first"]
    assert not any(isinstance(layer, keras.Model) for layer in gated.layers)
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


def test_shared_layers_have_one_gate():
    inputs = [keras.Input((5,)), keras.Input((5,))]
    shared = K.Dense(6, activation="relu", name="shared")
    x = K.Concatenate()([shared(each) for each in inputs])
    model = keras.Model(inputs, K.Dense(2)(x))
    randomise(model)
    gated = tfgates.gate_model(model)
    assert len(gated.gates) == 1
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


def test_a_shared_normalisation_has_one_gate():
    inputs = keras.Input((4, 4, 3))
    convolution, normalisation = K.Conv2D(6, 1, name="shared"), K.BatchNormalization()
    x = normalisation(convolution(inputs))
    y = normalisation(convolution(K.MaxPooling2D(1)(inputs)))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.Concatenate()([x, y]))))
    gated = tfgates.gate_model(model)
    assert len(gated.gates) == 1
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


def test_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        inputs = keras.Input((3, 6, 6))
        x = K.BatchNormalization(axis=1)(K.Conv2D(6, 3, name="first")(inputs))
        x = K.Conv2D(5, 1, activation="relu", name="second")(K.ReLU()(x))
        model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
        gated = tfgates.gate_model(model)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert gated_names(gated) == ["first", "second"]
    assert [gate.axis for gate in gated.gates] == [1, 1]
    close_some(gated)
    plan = tfgates.plan_pruning(gated)
    open_units = [int(np.sum(gate.open_units())) for gate in gated.gates]
    left = [row.units_left for row in plan.layers if row.kind == "GatedConv2D" or row.name == "first"]
    assert left == open_units
    first, second = open_units
    assert plan.params == 28 * first + 4 * first + (first + 1) * second + 2 * second + 2


# Options.


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, ["first", "second", "third"]),
        ("f.*|third", ["first", "third"]),
        ("irst", None),
        (["second"], ["second"]),
        (lambda layer: isinstance(layer, K.Dense), ["third"]),
    ],
)
def test_choice_of_layers(chosen, expected):
    if expected is None:
        with pytest.raises(ValueError, match="has no layer that can be gated"):
            tfgates.gate_model(plain_network(), layers=chosen)
        return
    gated = tfgates.gate_model(plain_network(), layers=chosen)
    assert gated_names(gated) == expected
    for name in {"first", "second", "third"} - set(expected):
        assert skipped(gated)[name] == "not asked for by `layers`"


def test_choice_of_blocks_by_their_layers():
    gated = tfgates.gate_model(residual_network(), layers="conv2d_2", residual="block")
    assert gated_names(gated) == ["add_1"]
    assert skipped(gated)["add"] == "not asked for by `layers`"


@pytest.mark.parametrize(
    "gate",
    [
        "scaling",
        gates.BernoulliGate(estimator="arm", initial_open_probability=0.7),
        keras.saving.serialize_keras_object(gates.HardConcreteGate(l0=0.1)),
    ],
)
def test_gates_by_name_instance_and_config(gate):
    gated = tfgates.gate_model(plain_network(), gate=gate)
    expected = gates.get(gate)
    for made in gated.gates:
        assert type(made) is type(expected) and made is not gate
        assert made.l0 == expected.l0
        assert made.initial_open_probability == expected.initial_open_probability
    assert len({gate.name for gate in gated.gates}) == 3


def test_gate_arguments():
    gated = tfgates.gate_model(plain_network(), initial_open_probability=0.6, sampling="example")
    assert {gate.initial_open_probability for gate in gated.gates} == {0.6}
    assert {gate.sampling for gate in gated.gates} == {"example"}


def test_each_gate_draws_its_own_noise_and_the_seed_repeats_it():
    first, second = (tfgates.gate_model(plain_network(), seed=7) for _ in range(2))
    assert [gate.seed for gate in first.gates] == [7, 8, 9]
    x = data(first)
    second.set_weights(first.get_weights())
    np.testing.assert_array_equal(first(x, training=True), second(x, training=True))


def test_weights_per_unit():
    gated = tfgates.gate_model(plain_network(), gate="hard_concrete", l0=1.0)
    assert [gate.weights_per_unit for gate in gated.gates] == [28, 55, 21]
    assert tfgates.gate_model(residual_network()).gates[0].weights_per_unit == 6 * 9 + 2


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_generator(order):
    model = residual_network()
    gated = tfgates.gate_model(model, generator=order)
    generator = gated.get_layer("gate_generator")
    assert isinstance(generator, layers.GateGenerator)
    assert not any(gate.trainable_variables for gate in gated.gates)
    assert [tuple(logits.shape) for logits in generator.generate()] == [(8,), (8,), (10,)]
    assert tfgates.prune(gated).count_params() == tfgates.plan_pruning(gated).params


def test_using_the_original_layers():
    model = plain_network()
    gated = tfgates.gate_model(model, copy_weights=False)
    assert gated.get_layer("first") is model.get_layer("first")
    assert [type(layer) for layer in gated.gates] == [gates.HardConcreteGate] * 3
    model.get_layer("first").bias.assign(np.ones(6))
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


@pytest.mark.parametrize("make", [plain_network, residual_network])
@pytest.mark.parametrize("residual", ["inner", "tied", "block"])
def test_compensated_gates_change_nothing_at_inference(make, residual):
    if make is plain_network and residual == "block":
        return
    model = make()
    randomise(model)
    x = data(model)
    gated = tfgates.gate_model(model, residual=residual, initial_open_probability=0.7, compensate=True)
    assert float(np.max(gated.gates[0].test_gates())) < 0.9
    assert_same(model, gated, x, 1e-5)
    without = tfgates.gate_model(model, residual=residual, initial_open_probability=0.7)
    assert np.abs(np.asarray(without(x)) - np.asarray(model(x))).max() > 0.01


def test_compensation_without_gamma():
    inputs = keras.Input((4, 4, 3))
    x = K.BatchNormalization(scale=False)(K.Conv2D(6, 1)(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.ReLU()(x))))
    randomise(model)
    gated = tfgates.gate_model(model, initial_open_probability=0.7, compensate=True)
    assert_same(model, gated, data(model), 1e-5)


def test_compensation_without_gamma_of_batch_renormalisation():
    """It normalises by its averages in training too."""
    inputs = keras.Input((4, 4, 3))
    x = K.BatchNormalization(scale=False, renorm=True)(K.Conv2D(6, 1)(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.ReLU()(x))))
    layer, generator = model.layers[2], np.random.default_rng(0)
    layer.moving_variance.assign(generator.uniform(0.5, 2.0, 6))
    for variable in (layer.moving_stddev, layer.renorm_stddev):
        variable.assign(np.sqrt(layer.moving_variance + layer.epsilon))
    gated, x = tfgates.gate_model(model, initial_open_probability=0.7, compensate=True), data(model)
    (gate,) = gated.gates
    for training in (False, True):
        with gate.held(gate.test_gates()):
            found = np.asarray(keras.Model.__call__(gated, x, training=training))
        np.testing.assert_allclose(found, model(x, training=training), rtol=1e-4, atol=1e-5)


# The report.


def test_report(capsys):
    gated = tfgates.gate_model(plain_network(), layers=["first"], verbose=1)
    printed = capsys.readouterr().out
    assert printed == f"{gated.report}\n"
    assert printed.splitlines()[:2] == ["gated (1)", "  first   6 units"]
    assert "skipped (3)" in printed
    tfgates.gate_model(plain_network())
    assert capsys.readouterr().out == ""


def test_reasons_for_skipping():
    inputs = keras.Input((6, 6, 4))
    x = K.Conv2D(6, 3, name="normed")(inputs)
    x = K.Conv2D(6, 3, name="free")(K.LayerNormalization()(x))
    x = K.Conv2D(6, 1, name="mixing", activation="softmax")(x)
    x = K.Dense(5, name="hidden")(K.Flatten()(x))
    x = K.Dense(5, name="padded")(x)
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2, name="head")(x)))
    assert gated_names(gated) == ["free", "hidden", "padded"]
    found = skipped(gated)
    assert found["normed"] == (
        "layer_normalization (LayerNormalization): its statistics are averaged over the channels, "
        "so none of them can go"
    )
    assert found["mixing"] == "its activation treats channels or places differently, or mixes them"
    assert found["head"] == "an output of the model"


def test_channels_joined_with_others():
    inputs = keras.Input((6, 6, 4))
    x = K.Add()([K.Conv2D(6, 3, name="left")(inputs), K.Conv2D(6, 3, name="right")(inputs)])
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5, name="hidden")(K.Flatten()(x))))
    found = skipped(tfgates.gate_model(model, layers=".*"))
    reason = "its channels are joined with those of other layers (a residual stream: see `residual`)"
    assert found["left"] == found["right"] == reason
    found = skipped(tfgates.gate_model(model, layers=["left", "hidden"]))
    assert found["left"] == "its channels are joined with others that have no gate (a residual stream)"


def test_a_normalisation_over_another_axis():
    inputs = keras.Input((6, 6, 3))
    x = K.BatchNormalization(axis=1, name="rows")(K.Conv2D(6, 3, name="conv")(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.Dense(5, name="hidden")(K.Flatten()(x))))
    gated = tfgates.gate_model(model)
    assert gated_names(gated) == ["hidden"]
    assert skipped(gated)["conv"].startswith("rows (BatchNormalization): it normalises another axis")


def test_places_folded_into_the_batch():
    """With the channels as they are, they can go; where they are cut in two, they stay."""
    inputs = keras.Input((4, 6))
    for width, names in ((8, ["steps", "hidden"]), (4, ["hidden"])):
        x = ops.reshape(K.Dense(8, name="steps")(inputs), (-1, width))
        model = keras.Model(inputs, K.Dense(2)(K.Dense(5, activation="relu", name="hidden")(x)))
        gated = tfgates.gate_model(model)
        assert gated_names(gated) == names
        randomise(gated)
        plan = prunes(gated)
        assert_same(gated, tfgates.prune(gated, plan=plan), data(model))
    assert "it folds other axes into that of the batch" in skipped(gated)["steps"]


def test_einsum_that_is_no_dense_layer():
    inputs = keras.Input((4, 6))
    x = K.Dense(6, name="before")(inputs)
    x = K.EinsumDense("abc,bcd->abd", (4, 5), name="odd")(x)
    x = K.Dense(6, name="after")(x)
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(x)))
    assert gated_names(gated) == ["after"]
    assert (
        skipped(gated)["odd"]
        == "odd: the equation 'abc,bcd->abd' is no dense layer on the last axis, into heads or out of them"
    )
    assert skipped(gated)["before"] == skipped(gated)["odd"]


def test_blocks_that_are_skipped():
    inputs = keras.Input((6, 6, 4))
    x = K.Conv2D(4, 1, name="left")(inputs)
    x = K.Add(name="equal")([x, K.Conv2D(4, 1, name="right")(inputs)])
    y = K.Conv2D(4, 1)(x)
    x = K.Add(name="read")([x, y])
    x = K.Concatenate()([x, y])
    x = K.Add(name="good")([x, K.Conv2D(8, 1)(x)])
    gated = tfgates.gate_model(keras.Model(inputs, x), residual="block")
    assert gated_names(gated) == ["good"]
    found = skipped(gated)
    assert found["equal"] == "neither of its inputs is the longer branch"
    assert found["read"] == "its branch is read by others too"


def branches(inputs, end=lambda x: x):
    """A convolution and a longer branch behind it, of the same shape."""
    stem = K.Conv2D(4, 1, name="stem")(inputs)
    return stem, end(K.Conv2D(4, 3, padding="same", name="inside")(K.ReLU()(stem)))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda x: x, "its branch is an output of the model too"),
        (lambda x: K.ReLU()(x), "all layers of its branch are read by others too"),
    ],
)
def test_blocks_whose_branch_stays(end, reason):
    inputs = keras.Input((6, 6, 3))
    stem, branch = branches(inputs)
    x = K.Add(name="sum")([stem, end(branch)])
    x = K.Add(name="good")([x, K.Conv2D(4, 1)(x)])
    gated = tfgates.gate_model(keras.Model(inputs, [x, branch]), residual="block")
    assert gated_names(gated) == ["good"]
    assert skipped(gated)["sum"] == reason


def test_blocks_of_which_a_part_stays():
    inputs = keras.Input((6, 6, 3))
    stem, branch = branches(inputs)
    x = K.Add(name="sum")([stem, K.Conv2D(4, 1, name="goes")(branch)])
    gated = tfgates.gate_model(keras.Model(inputs, [x, branch]), residual="block")
    gated.gates[0].logits.assign([-5.0])
    assert tfgates.plan_pruning(gated).dropped == ["goes"]


def test_blocks_that_carry_the_shape_of_the_sum():
    inputs = keras.Input((6, 6, 3))
    _, branch = branches(inputs)
    pooled = K.Conv2D(4, 1)(K.GlobalAveragePooling2D(keepdims=True)(inputs))
    x = K.Add(name="wide")([pooled, branch])
    x = K.Add(name="good")([x, K.Conv2D(4, 1)(x)])
    gated = tfgates.gate_model(keras.Model(inputs, x), residual="block")
    assert gated_names(gated) == ["good"]
    assert skipped(gated)["wide"].startswith("its addition cannot go")


def test_blocks_that_cannot_be_followed():
    inputs = keras.Input((6, 6, 3))
    stem, branch = branches(inputs, lambda x: ops.cumsum(x, axis=-1))
    x = K.Add(name="odd")([stem, branch])
    x = K.Add(name="good")([x, K.Conv2D(4, 1)(x)])
    gated = tfgates.gate_model(keras.Model(inputs, x), residual="block")
    assert skipped(gated)["odd"] == "its branch cannot be followed"


def test_gating_twice_finds_the_gates():
    gated = tfgates.gate_model(plain_network(), layers=["first", "third"])
    again = tfgates.gate_model(gated)
    assert gated_names(again) == ["second"]
    assert skipped(again)["first"] == skipped(again)["third"] == "has a gate already"
    assert len(again.gates) == 3
    with pytest.raises(ValueError, match="(?s)has no layer that can be gated.*has a gate already"):
        tfgates.gate_model(tfgates.gate_model(plain_network()))


def test_gating_twice_finds_gates_that_stand_alone():
    gated = tfgates.gate_model(plain_network(), copy_weights=False)
    with pytest.raises(ValueError, match="(?s)has no layer that can be gated.*has a gate already"):
        tfgates.gate_model(gated)


def test_a_shared_layer_with_different_things_behind_its_calls():
    """Its calls cannot share a gate inside of the layer, so the gates stand alone."""
    inputs = keras.Input((4, 4, 3))
    shared = K.Conv2D(6, 1, name="shared")
    x = K.ReLU()(K.BatchNormalization()(shared(inputs)))
    y = shared(K.MaxPooling2D(2, 1, "same")(inputs))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.Add()([x, y]))))
    randomise(model)
    gated = tfgates.gate_model(model, residual="tied")
    open_all(gated)
    assert_same(model, gated, data(model))
    prunes(gated)


def test_channels_behind_a_gated_branch_can_have_gates_too():
    gated = tfgates.gate_model(residual_network(), residual="block")
    again = tfgates.gate_model(gated)
    assert gated_names(again) == ["conv2d", "conv2d_2", "hidden"]


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"residual": "outer"}, r"must be one of \['inner', 'tied', 'block', 'layer'\]. Received: residual='outer'"),
        ({"residual": ()}, r"`residual` must name one of \['inner', 'tied', 'block', 'layer'\] or several. Received: "),
        ({"generator": "both"}, r"`generator` must be one of \['forward', 'backward'\]. Received: generator='both'"),
        (
            {"compensate": True, "copy_weights": False},
            "`compensate` changes weights, so it needs `copy_weights=True`. Received: copy_weights=False",
        ),
        ({"layers": 3}, "`layers` must be None, a regular expression, .* Received: layers=3"),
        ({"layers": "("}, r"`layers` must be a regular expression .* Received: layers='\('"),
        ({"layers": ["nope"]}, r"`layers` must name layers of the model. Received, and not found: \['nope'\]"),
        ({"layers": [3]}, r"`layers` must be None, .* Received: layers=\[3\]"),
        ({"gate": gates.ScalingGate(), "l0": 1.0}, "Arguments of the gate .* Received: l0 beside"),
        ({"gate": "hard"}, "Received: .*'hard'"),
        (
            {"compensate": True, "initial_open_probability": 0.2},
            "`compensate` needs gates that start open. Received: initial_open_probability=0.2",
        ),
    ],
)
def test_bad_options(arguments, message):
    with pytest.raises(ValueError, match=message):
        tfgates.gate_model(plain_network(), **arguments)


def test_subclassed_models_are_refused():
    class Subclass(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(
        ValueError,
        match=r"hides its layers in `call`: rebuild it as `keras.Model\(inputs, outputs\)`.*Received: model=Subclass",
    ):
        tfgates.gate_model(Subclass())


def test_models_that_are_not_built_are_refused():
    with pytest.raises(ValueError, match="`model` must be built: .* Received: Sequential 'raw', not built"):
        tfgates.gate_model(keras.Sequential([K.Dense(3)], name="raw"))


def test_nothing_to_gate():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, K.Dense(3, name="only")(inputs), name="tiny")
    with pytest.raises(ValueError, match="(?s)no layer that can be gated.*only.*output.*Received: model='tiny'"):
        tfgates.gate_model(model)


# What it leaves alone, and what can be done with the result.


@pytest.mark.parametrize("residual", ["inner", "tied", "block"])
def test_the_original_is_untouched(residual):
    model = residual_network()
    model.compile("sgd", "mse")
    before = [np.array(v) for v in model.variables]
    nodes = [len(op._inbound_nodes) for op in model.operations]
    outbound = [len(op._outbound_nodes) for op in model.operations]
    gated = tfgates.gate_model(model, residual=residual)
    close_some(gated)
    tfgates.prune(gated, min_units=1)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, np.array(variable))
    assert [len(op._inbound_nodes) for op in model.operations] == nodes
    assert [len(op._outbound_nodes) for op in model.operations] == outbound
    originals = {id(layer) for layer in model._flatten_layers(include_self=False)}
    assert not originals & {id(layer) for layer in gated._flatten_layers(include_self=False)}


@pytest.mark.parametrize("residual", ["inner", "tied", "block"])
def test_save_and_load(residual, tmp_path):
    gated = tfgates.gate_model(residual_network(), residual=residual)
    close_some(gated)
    x = data(gated)
    expected = np.asarray(gated(x, training=False))
    gated.save(tmp_path / "gated.keras")
    (made,) = predict_in_fresh_process(tmp_path / "gated.keras", x, tmp_path)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)
    loaded = keras.saving.load_model(tmp_path / "gated.keras")
    assert isinstance(loaded, tfgates.GatedModel)
    assert tfgates.plan_pruning(loaded, min_units=1).params == tfgates.plan_pruning(gated, min_units=1).params


@pytest.mark.parametrize("gate", ["hard_concrete", "disarm", "scaling"])
def test_training(gate):
    gated = tfgates.gate_model(residual_network(), gate=gate, penalty={"macs": 1.0}, seed=1)
    gated.compile(keras.optimizers.SGD(0.1), "mse")
    before = [np.array(v) for v in gated.trainable_variables]
    x = data(gated, 8)
    history = gated.fit(x, np.zeros((8, 3)), epochs=1, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    changed = [not np.array_equal(a, b) for a, b in zip(before, gated.trainable_variables, strict=True)]
    assert all(changed)


def test_budget_reaches_the_model():
    gated = tfgates.gate_model(plain_network(), budget=tfgates.Budget(macs=0.5))
    assert str(gated.budget) == "Budget(macs=0.5)"


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_a_generator_goes_through_the_network(order):
    """Flattened positions come between convolution and dense layer, whatever order places are found in."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    first, again, other = (tfgates.gate_model(model, flattened=True, generator=order, seed=seed) for seed in (3, 3, 4))
    generators = [m.get_layer("gate_generator") for m in (first, again, other)]
    assert generators[0].units == [3, 4, 64, 5] and generators[0].order == order
    logits = [[keras.ops.convert_to_numpy(v) for v in g.generate()] for g in generators]
    for gate in first.gates:
        np.testing.assert_array_equal(gate.value(), logits[0][[3, 4, 64, 5].index(gate.units)])
    assert all(np.array_equal(a, b) for a, b in zip(logits[0], logits[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(logits[0], logits[2], strict=True))


def test_streams_are_gated_where_nothing_else_can_be():
    x = inputs = keras.Input((6,))
    x = K.Dense(8, name="stem")(x)
    x = K.Add()([x, K.Dense(8, name="branch")(x)])
    gated = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(x)))
    assert gated.report.gated == [(name, "8 units (one gate for the residual stream)") for name in ("stem", "branch")]
