"""What keeps closed channels: each reason is in the plan, and the pruned network is right."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.opaque import needs_values
from tfgates import layers
from tfgates.gates import HardConcreteGate as Gate

K = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Unknown(keras.layers.Layer):
    """Mixes channels in a way that no rule knows."""

    def build(self, shape):
        self.offset = self.add_weight(shape=(shape[-1],), name="offset", initializer="ones")

    def call(self, x):
        return ops.flip(needs_values(x), axis=-1) + self.offset

    def compute_output_shape(self, shape):
        return shape


def gate_of(size=6, value=0.5, **arguments):
    """A gate whose first units are closed."""
    gate = Gate(**arguments)
    gate.build_units((size,))
    gate.logits.assign(np.where(np.arange(size) < size // 2, -5.0, value))
    return gate


def maps(inputs, activation="relu"):
    """Gated maps `(6, 6, 6)` from `(6, 6, 3)`."""
    return gate_of()(K.Conv2D(6, 1, activation=activation, name="source")(inputs))


def steps(inputs):
    """Gated features `(9, 6)`: a sequence."""
    return K.Reshape((36, 6))(maps(inputs))[:, :9]


def sigmoid_conv(x):
    return K.Conv2D(4, 3, padding="same", name="padded")(K.Activation("sigmoid")(x))


def lora(x):
    layer = K.Dense(5, lora_rank=2, name="low")
    return layer(x)


def shared_slice(x):
    return K.Flatten()(x[..., 1])


def started(x):
    return K.GRU(6, name="gru")(x, initial_state=K.Permute((2, 1))(x)[:, 0, :6])


def scores(x):
    return K.MultiHeadAttention(2, 3, name="attention")(x, x, return_attention_scores=True)[0]


def over_rows(x):
    return K.MultiHeadAttention(2, 3, attention_axes=(1,), name="attention")(x, x)


def of_several_axes(x):
    return K.MultiHeadAttention(2, 3, output_shape=(2, 3), name="attention")(x, x)


def folded(x):
    return K.Dense(4)(ops.reshape(x, (-1, 3)))


def normalised_twice(x):
    """One normalisation on channels that can be followed and on others that cannot."""
    norm = K.BatchNormalization(name="twice")
    return K.Add()([norm(x), norm(Unknown()(K.Conv2D(6, 1)(x)))])


def biased_einsum(x):
    return K.EinsumDense("abc,cd->abd", (9, 5), bias_axes="bd", name="einsum")(x)


def joined(x):
    return K.Add(name="join")([x, K.Input((6, 6, 6))])


REASONS = [
    (maps, lambda x: x, "an output of the model"),
    (maps, lambda x: K.LayerNormalization(name="norm")(x), "norm (LayerNormalization): its statistics are averaged"),
    (maps, lambda x: K.GroupNormalization(1, name="norm")(x), "norm: its statistics are averaged over the channels"),
    (maps, lambda x: K.UnitNormalization(name="norm")(x + 1.0), "norm: the square of a constant other than 0 counts"),
    (maps, lambda x: K.RMSNormalization(name="norm")(x + 1.0), "norm: the square of a constant other than 0 counts"),
    (
        maps,
        lambda x: K.RMSNormalization(axis=[1, 3], name="norm")(x),
        "norm (RMSNormalization): its statistics run",
    ),
    (maps, sigmoid_conv, "padded: its zero padding makes a closed channel's constant differ at the border"),
    (maps, lambda x: K.Softmax(name="soft")(x), "soft: softmax runs over the channels"),
    (
        maps,
        lambda x: K.Activation("softmax", name="soft")(x),
        "soft: its activation treats channels or places differently, or mixes them",
    ),
    (
        maps,
        # Units are what falls together behind it, in one piece of each stretch: these are closed in one piece alone.
        lambda x: K.Reshape((6, 6, 2, 3), name="split")(x),
        "a group that goes as a whole",
    ),
    (
        maps,
        lambda x: K.Permute((3, 1, 2))(x) @ np.ones((6, 2), "float32"),
        "matmul (Matmul): channels that a product of tensors",
    ),
    (maps, lambda x: K.Dense(4, name="rows")(K.Permute((3, 1, 2))(x)), "rows: it mixes another axis than the one"),
    (maps, shared_slice, "get_item (GetItem): it moves the channels in a way that cannot be followed"),
    (maps, lambda x: K.Rescaling([1.0] * 6, name="scaled")(x), "scaled: it rescales each channel differently"),
    (maps, lambda x: K.Multiply(name="wide")([x[..., :1], K.Conv2D(6, 1)(x)]), "wide: broadcast along the channels"),
    (maps, lambda x: Unknown(name="odd")(x), "odd (Unknown): tfgates has no rule for this layer"),
    (maps, lambda x: K.PReLU(name="prelu")(x), "prelu (PReLU): its weights lie along other axes too"),
    (maps, lambda x: K.Conv2DTranspose(4, 3, name="up")(x + 1.0), "up: its zero padding makes a closed channel's"),
    (maps, lambda x: K.BatchNormalization(axis=1, name="rows")(x), "rows (BatchNormalization): it normalises another"),
    (
        maps,
        lambda x: K.MaxPooling1D(2, name="pool")(K.Reshape((6, 36))(K.Permute((3, 1, 2))(x))),
        "pool (MaxPooling1D): it runs along the axis",
    ),
    (
        maps,
        lambda x: K.ZeroPadding1D(name="pad")(K.Reshape((6, 36))(K.Permute((3, 1, 2))(x))),
        "pad (ZeroPadding1D): it runs along the axis",
    ),
    (
        maps,
        lambda x: K.Add(name="crossed")([x, K.Permute((3, 1, 2))(x)]),
        "crossed (Add): its tensors carry their channels on",
    ),
    (
        maps,
        lambda x: K.Concatenate(name="crossed")([x, K.Permute((3, 1, 2))(x)]),
        "crossed (Concatenate): its tensors carry",
    ),
    (
        maps,
        lambda x: K.Normalization(mean=[0.1] * 6, variance=[1.0] * 6, name="prep")(x),
        "prep (Normalization): it treats each feature",
    ),
    (maps, folded, "reshape: it folds other axes into that of the batch"),
    (maps, normalised_twice, "twice: it is used where its channels cannot be followed too"),
    (steps, of_several_axes, "attention: attention with outputs of several axes"),
    (maps, lora, "low: quantised and LoRA layers are kept whole"),
    (maps, lambda x: K.SpectralNormalization(K.Conv2D(3, 1), name="spectral")(x), "spectral (SpectralNormalization)"),
    (steps, lambda x: K.EinsumDense("abc,bcd->abd", (9, 2), name="einsum")(x), "einsum: the equation 'abc,bcd->abd'"),
    (steps, biased_einsum, "einsum: its bias differs from place to place"),
    (steps, lambda x: K.LSTM(3, name="lstm")(x + 1.0), "lstm: reads a constant other than 0"),
    (steps, started, "(GetItem): it moves the channels in a way that cannot"),
    (steps, lambda x: K.GRU(3, name="gru")(K.Permute((2, 1))(x)), "gru: reads another axis"),
    (steps, scores, "attention: its scores are an output too"),
    (maps, over_rows, "attention: attention over some of the axes is kept whole"),
    (
        steps,
        lambda x: K.MultiHeadAttention(2, 3, name="attention")(x + 1.0, x),
        "attention: reads a constant other than 0",
    ),
]


@pytest.mark.parametrize(("make", "apply", "reason"), REASONS, ids=[r[2].replace(" ", "-")[:40] for r in REASONS])
def test_reason(make, apply, reason):
    inputs = keras.Input((6, 6, 3))
    y = apply(make(inputs))
    y = y if reason == "an output of the model" else K.Dense(2)(K.Flatten()(y))
    model = keras.Model(inputs, y)
    plan = tfgates.plan_pruning(model)
    assert any(reason in why for _, why in plan.kept), plan
    assert f"3 closed: {reason}" in str(plan) or f": {reason}" in str(plan) or reason in str(plan)
    tfgates.prune(model, plan=plan)


def test_a_sum_with_a_tensor_that_keeps_its_channels():
    inputs = [keras.Input((6, 6, 3)), keras.Input((6, 6, 6))]
    y = K.Add(name="join")([maps(inputs[0]), inputs[1]])
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(y)))
    ((_, why),) = tfgates.plan_pruning(model).kept
    assert why == "3 closed: join: it joins the channels with a tensor that keeps its own"
    tfgates.prune(model)


def test_a_concatenation_with_a_tensor_that_keeps_its_channels():
    inputs = [keras.Input((6, 6, 3)), keras.Input((2, 6, 6))]
    y = K.Concatenate(axis=1, name="join")([maps(inputs[0]), inputs[1]])
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(y)))
    ((_, why),) = tfgates.plan_pruning(model).kept
    assert why == "3 closed: join: joined with a tensor that keeps its channels"
    tfgates.prune(model)


def test_a_broadcast_along_the_channels():
    inputs = keras.Input((6, 6, 3))
    one = gate_of(2)(K.Conv2D(2, 1)(inputs))
    one = Gate()(K.Conv2D(1, 1, name="one")(one))
    y = K.Multiply(name="wide")([one, K.Conv2D(4, 1)(inputs)])
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(y)))
    one._keras_history.operation.logits.assign([-5.0])
    plan = tfgates.plan_pruning(model)
    assert ("hard_concrete_gate_1", "1 closed: wide: broadcast along the channels") in plan.kept
    # What makes the one channel, which is 0, is needed by nothing.
    assert plan.empty == ["conv2d", "one"]
    tfgates.prune(model, min_units=1)


def test_channels_joined_with_open_ones():
    inputs = keras.Input((6, 6, 3))
    y = K.Add()([maps(inputs), K.Conv2D(6, 1)(inputs)])
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(y)))
    ((_, why),) = tfgates.plan_pruning(model).kept
    assert why == (
        "3 closed: still needed: a constant other than 0 behind it, an addition, or a group that goes as a whole"
    )


def test_rounding():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(maps(inputs))))
    plan = tfgates.plan_pruning(model, round_to=4)
    ((_, why),) = plan.kept
    assert why == "1 closed: kept for `min_units` or `round_to`, or shared with channels that are open"
    assert next(row for row in plan.layers if row.name == "source").units_left == 4


def test_gates_on_an_input_stay():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, K.Dense(2)(gate_of()(inputs)))
    plan = tfgates.plan_pruning(model)
    assert plan.kept == [
        ("hard_concrete_gate", "3 closed: it lies on an input of the model, whose channels are what they are")
    ]
    pruned = tfgates.prune(model, plan=plan)
    assert isinstance(pruned.layers[1], K.Rescaling)


def test_an_unknown_layer_is_listed_and_keeps_what_is_around_it():
    inputs = keras.Input((6, 6, 3))
    x = Unknown(name="odd")(maps(inputs))
    x = gate_of()(K.ReLU()(x))
    x = gate_of()(K.Conv2D(6, 1, name="free")(x))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))
    plan = tfgates.plan_pruning(model)
    reason = (
        "odd (Unknown): tfgates has no rule for this layer, and it stays whole: its `call` cannot be followed: "
        "TypeError: what a tensor holds is asked for"
    )
    assert plan.alone == [("odd", reason)]
    assert [why for _, why in plan.kept] == [f"3 closed: {reason}"] * 2
    assert "left as it is:\n  odd: odd (Unknown): tfgates has no rule for this layer" in str(plan)
    left = {row.name: row.units_left for row in plan.layers}
    assert left["source"] == 6 and left["free"] == 3
    pruned = tfgates.prune(model, plan=plan)
    np.testing.assert_array_equal(pruned.get_layer("odd").offset, model.get_layer("odd").offset)


def test_weight_gates_are_no_closed_units():
    inputs = keras.Input((4,))
    layer = layers.GatedDense(3, granularity="weight")
    model = keras.Model(inputs, K.Dense(2)(layer(inputs)))
    layer.gate.logits.assign([[5.0, 5.0, -5.0]] * 4)
    plan = tfgates.plan_pruning(model)
    assert plan.kept == [] and plan.layers[0].units_left == 2
    tfgates.prune(model, plan=plan)


def test_a_depthwise_convolution_loses_channels_whose_constants_are_not_zero():
    inputs = keras.Input((6, 6, 3))
    x = K.DepthwiseConv2D(3, use_bias=False, name="depthwise")(K.Activation("sigmoid")(maps(inputs)))
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(gate_of()(x))))
    plan = tfgates.plan_pruning(model)
    assert {row.name: row.units_left for row in plan.layers}["depthwise"] == 3
    assert tfgates.prune(model, plan=plan).count_params() == plan.params


def test_a_shared_layer_that_sees_different_constants():
    inputs = keras.Input((5,))
    first = K.Activation("sigmoid")(gate_of()(K.Dense(6, name="first")(inputs)))
    shared = K.Dense(4, name="shared")
    model = keras.Model(inputs, K.Add()([shared(first), K.Activation("softplus")(shared(first * 2.0))]))
    plan = tfgates.plan_pruning(model)
    assert plan.kept[0][1] == "3 closed: shared: it is called again where this is another constant"
    tfgates.prune(model, plan=plan)


@pytest.mark.parametrize("first_is_needed", [False, True])
def test_a_shared_layer_that_sees_different_constants_where_only_one_call_counts(first_is_needed):
    inputs = keras.Input((5,))
    x = K.Activation("sigmoid")(gate_of()(K.Dense(6, name="first")(inputs)))
    shared = K.Dense(4, name="shared")
    calls = [shared(x), shared(x * 2.0)]
    # Used, and without any effect.
    calls[first_is_needed] = 0.0 * calls[first_is_needed]
    model = keras.Model(inputs, K.Dense(2)(K.Activation("softplus")(K.Concatenate()(calls))))
    plan = tfgates.plan_pruning(model)
    assert plan.kept == [] and {row.name: row.units_left for row in plan.layers}["first"] == 3
    assert tfgates.prune(model, plan=plan).count_params() == plan.params


def test_a_shared_layer_whose_first_call_goes():
    inputs = keras.Input((5,))
    shared = K.Dense(4, activation="relu", name="shared")
    branch = gate_of(1, axis=None)(K.Dense(4)(shared(inputs)))
    branch._keras_history.operation.logits.assign([-5.0])
    model = keras.Model(inputs, K.Dense(2)(K.Add()([branch, shared(K.ReLU()(inputs))])))
    plan = tfgates.plan_pruning(model)
    assert "shared" in plan.dropped
    assert tfgates.prune(model, plan=plan).count_params() == plan.params == 4 * 6 + 2 * 5


def test_a_gate_in_front_of_a_layer_that_mixes_another_axis():
    inputs = keras.Input((6, 3))
    x = K.Permute((2, 1))(K.Conv1D(4, 1, activation="relu")(inputs))
    x = K.Conv1D(5, 1, name="across")(gate_of(4, axis=1)(x))
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))
    plan = tfgates.plan_pruning(model)
    assert "across: it mixes another axis than the one that carries the channels" in str(plan)
    tfgates.prune(model, plan=plan)


@pytest.mark.parametrize("kind", ["lora", "int8"])
def test_embeddings_of_other_weights_are_kept_whole(kind):
    inputs = keras.Input((5,), dtype="int32")
    embedding = K.Embedding(7, 6, lora_rank=2 if kind == "lora" else None, name="words")
    x = K.Dense(4, activation="relu")(K.Flatten()(gate_of()(embedding(inputs))))
    model = keras.Model(inputs, K.Dense(2)(x))
    if kind == "lora":
        embedding.lora_embeddings_b.assign(np.ones((2, 6)))
    else:
        embedding.quantize("int8")
    plan = tfgates.plan_pruning(model)
    assert ("words", "words: quantised and LoRA layers are kept whole") in plan.alone
    small = tfgates.prune(model, plan=plan)
    assert small.count_params() == plan.params == tfgates.cost(model).params
    tfgates.gate_model(model)


def test_attention_of_other_weights_is_refused():
    inputs = keras.Input((6, 6, 3))
    x = steps(inputs)
    attention = K.MultiHeadAttention(2, 3, name="attention")
    attention.build(x.shape, x.shape)
    attention._query_dense.enable_lora(2)
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(attention(x, x))))
    plan = tfgates.plan_pruning(model)
    assert ("attention", "attention: quantised and LoRA layers are kept whole") in plan.alone
    # Its config does not tell of the LoRA inside.
    with pytest.raises(ValueError, match="Layer 'attention' cannot be copied"):
        tfgates.prune(model, plan=plan)
