"""What all layers with a gate have in common."""

import inspect

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gates import HardConcreteGate
from tfgates.layers import (
    GatedBatchNormalization,
    GatedConv2D,
    GatedDense,
    GatedGRU,
    GatedLayer,
    GatedLSTM,
    GatedMultiHeadAttention,
    GatedSimpleRNN,
)

PAIRS = [
    (GatedDense, keras.layers.Dense),
    (GatedConv2D, keras.layers.Conv2D),
    (GatedBatchNormalization, keras.layers.BatchNormalization),
    (GatedMultiHeadAttention, keras.layers.MultiHeadAttention),
    (GatedLSTM, keras.layers.LSTM),
    (GatedGRU, keras.layers.GRU),
    (GatedSimpleRNN, keras.layers.SimpleRNN),
]
# A gated layer, its Keras layer's arguments, and a shape of inputs for it.
CASES = [
    (GatedDense, {"units": 4, "activation": "relu"}, (6,)),
    (GatedDense, {"units": 4, "gated": "inputs"}, (6,)),
    (GatedDense, {"units": 4, "activation": "tanh"}, (5, 6)),
    (GatedConv2D, {"filters": 4, "kernel_size": 3, "activation": "relu"}, (8, 8, 2)),
    (GatedConv2D, {"filters": 4, "kernel_size": 3, "use_bias": False}, (8, 8, 2)),
]


def assert_paths_agree(monkeypatch, layer_class, arguments, shape, gate_arguments):
    """Both ways to apply the gate, on the kernel and on the activations, give the same."""
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    results = []
    for on_kernel in (True, False):
        monkeypatch.setattr(GatedLayer, "_cheaper_on_kernel", lambda *_, decision=on_kernel: decision)
        keras.utils.set_random_seed(3)
        gate = HardConcreteGate(seed=5, initial_open_probability=0.7, **gate_arguments)
        layer = layer_class(gate=gate, bias_initializer="normal", **arguments)
        results.append([*(np.asarray(layer(x, training=True)) for _ in range(3)), np.asarray(layer(x))])
    for first, second in zip(*results, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
    assert all(np.any(first != results[0][-1]) for first in results[0][:-1])
    assert np.any(results[0][-1])


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_takes_what_the_layer_of_keras_takes(ours, theirs):
    own = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        assert name in own, name
        assert own[name].default == parameter.default, name
    kept = [name for name in own if name in inspect.signature(theirs).parameters]
    assert kept == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_calls_with_the_arguments_of_the_layer_of_keras(ours, theirs):
    assert set(inspect.signature(theirs.call).parameters) <= set(inspect.signature(ours.call).parameters)


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize(("layer_class", "arguments", "shape"), CASES)
def test_gating_the_kernel_equals_gating_the_activations(monkeypatch, layer_class, arguments, shape, groups):
    assert_paths_agree(monkeypatch, layer_class, arguments, shape, {"groups": groups})


@pytest.mark.parametrize(("layer_class", "arguments", "shape"), CASES)
def test_one_gate_for_the_whole_layer(monkeypatch, layer_class, arguments, shape):
    assert_paths_agree(monkeypatch, layer_class, arguments, shape, {"axis": None})


def test_the_gate_multiplies_whatever_is_smaller():
    layer = GatedDense(100)
    layer.build((None, 50))
    z = np.ones(100)
    # A kernel of 50 x 100 against activations of batch x 100.
    assert not layer._cheaper_on_kernel(z, (8, 100))
    assert layer._cheaper_on_kernel(z, (64, 100))
    assert not layer._cheaper_on_kernel(z, (None, 100))
    assert not layer._cheaper_on_kernel(np.ones((64, 100)), (64, 100))


def test_the_gate_comes_as_a_string_a_config_or_itself():
    gate = HardConcreteGate(l0=0.5)
    assert GatedDense(4, gate=gate).gate is gate
    assert isinstance(GatedDense(4, gate="hard_concrete").gate, HardConcreteGate)
    config = keras.saving.serialize_keras_object(gate)
    assert GatedDense(4, gate=config).gate.l0 == 0.5


def test_fine_tuning_by_low_rank_keeps_the_gate():
    layer = GatedDense(4)
    layer.build((None, 6))
    layer.gate.logits.assign([5.0, -5.0, 5.0, 5.0])
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones((2, 4)))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    np.testing.assert_allclose(layer(x), (x @ keras.ops.convert_to_numpy(layer.kernel)) * [1, 0, 1, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GatedDense(4, gate=None),
            "`gate` must be a gate, its name or its config. Received: gate=None",
        ),
        (lambda: GatedDense(4, gate="soft"), "`gate` must be .* Received: gate='soft'"),
        (lambda: GatedDense(4, granularity="row"), "one of .*'unit', 'weight'.* Received: granularity='row'"),
        (lambda: GatedDense(4, gated="both"), "one of .*'outputs', 'inputs'.* Received: gated='both'"),
        (
            lambda: GatedDense(4, granularity="weight", gate=HardConcreteGate(sampling="example")),
            "needs a gate with `sampling=\"batch\"`.* Received: sampling='example'",
        ),
        (
            lambda: GatedConv2D(4, 3, gate=HardConcreteGate(axis=1)),
            r"lies along the channels, axis -1\. Received: gate\.axis=1",
        ),
        (lambda: GatedDense(4, dtype="int8_from_float32"), "cannot be quantised.* Received: .*mode='int8'"),
        (
            lambda: GatedBatchNormalization(granularity="weight"),
            "`granularity` must be 'unit' .* Received: granularity='weight'",
        ),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_quantising_is_refused_rather_than_losing_the_gate():
    layer = GatedDense(4, name="mine")
    layer.build((None, 6))
    with pytest.raises(ValueError, match="cannot be quantised.* Received: layer='mine', mode='int8'"):
        layer.quantize("int8")


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantising_a_model_leaves_its_gated_layers_as_they_are():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, GatedDense(4)(inputs))
    model.layers[1].gate.logits.assign([5.0, -5.0, 5.0, -5.0])
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    before = np.asarray(model(x))
    model.quantize("int8")
    np.testing.assert_array_equal(model(x), before)


