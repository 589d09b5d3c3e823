"""Layers that call other layers are opened, or stay whole with the reason."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import array, tensorflow
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check, outputs_of
from tfgates.graph.network import Network
from tfgates.graph.opening import open_layer

K = keras.layers


class Block(K.Layer):
    """A block of a transformer as users write it; it has no `get_config`."""

    def __init__(self, width=8, inner=16, rate=0.2, **kwargs):
        super().__init__(**kwargs)
        self.attention = K.MultiHeadAttention(2, width // 2, name="attention")
        self.mlp = keras.Sequential([K.Dense(inner, activation=ops.gelu, name="up"), K.Dense(width, name="down")])
        self.norms = [K.LayerNormalization(), K.LayerNormalization()]
        self.drops = [K.Dropout(rate), K.Dropout(rate)]

    def call(self, x, training=False):
        y = self.drops[0](self.attention(x, x), training=training)
        x = self.norms[0](x + y)
        return self.norms[1](x + self.drops[1](self.mlp(x), training=training))


class Heads(K.Layer):
    """Attention that takes the number of examples as a number."""

    def __init__(self, width=8, heads=2, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.query, self.key, self.value = (K.Dense(width, name=name) for name in ("query", "key", "value"))
        self.mix = K.Dense(width, name="mix")

    def split(self, x, batch):
        return ops.transpose(ops.reshape(x, (batch, -1, self.heads, self.width // self.heads)), (0, 2, 1, 3))

    def call(self, x):
        batch = ops.shape(x)[0]
        q, k, v = (self.split(layer(x), batch) for layer in (self.query, self.key, self.value))
        y = ops.softmax(q @ ops.transpose(k, (0, 1, 3, 2))) @ v
        return self.mix(ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (batch, -1, self.width)))


class Twice(K.Layer):
    """A layer that holds layers that hold layers, one of them called twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block, self.dense = Block(), K.Dense(8, activation="relu", name="dense")

    def call(self, x):
        return self.dense(self.block(self.dense(x)))


