"""The mode that each call runs in when a model is called without `training` is written down as Keras has it."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import tensorflow
from tests.graph.random_networks import randomise
from tfgates.graph.equality import state_kept
from tfgates.graph.network import Network
from tfgates.layers import GatedBatchNormalization

K = keras.layers
X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")


class Tells(K.Layer):
    """1 in training, else 0: the mode that Keras calls it in, added to what comes in."""

    def call(self, x, training=None):
        return x + (1.0 if training else 0.0)


class Around(K.Layer):
    """Calls another layer without saying how."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(x)


def tell(x, **kwargs):
    return Tells()(x, **kwargs)


def within(function, sequential=False):
    inputs = keras.Input((6,))
    if sequential:
        return keras.Sequential([inputs, Tells(), Tells()])
    return keras.Model(inputs, function(inputs))


def beside(x):
    return tell(x, training=True) + tell(x)


GRAPHS = {
    "what is given": lambda x: tell(tell(x), training=True),
    "holds for what comes later": lambda x: tell(tell(tell(x), training=True)),
    "until something else is given": lambda x: tell(tell(tell(x, training=True), training=False)),
    "None is given": lambda x: tell(tell(tell(x, training=True), training=None)),
    "to a layer that takes none": lambda x: tell(K.Dense(6)(tell(x), training=True)),
    "to a layer around it": lambda x: tell(Around(Tells())(tell(x), training=True)),
    "by default": lambda x: tell(K.RandomContrast(0.0)(ops.reshape(x, (-1, 1, 1, 6)))),
    "to a nested model": lambda x: tell(within(lambda y: tell(tell(y)))(tell(x), training=True)),
    "to a nested model, against its own": lambda x: tell(
        within(lambda y: tell(tell(y, training=True)))(tell(x), training=False)
    ),
    "in a nested model": lambda x: tell(within(lambda y: tell(tell(tell(y), training=True)))(tell(x))),
    "to a sequential model": lambda x: tell(within(None, sequential=True)(tell(x), training=True)),
    "beside": beside,
}


def told(network):
    """How many calls of the network are written down as in training."""
    return sum(bool(node.kwargs.get("training")) for node in network.nodes if isinstance(node.op, Tells))


@pytest.mark.parametrize("name", GRAPHS)
def test_calls_run_as_keras_runs_them(name):
    inputs = keras.Input((6,))
    flat = keras.Model(inputs, GRAPHS[name](inputs))
    network = Network(flat)
    zeros = np.zeros((2, 6), "float32")
    for layer in flat._flatten_layers():
        if isinstance(layer, K.Dense):
            layer.kernel.assign(np.eye(6))
    count = 2 * told(network) if name == "beside" else told(network)
    # Beside each other both run in training.
    np.testing.assert_allclose(np.asarray(flat(zeros)).ravel()[0], count if name != "beside" else 2.0, atol=1e-6)


def test_networks_without_modes_keep_their_calls():
    inputs = keras.Input((6,))
    x = K.Dropout(0.5)(K.BatchNormalization()(K.Dense(6)(inputs)))
    network = Network(keras.Model(inputs, x))
    assert not network.has_modes and all("training" not in node.kwargs for node in network.nodes)


def test_a_mode_known_only_later_is_refused():
    inputs, flag = keras.Input((6,)), keras.Input((), dtype="bool")
    model = keras.Model([inputs, flag], K.Dense(2)(Around(K.Dense(3))(inputs, training=flag)))
    with pytest.raises(ValueError, match="must be called with `training` as True, False or None.* Received: training="):
        Network(model)


def half_closed(model, seed=0, **arguments):
    randomise(model, seed)
    gated = tfgates.gate_model(model, **arguments)
    for i, gate in enumerate(gated.gates):
        closed = np.random.default_rng(seed + i).permutation(gate.units) < gate.units // 2
        gate.logits.assign(np.where(closed, -5.0, 2.0))
    return gated


def assert_same(expected, found, **call):
    outputs = []
    for model in (expected, found):
        with state_kept(model):
            outputs.append(np.asarray(model(X, **call)))
    a, b = outputs
    np.testing.assert_allclose(b, a, atol=1e-4 * np.max(np.abs(a)))


def held_open(gated):
    for gate in gated.gates:
        gate.logits.assign(np.full(gate.unit_shape, 40.0))


def network(**keywords):
    inputs = keras.Input((6,))
    x = K.BatchNormalization()(K.Dense(8, name="before")(inputs), **keywords)
    x = K.BatchNormalization()(K.Dense(8, name="between")(K.ReLU()(x)))
    return keras.Model(inputs, K.Dense(3)(K.ReLU()(x)))


