"""Each family of layers cut at random: what is left computes what is left, and costs what is said."""

import keras
import numpy as np
import pytest

from tests.graph.oracle import macs_of_call
from tests.layer_scale import LayerScale
from tfgates.anatomy import anatomy_of, check_anatomy, variable_of
from tfgates.layers import GatedBatchNormalization, GatedConv2D, GatedDense, StackedDense

K = keras.layers
# Keras's attention wants values as wide as keys with JAX.
VALUES = 2 if keras.backend.backend() == "jax" else 4
LINE, MAP, BOX = (2, 7, 6), (2, 5, 6, 6), (2, 3, 4, 3, 6)

LAYERS = {
    "dense": (lambda: K.Dense(5, activation="relu"), [(2, 6)]),
    "dense on maps": (lambda: K.Dense(5, use_bias=False), [MAP]),
    "dense with slopes": (lambda: K.Dense(5, activation=K.PReLU()), [(2, 6)]),
    "einsum": (lambda: K.EinsumDense("abc,cd->abd", (7, 5), bias_axes="d"), [LINE]),
    "stacked": (lambda: StackedDense("abc,ecd->abed", (3, 6, 5)), [LINE]),
    "stacked, each of its own": (lambda: StackedDense("abec,ecd->abd", (5, 6, 4)), [(2, 3, 5, 6)]),
    "conv1d": (lambda: K.Conv1D(4, 3, padding="causal", dilation_rate=2), [LINE]),
    "conv2d": (lambda: K.Conv2D(5, 3, padding="same", activation="tanh"), [MAP]),
    "conv2d with slopes": (lambda: K.Conv2D(5, 3, activation=K.PReLU(shared_axes=[1, 2])), [MAP]),
    "grouped": (lambda: K.Conv2D(9, 3, groups=3, strides=2), [MAP]),
    "grouped, no bias": (lambda: K.Conv1D(4, 3, groups=2, use_bias=False), [LINE]),
    "conv3d": (lambda: K.Conv3D(4, 2), [BOX]),
    "conv1d transposed": (lambda: K.Conv1DTranspose(4, 3, strides=2), [LINE]),
    "conv2d transposed": (lambda: K.Conv2DTranspose(4, 3, padding="same"), [MAP]),
    "conv3d transposed": (lambda: K.Conv3DTranspose(4, 2, use_bias=False), [BOX]),
    "depthwise 1d": (lambda: K.DepthwiseConv1D(3), [LINE]),
    "depthwise 2d": (lambda: K.DepthwiseConv2D(3, depth_multiplier=2, activation=K.PReLU(shared_axes=[1, 2])), [MAP]),
    "separable 1d": (lambda: K.SeparableConv1D(4, 3, use_bias=False), [LINE]),
    "separable 2d": (lambda: K.SeparableConv2D(5, 3, depth_multiplier=2, padding="same"), [MAP]),
    "batch normalisation": (lambda: K.BatchNormalization(), [MAP]),
    "batch normalisation, first axis": (lambda: K.BatchNormalization(axis=1, scale=False), [MAP]),
    "batch renormalisation": (lambda: K.BatchNormalization(renorm=True), [MAP]),
    "group normalisation": (lambda: K.GroupNormalization(3), [MAP]),
    "instance normalisation": (lambda: K.GroupNormalization(-1, axis=1, center=False), [MAP]),
    "slopes": (lambda: K.PReLU(shared_axes=[1, 2]), [MAP]),
    "one slope": (lambda: K.PReLU(shared_axes=[1, 2, 3]), [MAP]),
    "slopes along several axes": (lambda: K.PReLU(), [MAP]),
    "attention": (lambda: K.MultiHeadAttention(4, 3), [LINE, (2, 5, 8), (2, 5, 8)]),
    "attention with gates of its own": (
        lambda: K.MultiHeadAttention(4, 3, use_gate=True),
        [LINE, (2, 5, 8), (2, 5, 8)],
    ),
    "attention of three": (
        lambda: K.MultiHeadAttention(3, 2, value_dim=VALUES, use_bias=False, output_shape=5, name="narrow_keys"),
        [LINE, (2, 5, 8), (2, 5, 4)],
    ),
    "grouped attention": (lambda: K.GroupQueryAttention(3, 6, 3), [LINE, (2, 5, 6), (2, 5, 8)]),
    "simple recurrent": (lambda: K.SimpleRNN(4, use_bias=False), [LINE]),
    "lstm": (lambda: K.LSTM(5, return_sequences=True), [LINE]),
    "gru": (lambda: K.GRU(5), [LINE]),
    "gru, reset before": (lambda: K.GRU(5, reset_after=False, return_sequences=True), [LINE]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_left_computes_what_is_left(name):
    make, shapes = LAYERS[name]
    generator = np.random.default_rng(len(name))
    inputs = [generator.normal(size=shape).astype("float32") for shape in shapes]
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        layer = make()
        layer(*inputs)
        before = [np.array(v) for v in layer.variables]
        check_anatomy(layer, *inputs, seed=seed)
        for value, variable in zip(before, layer.variables, strict=True):
            np.testing.assert_array_equal(value, np.array(variable))


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_and_macs(name):
    make, shapes = LAYERS[name]
    layer = make()
    inputs = [keras.KerasTensor(shape) for shape in shapes]
    output = layer(*inputs)
    anatomy = anatomy_of(layer)
    assert anatomy.parameters(layer) == layer.count_params()
    places = {}
    for name, tensor in [*zip(anatomy.reads, inputs, strict=True), ("outputs", output)]:
        axis = anatomy.channel_axis(layer, len(tensor.shape))
        places[name] = np.prod([size for i, size in enumerate(tensor.shape) if i not in (0, axis)])
    if isinstance(layer, K.GroupQueryAttention):
        # 6 heads of queries, 3 of keys and values, each 3 numbers wide.
        expected = 7 * 6 * 18 + 5 * (6 + 8) * 9 + 6 * 7 * 5 * 2 * 3 + 7 * 18 * 6
    else:
        expected = macs_of_call(layer, inputs, output)
    if layer.name == "narrow_keys":
        # The oracle takes keys to be as wide as values.
        expected -= 5 * (8 - 4) * 6
    assert anatomy.macs(layer, places) == expected


@pytest.mark.parametrize(
    ("layer", "shape", "plain"),
    [
        (GatedDense(5), (2, 6), K.Dense),
        (GatedConv2D(4, 3, groups=2), MAP, K.Conv2D),
        (GatedBatchNormalization(), MAP, K.BatchNormalization),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_gated_layers_are_those_of_keras_without_the_gate(layer, shape, plain):
    layer.build(shape)
    anatomy, other = anatomy_of(layer), plain.from_config(plain.get_config(layer))
    other.build(shape)
    assert anatomy.plain(layer) is plain and anatomy is anatomy_of(other)
    assert anatomy.parameters(layer) == other.count_params()
    kinds = [(path.rpartition(".")[2], kinds) for path, _, kinds in anatomy.summands(layer)]
    assert kinds == [(path.rpartition(".")[2], kinds) for path, _, kinds in anatomy.summands(other)]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(K.LayerNormalization(), LINE), (K.GroupNormalization(1), MAP), (K.RMSNormalization(), LINE)],
    ids=lambda x: getattr(x, "name", ""),
)
def test_normalisations_over_the_channels_are_not_cut_by_their_weights_alone(layer, shape):
    layer(np.ones(shape, "float32"))
    anatomy = anatomy_of(layer)
    # The mean of fewer squares is another one, which the rule folds.
    assert bool(anatomy.inseparable) is isinstance(layer, K.LayerNormalization)
    assert anatomy.parameters(layer) == layer.count_params()
    with pytest.raises(ValueError, match="computes something else|does not fit"):
        check_anatomy(layer, np.random.default_rng(0).normal(size=shape).astype("float32"))


def test_weights_along_several_axes_stay_whole():
    layer = K.LayerNormalization(axis=[1, 2])
    layer.build(LINE)
    assert anatomy_of(layer).counts(layer) == {} and anatomy_of(layer).parameters(layer) == 84


def test_layer_scale():
    layer = LayerScale()
    check_anatomy(layer, np.ones(MAP, "float32"))
    scale = keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3)).get_layer(
        "convnext_tiny_stage_0_block_0_layer_scale"
    )
    assert anatomy_of(scale).counts(scale) == {"channels": 96}


def test_a_table():
    layer = K.Embedding(7, 6)
    layer(np.arange(5))
    anatomy, keep = anatomy_of(layer), {"outputs": np.array([1, 0, 0, 1, 1, 0], bool)}
    assert anatomy.kept(layer, keep)["embeddings"][1].tolist() == [0, 3, 4]
    config = layer.get_config()
    anatomy.resize(layer, config, keep)
    assert config["output_dim"] == 3 and anatomy.parameters(layer, {"outputs": 3}) == 21
    assert anatomy.macs(layer, {}) == 0


def test_stretches_are_cut_one_by_one():
    layer = K.LSTM(3)
    layer.build((None, 5, 2))
    kept = anatomy_of(layer).kept(layer, {"outputs": np.array([True, False, True])})
    assert kept["cell.kernel"][1].tolist() == [0, 2, 3, 5, 6, 8, 9, 11] and list(kept["cell.kernel"]) == [1]
    assert kept["cell.recurrent_kernel"][0].tolist() == [0, 2]
    assert variable_of(layer, "cell.kernel") is layer.cell.kernel and variable_of(layer, "cell.nothing.more") is None