class Normalised(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.norm = K.Dense(12, name="dense"), K.BatchNormalization(name="norm")

    def call(self, x, training=None):
        return ops.relu(self.norm(self.dense(x), training=training))


class Joined(K.Layer):
    """Arguments by position and by keyword, and two results."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = K.Dense(8, name="first"), K.Dense(8, name="second")

    def call(self, x, context=None, scale=1.0):
        y = self.first(x) + scale * self.second(context)
        return ops.relu(y), {"mean": ops.mean(y, axis=1)}


def network(layer, steps=6, called=None):
    inputs = keras.Input((steps, 5))
    x = K.Dense(8, activation="relu", name="first")(inputs)
    x = layer(x) if called is None else called(layer, x)
    return keras.Model(inputs, K.Dense(3, name="head")(x))


def names_of(model):
    return [node.name for node in Network(model).nodes]


OPENED = {
    "block": (Block, "layer/sequential/up"),
    "heads": (Heads, "layer/query"),
    "twice": (Twice, "layer/block/sequential/up"),
    "normalised": (Normalised, "layer/norm"),
    "bidirectional": (lambda name: K.Bidirectional(K.GRU(3, return_sequences=True), name=name), "layer/forward_gru"),
    "distributed": (lambda name: K.TimeDistributed(K.Dense(8, activation="relu", name="d"), name=name), "layer/d"),
    "sequential": (lambda name: Held(keras.Sequential([K.Dense(8)], name="s"), name=name), "layer/s/dense"),
}  # fmt: skip


class Held(K.Layer):
    """Holds a model."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model, self.supports_masking = model, True

    def call(self, x):
        return self.model(x)


@pytest.mark.parametrize("kind", OPENED)
def test_layers_that_call_layers(kind):
    keras.utils.set_random_seed(0)
    make, name = OPENED[kind]
    model = network(make(name="layer"))
    randomise(model, 0)
    # Keras numbers the names of layers that have none of their own.
    assert any(re.sub(r"_\d+", "", found) == name for found in names_of(model))
    weights, inbound = [np.array(v) for v in model.variables], count_calls(model)
    gated = tfgates.gate_model(model)
    for a, b in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(a, np.array(b))
    assert count_calls(model) == inbound
    assert not any(type(layer).__module__ == __name__ for layer in gated._flatten_layers())
    generator = np.random.default_rng(0)
    for gate in gated.gates:
        close(gate, generator, 0.4)
    check(gated, min_units=1)


def videos(*inner, steps=5):
    """Frames through layers one by one, and through a recurrent layer."""
    x = inputs = keras.Input((steps, 8, 8, 3))
    for layer in inner:
        x = K.TimeDistributed(layer)(x)
    return keras.Model(inputs, K.Dense(2)(K.LSTM(6, name="recurrent")(x)))


def frames(*between):
    convolutions = [K.Conv2D(6, 3, activation="relu", name="first"), K.MaxPooling2D(), K.Conv2D(4, 3, name="second")]
    return keras.Sequential([keras.Input((8, 8, 3)), *convolutions, *between, K.Flatten()], name="frames")


@pytest.mark.parametrize(
    ("make", "gates"),
    [
        (lambda: videos(frames(), K.Dense(7, activation="relu")), 4),
        (lambda: videos(K.Conv2D(6, 3, activation="relu"), K.MaxPooling2D(), K.Flatten()), 2),
        (lambda: videos(frames(), steps=None), 3),
        (lambda: videos(frames(K.BatchNormalization(), K.ReLU(), K.Dropout(0.2))), 3),
    ],
    ids=["a model", "layers", "any number of steps", "one by one"],
)
def test_steps_that_are_images(make, gates):
    """What takes no further axis is given the steps as further examples, or one by one; each of them is counted."""
    keras.utils.set_random_seed(0)
    model = make()
    gated = tfgates.gate_model(model, length=None if model.inputs[0].shape[1] else 4)
    assert len(gated.gates) == len(gated.report.gated) == gates
    randomise(gated, 1)
    generator = np.random.default_rng(0)
    for gate in gated.gates:
        close(gate, generator, 0.4)
    for steps in (4, 6) if model.inputs[0].shape[1] is None else (5,):
        x = generator.normal(size=(3, steps, 8, 8, 3)).astype("float32")
        pruned = tfgates.prune(gated, inputs=x)
        for call in ({}, {"training": False}):
            np.testing.assert_allclose(array(pruned(x, **call)), array(gated(x, **call)), atol=1e-5)
    if model.inputs[0].shape[1] is not None:
        first = next(layer for layer in pruned._flatten_layers() if isinstance(layer, K.Conv2D)).filters
        assert first < 6
        cost = tfgates.cost(pruned)
        rows = [row for row in cost.layers if row.params == 28 * first or row.macs == 36 * 27 * first]
        assert sum(row.macs for row in rows) == 5 * 36 * 27 * first
        assert cost.params == pruned.count_params()


@pytest.mark.parametrize("steps", [None, 17])
def test_steps_that_differ_in_training_and_are_too_many(steps):
    (node,) = [n for n in Network(videos(frames(K.BatchNormalization()), steps=steps)).nodes if "time" in n.name]
    assert node.whole == "it gives something else in training than the calls that it makes"


def count_calls(model):
    return [(len(op._inbound_nodes), len(op._outbound_nodes)) for op in model._flatten_layers()]


def test_a_network_is_the_same_opened_and_written_flat():
    keras.utils.set_random_seed(0)
    model = network(Block(name="block", rate=0.3))
    flat = tfgates.prune(model)
    assert [layer.name for layer in flat.layers if isinstance(layer, (K.Dense, K.MultiHeadAttention))][1:3] == [
        "block_attention",
        f"block_{model.get_layer('block').mlp.name}_up",
    ]
    for size in (1, 7):
        x = np.random.default_rng(size).normal(size=(size, 6, 5)).astype("float32")
        np.testing.assert_allclose(outputs_of(model, x)[0], outputs_of(flat, x)[0], atol=1e-6)
    # Dropout is still there.
    assert np.abs(np.array(flat(x, training=True)) - np.array(flat(x, training=False))).max() > 1e-3


def test_what_the_inner_layers_are_survives():
    block = Block(name="block")
    block.mlp.layers[0].trainable = False
    block.mlp.layers[1].dtype_policy = "mixed_bfloat16"
    model = network(block)
    gated = tfgates.gate_model(model)
    up, down = (next(layer for layer in gated.layers if layer.name.endswith(end)) for end in ("_up", "_down"))
    assert not up.trainable and down.trainable and down.compute_dtype == "bfloat16" != up.compute_dtype
    gates = sum(len(gate.trainable_weights) for gate in gated.gates)
    assert len(gated.trainable_weights) == len(model.trainable_weights) + gates


def test_shared_layers_stay_shared():
    model = network(Twice(name="twice"))
    flat = tfgates.prune(model)
    assert flat.count_params() == model.count_params()
    assert len(next(layer for layer in flat.layers if layer.name.endswith("twice_dense"))._inbound_nodes) == 2


def test_a_block_called_twice():
    block = Block(name="block")
    model = network(block, called=lambda layer, x: layer(layer(x)))
    flat = tfgates.prune(model)
    assert flat.count_params() == model.count_params()


def test_arguments_by_keyword_and_several_results():
    def called(layer, x):
        y, more = layer(x, context=K.Dense(4, name="context")(x), scale=0.5)
        return K.Add()([y, K.RepeatVector(6)(more["mean"])])

    model = network(Joined(name="joined"), called=called)
    assert "joined/second" in names_of(model)
    randomise(model, 0)
    gated = tfgates.gate_model(model)
    assert "joined/first" in names_of(model) and gated.gates
    assert check(gated) in ("smaller", "equal")


def test_what_keras_takes_for_sparse_is_opened():
    inputs = keras.Input((6, 5))
    x = K.Dense(8)(inputs) * ops.convert_to_tensor(2.0)
    assert x.sparse
    model = keras.Model(inputs, K.Dense(3)(Held(keras.Sequential([K.Dense(8)], name="s"), name="layer")(x)))
    assert "layer/s/dense" in {re.sub(r"_\d+$", "", name) for name in names_of(model)}


class OtherSizes(K.Layer):
    """Builds a model for what is padded and calls it on what is not, which Keras does with numbers alone."""

    def build(self, shape):
        steps = (shape[0], shape[1] + 2, shape[2])
        self.padded, self.plain = (keras.Sequential([K.Conv1D(8, n), K.BatchNormalization()]) for n in (3, 1))
        self.padded.build(steps)
        self.plain.build(steps)

    def call(self, x, training=None):
        return ops.relu(self.padded(ops.pad(x, [(0, 0), (1, 1), (0, 0)])) + self.plain(x, training=training))


def test_a_model_that_was_built_for_other_sizes():
    keras.utils.set_random_seed(0)
    model = network(OtherSizes(name="layer"))
    randomise(model, 0)
    assert {"layer/sequential/conv1d", "layer/sequential/batch_normalization"} <= {
        re.sub(r"_\d+(?=/|$)", "", name) for name in names_of(model)
    }
    assert check(tfgates.gate_model(model, residual="tied")) == "smaller"


class Halved(K.Layer):
    """Of few steps its convolutions leave nothing, for which TensorFlow gives any numbers."""

    def build(self, shape):
        self.first, self.second = (K.Conv1D(4, 3, strides=2, name=name) for name in ("first", "second"))
        self.first.build(shape)
        self.second.build((None, None, 4))

    def call(self, x):
        return self.second(ops.pad(self.first(ops.pad(x, [(0, 0), (0, 1), (0, 0)])), [(0, 0), (0, 1), (0, 0)]))


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="others refuse such sizes")
def test_sizes_of_which_nothing_is_left_are_not_tried():
    inputs = keras.Input((None, 4))
    layer = Halved(name="halved")
    found = open_layer(layer, (inputs,), {}, [layer(inputs)])[0]
    assert [call.op.name for call in found.calls if call.prefix == "" and isinstance(call.op, K.Conv1D)] == [
        "first",
        "second",
    ]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_inputs_are_cast_as_the_layer_casts_them(policy):
    class Sum(K.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = K.Dense(8, dtype=self.dtype_policy, name="dense")

        def call(self, x):
            return x * 1.001 + self.dense(x)

    model = network(Sum(name="sum", dtype=policy))
    assert "sum/cast" in names_of(model) and "sum/dense" in names_of(model)
    tfgates.prune(model)


def test_a_layer_with_steps_left_open():
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, K.Dense(3)(Heads(name="heads")(K.Dense(8)(inputs))))
    assert "heads/query" in names_of(model)
    flat = tfgates.prune(model, inputs=np.ones((2, 4, 5), "float32"))
    for shape in ((1, 3, 5), (4, 9, 5)):
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        np.testing.assert_allclose(outputs_of(model, x)[0], outputs_of(flat, x)[0], atol=1e-6)