@pytest.mark.parametrize("keywords", [{"training": True}, {"training": False}, {"training": None}, {}])
def test_batch_statistics_survive(keywords):
    model = network(**keywords)
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("before").units == 4 and pruned.get_layer("between").units == 4
    for call in ({"training": False}, {}):
        assert_same(gated, pruned, **call)
    held_open(gated)
    for call in ({"training": False}, {}):
        assert_same(model, gated, **call)
    # What is given holds for both normalisations.
    fused = [isinstance(layer, GatedBatchNormalization) for layer in gated.layers if "batch" in layer.name]
    assert (not any(fused)) if keywords.get("training") else all(fused)
    assert np.allclose(model(X), model(X, training=False), atol=1e-4) != bool(keywords.get("training"))


def test_exported_as_it_is_called(tmp_path):
    tf = tensorflow("it writes and reads a SavedModel")
    gated = half_closed(network(training=True))
    pruned = tfgates.prune(gated)
    pruned.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    expected = gated(X)
    np.testing.assert_allclose(served.serve(X), expected, atol=1e-4)
    pruned.save(tmp_path / "pruned.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "pruned.keras")(X), expected, atol=1e-4)
    gated.save(tmp_path / "gated.keras")
    loaded = keras.models.load_model(tmp_path / "gated.keras")
    np.testing.assert_allclose(loaded(X), expected, atol=1e-4)
    tfgates.prune(loaded)


def test_a_constant_is_one_in_both_modes_or_none():
    """Of a closed channel batch statistics make beta, and moving ones something else."""

    def before_normalisation(**keywords):
        inputs = keras.Input((6,))
        x = tfgates.layers.GatedDense(8, name="gated")(inputs)
        x = K.BatchNormalization(name="norm")(x, **keywords)
        model = keras.Model(inputs, K.Dense(3)(K.Dense(5)(x)))
        randomise(model, 0)
        model.get_layer("gated").gate.logits.assign([-5.0] * 4 + [2.0] * 4)
        return model

    for keywords, left in (({"training": True}, 8), ({}, 4)):
        model = before_normalisation(**keywords)
        plan = tfgates.plan_pruning(model)
        assert {row.name: row.units_left for row in plan.layers}["gated"] == left
        pruned = tfgates.prune(model, plan=plan)
        assert_same(model, pruned, training=False)
        # The gate would draw where the normalisation runs as in training.
        with model.get_layer("gated").gate.held(model.get_layer("gated").gate.test_gates()):
            assert_same(model, pruned)


@pytest.mark.parametrize("noise", [K.GaussianNoise(0.2), K.Dropout(0.2), K.AlphaDropout(0.2)])
def test_noise_on_constants(noise):
    """Dropout leaves zeros, and nothing else; other noise leaves no constant."""
    inputs = keras.Input((6,))
    x = tfgates.layers.GatedDense(8, name="gated")(inputs)
    x = noise(x, training=True)
    model = keras.Model(inputs, K.Dense(3)(x))
    gate = model.get_layer("gated").gate
    gate.logits.assign([-5.0] * 4 + [2.0] * 4)
    plan = tfgates.plan_pruning(model)
    assert {row.name: row.units_left for row in plan.layers}["gated"] == (4 if type(noise) is K.Dropout else 8)
    pruned = tfgates.prune(model, plan=plan)
    assert_same(model, pruned, training=False)
    assert np.abs(np.asarray(pruned(X)) - np.asarray(pruned(X))).max() > 1e-3


def test_dropout_at_inference_stays_as_it_was():
    inputs = keras.Input((6,))
    x = K.Dropout(0.5)(K.Dense(16, activation="relu", name="before")(inputs), training=True)
    model = keras.Model(inputs, K.Dense(3)(x))
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("before").units == 8
    many = np.repeat(X[:1], 4000, axis=0)
    expected, found = (np.asarray(m(many)) for m in (gated, pruned))
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=0.1 * expected.std())
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.1)
    assert_same(gated, pruned, training=False)