def test_a_gated_network_is_not_quantised():
    """Keras would quantise its other layers, and nothing could be pruned then."""
    inputs = keras.Input((6,))
    model = tfgates.gate_model(keras.Sequential([inputs, keras.layers.Dense(5), keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match="A network with gates cannot be quantised; .*`tfgates.finish` returns"):
        model.quantize("int8")
    assert all(layer.quantization_mode is None for layer in model.layers)


@pytest.mark.parametrize("name", ["hidden", "head"])
def test_low_rank_weights_are_refused_before_the_training(name):
    """Those of a layer that reads what gates close too: it would be kept whole, with what it reads."""
    inputs = keras.Input((6,))
    dense = keras.Sequential([inputs, keras.layers.Dense(5, name="hidden"), keras.layers.Dense(2, name="head")])
    model = tfgates.gate_model(dense, l0=0.1)
    model.get_layer(name).enable_lora(2)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=f"cannot get LoRA weights.* Received: {name}$"):
        model.fit(np.zeros((4, 6)), np.zeros((4, 2)), verbose=0)


def test_low_rank_weights_from_before_are_trained(tmp_path):
    """No gate is placed around them; nor does it matter what a model of one's own holds."""
    layers = [keras.layers.Dense(5, name="first"), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(4)]
    dense = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(2, lora_rank=2, name="head")])
    model = tfgates.gate_model(dense, l0=0.1)
    x, y = np.zeros((4, 6)), np.zeros((4, 2))
    model.save(tmp_path / "model.keras")
    for each in (model, keras.saving.load_model(tmp_path / "model.keras")):
        each.compile("sgd", "mse")
        each.fit(x, y, verbose=0)

    class Own(tfgates.GatedModel):
        def __init__(self):
            super().__init__()
            self.gate, self.last = HardConcreteGate(l0=0.1), keras.layers.Dense(2, lora_rank=2)

        def call(self, inputs, training=None):
            return self.last(self.gate(inputs, training=training))

    own = Own()
    own.compile("sgd", "mse")
    own.fit(x, y, verbose=0)


def test_reloaded_variables_have_the_paths_they_had(tmp_path):
    """Optimizers may know the gates by them."""
    inputs = keras.Input((8, 8, 2))
    x = GatedConv2D(4, 3, gate="hard_concrete")(inputs)
    x = GatedDense(3, gate=HardConcreteGate(name="own_name"))(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [variable.path for variable in model.trainable_variables]
    assert [variable.path for variable in reloaded.trainable_variables] == paths
    assert sum("_gate/logits" in path or "own_name/logits" in path for path in paths) == 2


def test_a_symbol_in_a_shape_counts_as_an_open_size():
    """As JAX has them where it exports for any batch; they cannot be compared with a number."""
    layer = GatedDense(8, gate="hard_concrete")
    layer.build((None, 6))
    for units in (1, 100):
        found = [layer._cheaper_on_kernel(np.zeros(6), (batch, units)) for batch in (object(), None)]
        assert found[0] == found[1]