class Causal(K.Layer):
    """Each step reads those before it, by a mask for all examples, as users write it; keywords of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.query, self.value = K.Dense(8, name="query"), K.Dense(8, name="value")
        self.inner = Telling(8, name="inner")
        self.up, self.down = K.Dense(16, activation="relu", name="up"), K.Dense(8, name="down")

    def call(self, x, context=None):
        context = x if context is None else context
        batch, steps, read = ops.shape(x)[0], ops.shape(x)[1], ops.shape(context)[1]
        later = ops.arange(steps)[:, None] < ops.arange(read)
        later = ops.broadcast_to(ops.expand_dims(later, 0), (batch, steps, read))
        scores = ops.matmul(self.query(x), ops.transpose(context, (0, 2, 1)))
        seen = ops.softmax(scores - 1e6 * ops.cast(later, scores.dtype) * ops.ones((batch, 1, read)))
        x = x + self.inner(ops.matmul(seen[:, :, :read], self.value(context)), factor=2.0)[0]
        return x + self.down(self.up(x))


class Telling(K.Layer):
    """Says of its outputs nothing for the keyword that its `call` takes."""

    def __init__(self, width, by_value=False, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.by_value = K.Dense(width, name="dense"), by_value

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def call(self, x, factor=1.0, training=None):
        scaled = x if self.by_value and ops.max(x) < -1e9 else x * factor
        return self.dense(scaled), None

    def compute_output_spec(self, x, training=None):
        return self.dense.compute_output_spec(x)


@pytest.mark.parametrize(("steps", "crossed"), [(None, False), (None, True), (6, False)])
def test_masks_that_are_made_for_numbers_of_examples_and_steps(steps, crossed):
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((steps, 8)), keras.Input((None, 8))][: 2 if crossed else 1]
    model = keras.Model(inputs if crossed else inputs[0], K.Dense(3)(Causal(name="layer")(*inputs)))
    assert {"layer/up", "layer/inner/dense"} <= set(names_of(model))
    randomise(model, 0)
    gated = tfgates.gate_model(model)
    assert "layer/up" in dict(gated.report.gated)
    for gate in gated.gates:
        close(gate, np.random.default_rng(0), 0.4)
    small = tfgates.prune(gated, min_units=1)
    # Other numbers of examples and steps than were tried.
    for batch, read in ((1, 11), (5, 6)):
        sizes = (batch, steps or (9 if crossed else read), 8), (batch, read, 8)
        x = [np.random.default_rng(i).normal(size=s).astype("float32") for i, s in enumerate(sizes[: len(inputs)])]
        x = x if crossed else x[0]
        np.testing.assert_allclose(outputs_of(small, x)[0], outputs_of(gated, x)[0], atol=1e-5)


# What stays whole.


class OwnWeight(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def build(self, shape):
        self.dense.build(shape)
        self.offset = self.add_weight(shape=(8,), name="offset", initializer="zeros")
        self.built = True

    def call(self, x):
        return self.dense(x) + self.offset.value


class InnerKernel(K.Layer):
    """The kernel of a layer that it calls, once more: what is read at first is the value of the moment."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def call(self, x):
        return self.dense(x) + ops.mean(ops.convert_to_tensor(self.dense.kernel))