def test_gates_draw_in_the_mode_of_the_model():
    """A layer that is told to train, and its context, do not make gates behind it draw at inference."""
    inputs = keras.Input((6,))
    x = K.Dropout(0.5)(inputs, training=True)
    x = K.Dense(8, activation="relu")(x)
    x = K.BatchNormalization()(K.Dense(8)(x))
    model = keras.Model(inputs, K.Dense(3)(x))
    for arguments in ({}, {"residual": "tied"}, {"generator": "forward"}, {"copy_weights": False}):
        gated = tfgates.gate_model(model, gate="disarm", **arguments)
        for layer in gated._flatten_layers():
            if isinstance(layer, K.Dropout):
                layer.rate = 0.0
        a, b = (np.asarray(gated(X)) for _ in range(2))
        np.testing.assert_array_equal(a, b)
        # Gates that are as open as these draw the same now and then.
        first, *others = (np.asarray(gated(X, training=True)) for _ in range(8))
        assert max(np.abs(first - other).max() for other in others) > 1e-3


def test_masks_of_a_normalisation_survive():
    inputs = keras.Input((7, 4))
    mask = ops.any(inputs > 0.8, axis=-1)
    x = K.BatchNormalization()(K.Dense(8, name="before")(inputs), mask=mask, training=True)
    model = keras.Model(inputs, K.Dense(3)(x))
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("before").units == 4
    x = np.random.default_rng(0).normal(size=(5, 7, 4)).astype("float32")
    np.testing.assert_allclose(pruned(x), gated(x), atol=1e-4)


def test_by_position():
    inputs = keras.Input((7, 4))
    mask = ops.any(inputs > 0.8, axis=-1)
    x = K.BatchNormalization()(K.Dense(8, name="before")(inputs), None, mask)
    (node,) = [n for n in Network(keras.Model(inputs, x)).nodes if isinstance(n.op, K.BatchNormalization)]
    assert len(node.args) == 1 and set(node.kwargs) == {"mask"}


class Sum(K.Layer):
    """A layer of any number of arguments by position."""

    def call(self, *tensors, training=None):
        return sum(tensors)


def test_any_number_by_position():
    inputs = keras.Input((6,))
    x = Sum()(inputs, K.Dense(6)(inputs), K.Dense(6)(inputs))
    (node,) = [n for n in Network(keras.Model(inputs, x)).nodes if isinstance(n.op, Sum)]
    assert len(node.args) == 3
    tfgates.prune(half_closed(keras.Model(inputs, K.Dense(2)(K.Dense(6)(x)))))


class Block(K.Layer):
    """Layers in a layer, told to train or not by the layer itself."""

    def __init__(self, how="passed on", **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm, self.drop = K.Dense(6, name="dense"), K.BatchNormalization(), K.Dropout(0.3)
        self.how = how

    def call(self, x, training=None):
        x = self.norm(self.dense(x), training=False if self.how == "frozen" else training)
        return self.drop(x, training=True if self.how == "random" else training)

    def get_config(self):
        return {**super().get_config(), "how": self.how}


def around_a_block(how, **keywords):
    inputs = keras.Input((6,))
    x = Block(how, name="block")(K.Dense(6)(inputs), **keywords)
    x = K.BatchNormalization(name="norm")(K.Dense(8, name="after")(x))
    return keras.Model(inputs, K.Dense(3)(K.ReLU()(x)))


@pytest.mark.parametrize("keywords", [{"training": True}, {"training": False}, {}])
@pytest.mark.parametrize("how", ["passed on", "frozen", "random"])
def test_modes_in_a_layer_that_calls_layers(how, keywords):
    model = around_a_block(how, **keywords)
    gated = half_closed(model)
    pruned = tfgates.prune(gated)
    names = [layer.name for layer in pruned.layers]
    # What the layer itself says to its layers is no model's to say, so that it stays whole.
    assert ("block" in names) == (how != "passed on") and pruned.get_layer("after").units == 4
    for each in (gated, pruned):
        norm = next(layer for layer in each.layers if layer.name == "norm")
        mean = np.array(norm.moving_mean)
        with state_kept(each):
            first, second = (np.asarray(each(X)) for _ in range(2))
            trains = not np.array_equal(mean, norm.moving_mean)
        # The mode holds for the normalisation behind the layer too.
        assert trains == (how == "random" or keywords.get("training", False))
        assert (np.abs(first - second).max() > 1e-3) == trains


def test_subclassed_models_that_tell_their_layers_are_refused_by_name():
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.first, self.norm, self.last = K.Dense(6), K.BatchNormalization(), K.Dense(2)

        def call(self, x):
            return self.last(self.norm(self.first(x), training=True))

    model = Model()
    model(X)
    with pytest.raises(ValueError, match="gives something else at inference.* Received: model=Model named 'mine'"):
        tfgates.gate_model(model)