class Doubling(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def call(self, x, training=False):
        return self.dense(x) * (2.0 if training else 1.0)


class Beside(K.Layer):
    """Returns more in training, as networks with heads on the way do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def call(self, x, training=False):
        y = self.dense(x)
        return [y, ops.mean(y)] if training else y


class AlwaysDropped(K.Layer):
    """Dropout at inference too, which a model told to infer would turn off."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.drop = K.Dense(8), K.Dropout(0.5)

    def call(self, x):
        return self.drop(self.dense(x), training=True)


class ByValue(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 8), x.dtype)

    def call(self, x):
        return self.dense(x) if ops.max(x) > -1e9 else x


class BatchNumber(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 8), x.dtype)

    def call(self, x):
        return self.dense(x) * (1.0 / ops.shape(x)[0])


class HoldsUntold(K.Layer):
    """Holds a layer that can be called on symbolic tensors in no way, behind one that was followed."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.inner = K.Dense(8), Telling(8, by_value=True, name="inner")

    def build(self, shape):
        self.first.build(shape)
        self.inner.build((*shape[:-1], 8))
        self.built = True

    def call(self, x):
        return self.inner(self.first(x), factor=2.0)[0]

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 8), x.dtype)


class Losing(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8)

    def call(self, x):
        y = self.dense(x)
        if not isinstance(y, keras.KerasTensor):
            self.add_loss(ops.mean(ops.square(y)))
        return y


class Counting(K.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.seed = K.Dense(8), keras.random.SeedGenerator(1)

    def call(self, x):
        y = self.dense(x)
        if not isinstance(y, keras.KerasTensor):
            self.seed.next()
        return y


class Masking(K.Layer):
    """Hands its mask on, which the addition in it does not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.supports_masking = K.Dense(8), True

    def call(self, x):
        return x + self.dense(x)


def elsewhere():
    dense = K.Dense(8, name="outside")

    class Elsewhere(K.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.drop = K.Dropout(0.1)

        def call(self, x):
            return self.drop(self.__dict__.get("_outside", [dense])[0](x))

    return Elsewhere


WHOLE = [
    (OwnWeight, "its `call` cannot be followed: AttributeError: 'KerasTensor' object has no attribute 'value'"),
    (InnerKernel, "it computes with weights of layers that it holds, beside calling them"),
    (Doubling, "it gives something else in training than the calls that it makes"),
    (Beside, "it returns 2 tensors in training, and the calls that it makes 1"),
    (AlwaysDropped, "it gives something else at inference than the calls that it makes"),
    (ByValue, "its `call` cannot be followed: TypeError: A symbolic KerasTensor cannot be used as a boolean"),
    (BatchNumber, "it uses the number of examples or steps in Multiply as a number"),
    (HoldsUntold, "its `call` cannot be followed: TypeError: A symbolic KerasTensor cannot be used as a boolean"),
    (Losing, "it keeps other state at inference than the calls that it makes"),
    (Counting, "it keeps other state at inference than the calls that it makes"),
    (elsewhere(), "it calls layer 'outside', which is none of its own"),
    (lambda name: Held(K.Dense(8), activity_regularizer="l2", name=name), "it has an activity regularizer"),
    (lambda name: K.SpectralNormalization(K.Dense(8), name=name), "its `call` uses its weights in a way that cannot"),
    (
        lambda name: K.RNN([K.LSTMCell(3), K.LSTMCell(8)], name=name),
        "its `call` cannot be followed: AttributeError: 'tuple'",
    ),
]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="names errors of TensorFlow")
@pytest.mark.parametrize(("make", "reason"), WHOLE, ids=[r[1][:60].replace(" ", "-") for r in WHOLE])
def test_layers_that_stay_whole(make, reason):
    model = network(make(name="whole"))
    (node,) = [n for n in Network(model).nodes if n.name == "whole"]
    assert reason in node.whole, node.whole


def test_what_stays_whole_is_in_the_reports():
    inputs = keras.Input((6, 5))
    x = OwnWeight(name="whole")(K.Dense(8, name="first")(inputs))
    x = K.Dense(6, activation="relu", name="free")(x)
    model = keras.Model(inputs, K.Dense(3, name="head")(x))
    gated = tfgates.gate_model(model, copy_weights=False)
    reason = "its `call` cannot be followed: AttributeError: 'KerasTensor' object has no attribute 'value'"
    assert dict(gated.report.skipped)["whole"] == f"OwnWeight stays whole: {reason}"
    assert ("whole", f"whole (OwnWeight): tfgates has no rule for this layer, and it stays whole: {reason}") in (
        tfgates.plan_pruning(model).alone
    )


def test_masks_that_are_handed_on():
    inputs = keras.Input((6,), dtype="int32")
    x = K.Embedding(9, 8, mask_zero=True)(inputs)
    for layer, last in ((Masking(name="layer"), ["layer/with_mask"]), (Held(K.Dense(8), name="layer"), [])):
        model = keras.Model(inputs, K.Dense(2)(K.LSTM(3)(layer(x))))
        names = [n.name for n in Network(model).nodes if n.name.startswith("layer")]
        assert [name for name in names if "mask" in name] == last and "layer" not in names


def test_rules_come_first():
    model = network(K.MultiHeadAttention(2, 4, name="attention"), called=lambda layer, x: layer(x, x))
    assert names_of(model) == ["first", "attention", "head"]


class Chosen(K.Layer):
    """All places, chosen in a way that TensorFlow does not look into; what it makes is said by itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.Dense(8, activation="relu", name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        tf = tensorflow("loses sizes by a function of TensorFlow")
        return tf.gather(self.dense(x), tf.where(tf.reduce_all(tf.equal(x, x), [0, 2]))[:, 0], axis=1)


@pytest.mark.parametrize("makes", ["loses", "told"])
def test_sizes_that_what_is_behind_needs(makes):
    tensorflow("loses sizes by a function of TensorFlow")
    inputs = keras.Input((8, 8))
    # Products of the second are told no number of steps, and take the one that they read.
    x = (
        Chosen(name="layer")(inputs)
        if makes == "loses"
        else K.GroupQueryAttention(4, 4, 2, name="layer")(inputs, inputs)
    )
    x = keras.layers.Dense(6, activation="relu", name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    whole = {node.name: node.whole for node in Network(model).nodes}.get("layer")
    wanted = "followed, its `call` gives a tensor of shape (None, None, 8), not (None, 8, 8)"
    assert whole == (wanted if makes == "loses" else None)
    gated = tfgates.gate_model(model)
    gate = next(gate for gate in gated.gates if gate.units == 6)
    gate.logits.assign([-6.0, 3.0, 3.0, -6.0, 3.0, 3.0])
    assert tfgates.prune(gated).get_layer("hidden").units == 4


class Positions(K.Layer):
    """A table of positions, as many of them as there are, cut out by one slice."""

    def build(self, shape):
        self.table = self.add_weight(shape=(12, shape[-1]), name="table")

    def call(self, x):
        return x + self.table[: x.shape[1]]


def test_a_table_that_is_cut_by_one_slice_is_followed():
    inputs = keras.Input((10,), dtype="int32")
    x = Positions(name="positions")(K.Embedding(9, 16, name="tokens")(inputs))
    x = K.GlobalAveragePooling1D()(K.LayerNormalization()(x))
    model = keras.Model(inputs, K.Dense(2)(K.Dense(8, activation="relu")(x)))
    gated = tfgates.gate_model(model, residual=("inner", "tied"))
    assert not any("cannot be followed" in reason for _, reason in gated.report.skipped)
    tokens = np.random.default_rng(0).integers(0, 9, (4, 10))
    np.testing.assert_allclose(tfgates.prune(gated)(tokens), gated(tokens), rtol=1e-4, atol=1e-5)
