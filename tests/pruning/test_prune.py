"""`prune`: its checks, its refusals, what it keeps of the model; negative controls."""

import warnings

import keras
import numpy as np
import pytest

import tfgates
from tests.reload import predict_in_fresh_process
from tfgates import layers
from tfgates.anatomy.convolution import ConvolutionAnatomy
from tfgates.graph.rule import Rule
from tfgates.graph.rules.elementwise import IdentityRule
from tfgates.graph.rules.normalization import BatchNormalizationRule
from tfgates.pruning import ClosedLayerError, PruningError
from tfgates.pruning.surgery import Surgery

K = keras.layers


def network(closed=(0, 2), loss=None):
    inputs = keras.Input((6, 6, 3), name="picture")
    x = layers.GatedConv2D(6, 3, activation="relu", name="first")(inputs)
    x = K.BatchNormalization(name="norm")(x)
    x = layers.GatedConv2D(5, 3, activation="relu", name="second")(x)
    x = K.Dense(2, name="last")(K.Flatten()(x))
    model = tfgates.GatedModel(inputs, x, name="small")
    generator = np.random.default_rng(0)
    for name in ("beta", "moving_mean"):
        getattr(model.get_layer("norm"), name).assign(generator.normal(size=6))
    for i, gate in enumerate(model.gates):
        logits = generator.uniform(0.0, 3.0, gate.units)
        logits[list(closed) if i == 0 else [1]] = -5.0
        gate.logits.assign(logits)
    return model


def data(count=3):
    return np.random.default_rng(1).normal(size=(count, 6, 6, 3)).astype("float32")


def test_the_result_is_plain_and_loads_without_tfgates(tmp_path):
    model, x = network(), data()
    pruned = tfgates.prune(model, inputs=x)
    assert type(pruned) is type(keras.Model(pruned.input, pruned.output))
    assert pruned.name == "small" and pruned.input.name == "picture"
    assert [layer.name for layer in pruned.layers] == ["picture", "first", "norm", "second", "flatten", "last"]
    assert pruned.get_layer("first").filters == 4 and pruned.get_layer("second").filters == 4
    expected = np.asarray(model(x, training=False))
    pruned.save(tmp_path / "pruned.keras")
    files = ["pruned.keras"]
    if keras.backend.backend() == "tensorflow":
        pruned.export(tmp_path / "exported", verbose=False)
        files.append("exported")
    for path in files:
        (made,) = predict_in_fresh_process(tmp_path / path, x, tmp_path, plain=True)
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# Negative controls: a wrong index, a wrong constant, a wrong factor.


def test_a_wrong_index_is_found(monkeypatch):
    original = ConvolutionAnatomy.kept

    def wrong(self, layer, keep):
        # The right number of channels, one of them the wrong one.
        return original(self, layer, {**keep, "inputs": np.roll(keep["inputs"], 1)})

    monkeypatch.setattr(ConvolutionAnatomy, "kept", wrong)
    with pytest.raises(PruningError, match="Output 'last' of the pruned network differs by .* more than the tolerance"):
        tfgates.prune(network())


def test_a_wrong_constant_is_found(monkeypatch):
    original = BatchNormalizationRule.apply
    monkeypatch.setattr(BatchNormalizationRule, "apply", lambda *args: original(*args) + 0.1)
    with pytest.raises(PruningError, match="This is a bug in tfgates"):
        tfgates.prune(network())


def test_a_wrong_factor_is_found(monkeypatch):
    monkeypatch.setattr(Surgery, "factor", lambda self, node, size: np.full(size, 1.01))
    with pytest.raises(PruningError):
        tfgates.prune(network())


def test_outputs_on_given_inputs_are_compared_too(monkeypatch):
    # Small inputs do not pass the threshold, large ones do.
    inputs = keras.Input((4,))
    x = layers.GatedDense(6, activation="relu", use_bias=False, kernel_initializer="ones")(inputs)
    x = K.Dense(2, bias_initializer="ones")(K.ReLU(threshold=100.0)(x))
    model = tfgates.GatedModel(inputs, x)
    model.gates[0].logits.assign([-5.0, 5.0, -5.0, 5.0, 5.0, 5.0])

    def wrong(self, node, size):
        return np.full(size, 1.5 if node.name == "gated_dense" else 1.0)

    monkeypatch.setattr(Surgery, "factor", wrong)
    tfgates.prune(model)
    with pytest.raises(PruningError):
        tfgates.prune(model, inputs=1e3 * np.ones((2, 4), "float32"))
    # The last of many examples is compared as well.
    many = np.ones((70, 4), "float32")
    many[-1] = 1e3
    with pytest.raises(PruningError):
        tfgates.prune(model, inputs=many)


def test_tolerance():
    with pytest.raises(PruningError, match="more than the tolerance of 0"):
        tfgates.prune(network(), tolerance=0.0)


def test_a_failure_leaves_the_model_as_it_was(monkeypatch):
    model = network()
    before = [np.array(v) for v in model.variables]
    nodes = [len(op._inbound_nodes) for op in model.operations]
    monkeypatch.setattr(Surgery, "finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tfgates.prune(model)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, np.array(variable))
    assert [len(op._inbound_nodes) for op in model.operations] == nodes


# Refusals.


def test_a_layer_without_open_units():
    model = network(closed=range(6))
    plan = tfgates.plan_pruning(model)
    assert "first" in plan.empty
    assert "nothing left" in str(plan)
    message = "All units of layer 'first' are closed, .* by `min_units=1`. Received: min_units=0"
    with pytest.raises(ClosedLayerError, match=message):
        tfgates.prune(model)
    assert tfgates.prune(model, min_units=1).get_layer("first").filters == 1
    assert tfgates.prune(model, min_units=4).get_layer("first").filters == 4


def test_min_units_keeps_the_likeliest():
    model = network(closed=range(6))
    model.gates[0].logits.assign([-5.0, -4.0, -3.0, -6.0, -7.0, -8.0])
    pruned = tfgates.prune(model, min_units=2)
    kernel = np.array(model.get_layer("first").kernel)
    # They stay closed: what is kept is their place, at the value 0.
    assert pruned.get_layer("first").kernel.shape[-1] == 2
    assert np.all(np.array(pruned.get_layer("first").kernel) == 0.0) and np.any(kernel != 0.0)


@pytest.mark.parametrize("round_to", [2, 4, 8])
def test_widths_are_rounded_up(round_to):
    plan = tfgates.plan_pruning(network(closed=(0, 2, 3)), round_to=round_to)
    left = {row.name: row.units_left for row in plan.layers}
    assert left["first"] == min(6, -(-3 // round_to) * round_to)
    assert left["second"] == min(5, -(-4 // round_to) * round_to)
    assert tfgates.prune(network(closed=(0, 2, 3)), round_to=round_to).count_params() == plan.params


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_units": -1}, "`min_units` must be an integer of at least 0. Received: min_units=-1"),
        ({"min_units": 0.5}, "`min_units` must be an integer of at least 0. Received: min_units=0.5"),
        ({"round_to": 0}, "`round_to` must be an integer of at least 1. Received: round_to=0"),
    ],
)
def test_bad_arguments(arguments, message):
    for function in (tfgates.plan_pruning, tfgates.prune):
        with pytest.raises(ValueError, match=message):
            function(network(), **arguments)


def test_a_plan_of_another_model():
    plan = tfgates.plan_pruning(network())
    with pytest.raises(
        ValueError, match="`plan` must be made for this model. Received: a plan for 'small', model 'other'"
    ):
        tfgates.prune(renamed("other"), plan=plan)


def renamed(name):
    inputs = keras.Input((3,))
    return keras.Model(inputs, K.Dense(2)(inputs), name=name)


def test_subclassed_models_are_refused():
    class Subclass(keras.Model):
        def call(self, x):
            return x

    for function in (tfgates.plan_pruning, tfgates.prune):
        with pytest.raises(ValueError, match="`model` must be a Sequential or Functional"):
            function(Subclass())


# The plan as text.


def test_table():
    text = str(tfgates.plan_pruning(network()))
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "kind", "units", "parameters", "MACs"]
    assert lines[2].split()[:5] == ["first", "GatedConv2D", "4", "of", "6"]
    assert "112 of 168" in lines[2] and "1,728 of 2,592" in lines[2]
    assert any(line.startswith("total") for line in lines)


def test_zero_filters_go_without_any_gate():
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(6, 3, name="first", use_bias=False)(inputs)
    model = keras.Model(inputs, K.Dense(2)(K.Flatten()(K.ReLU()(x))))
    kernel = np.array(model.get_layer("first").kernel)
    kernel[..., [1, 4]] = 0.0
    model.get_layer("first").kernel.assign(kernel)
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").filters == 4
    np.testing.assert_array_equal(pruned.get_layer("first").kernel, kernel[..., [0, 2, 3, 5]])


# What is kept of the model.


def test_constants_are_folded_into_biases():
    model = network()
    pruned = tfgates.prune(model)
    assert not np.allclose(pruned.get_layer("second").bias, 0.0)


def test_names_flags_and_policies_stay():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = network()
    model.get_layer("norm").trainable = False
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").dtype_policy.name == "mixed_bfloat16"
    assert not pruned.get_layer("norm").trainable and pruned.get_layer("second").trainable


def test_the_compiled_state_is_kept():
    model = network()
    model.compile(keras.optimizers.Adam(3e-4), "mse", metrics=["mae"])
    pruned = tfgates.prune(model)
    assert pruned.compiled and float(pruned.optimizer.learning_rate) == pytest.approx(3e-4)
    history = pruned.fit(data(8), np.zeros((8, 2)), verbose=0)
    assert set(history.history) == {"loss", "mae"}


@pytest.mark.parametrize("scaled", [False, True])
def test_of_two_optimizers_that_of_the_weights_comes_along(scaled):
    schedule = keras.optimizers.schedules.CosineDecay(3e-4, 10)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.75)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    model = network()
    model.compile(optimizer, "mse", gate_optimizer=keras.optimizers.Adam(0.02), weighted_metrics=["mae"])
    model.fit(data(8), np.zeros((8, 2)), verbose=0)
    pruned = tfgates.prune(model)
    found = getattr(pruned.optimizer, "inner_optimizer", pruned.optimizer)
    assert isinstance(pruned.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    # With PyTorch Keras compiles with a class of its own.
    assert isinstance(found, keras.optimizers.SGD) and type(found).__name__ == "SGD"
    assert (found.momentum, int(found.iterations)) == (0.75, 0)
    assert float(found.learning_rate) == pytest.approx(3e-4)
    history = pruned.fit(data(8), np.zeros((8, 2)), verbose=0)
    assert set(history.history) == {"loss", "mae"}


def test_several_optimizers_of_the_user_are_left_to_compile():
    model = network()
    both = keras.optimizers.OptimizerMap(keras.optimizers.Adam(), {".*kernel": keras.optimizers.SGD()})
    model.compile(keras.optimizers.MultiOptimizer(both), "mse")
    with pytest.warns(tfgates.GatesWarning, match="not compiled.* MultiOptimizer is no optimizer of Keras that"):
        assert not tfgates.prune(model).compiled


def mean_absolute_error(y, p):
    """Another one than Keras's of that name."""
    return 1000.0 + 0.0 * keras.ops.sum(p, axis=-1)


def test_losses_and_metrics_are_those_that_were_given():
    model, metric = network(), keras.metrics.MeanAbsoluteError(name="error")
    wrapped = keras.metrics.MeanMetricWrapper(mean_absolute_error, name="wrapped")
    model.compile("sgd", loss=lambda y, p: keras.ops.sum(p, axis=-1), metrics=[mean_absolute_error, metric, wrapped])
    model.fit(data(8), np.zeros((8, 2)), verbose=0)
    before = float(metric.result())
    pruned = tfgates.prune(model)
    found = pruned.evaluate(data(8), np.ones((8, 2)), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(float(np.sum(pruned.predict(data(8), verbose=0))) / 8, rel=1e-4)
    assert found["mean_absolute_error"] == found["wrapped"] == 1000.0
    # What a metric gathers is not shared.
    assert float(metric.result()) == before


class Above(keras.metrics.MeanAbsoluteError):
    """Without the `get_config` that its argument needs."""

    def __init__(self, bound, **kwargs):
        super().__init__(**kwargs)


def test_a_metric_that_cannot_be_made_again_is_left_to_compile():
    model = network()
    model.compile("sgd", "mse", metrics=[Above(0.5)])
    with pytest.warns(tfgates.GatesWarning, match="What is left is not compiled.* call `compile` .*'bound'"):
        assert not tfgates.prune(model).compiled


def test_a_loss_that_is_not_to_be_scaled_is_not():
    keras.config.set_dtype_policy("mixed_float16")
    model = network()
    model.compile("sgd", "mse", auto_scale_loss=False)
    assert isinstance(tfgates.prune(model).optimizer, keras.optimizers.SGD)


def test_what_has_no_weight_decay_has_none():
    model = network()
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse")
    found = tfgates.prune(model)
    found.optimizer.build(found.trainable_variables)
    decayed = {v.name for v in found.trainable_variables if found.optimizer._use_weight_decay(v)}
    assert "kernel" in decayed and "bias" not in decayed


@pytest.mark.parametrize("around", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_variables_without_weight_decay_have_none(around):
    model = network()
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.1)
    chosen = next(v for v in model.trainable_variables if v.name == "kernel")
    optimizer.exclude_from_weight_decay(var_list=[chosen])
    model.compile(around(optimizer), "mse", gate_optimizer=keras.optimizers.Adam(0.02))
    found = tfgates.prune(model)
    found.optimizer.build(found.trainable_variables)
    inner = getattr(found.optimizer, "inner_optimizer", found.optimizer)
    assert [v.path for v in found.trainable_variables if not inner._use_weight_decay(v)] == [chosen.path]


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """As people write them, without a `get_config`."""

    def __call__(self, step):
        return 0.5 / (1.0 + keras.ops.cast(step, "float32"))


def test_a_schedule_without_a_config_comes_along():
    model = network()
    rate = Falling()
    model.compile(keras.optimizers.SGD(rate), "mse", gate_optimizer=keras.optimizers.Adam(0.02))
    model.fit(data(8), np.zeros((8, 2)), verbose=0)
    pruned = tfgates.prune(model)
    assert float(pruned.optimizer.learning_rate) == 0.5
    assert float(model.optimizer.learning_rate) == 0.25
    pruned.fit(data(8), np.zeros((8, 2)), verbose=0)
    assert float(pruned.optimizer.learning_rate) == 0.25


class Scaled(keras.optimizers.SGD):
    """Without the `get_config` that its argument needs."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale


def test_an_optimizer_that_cannot_be_made_again_is_left_to_compile():
    model = network()
    model.compile(Scaled(2.0), "mse")
    model.fit(data(8), np.zeros((8, 2)), verbose=0)
    with pytest.warns(tfgates.GatesWarning, match="not compiled.* Received: TypeError: .*'scale'") as said:
        assert not tfgates.prune(model).compiled
    assert [each.filename for each in said if each.category is tfgates.GatesWarning] == [__file__]


class Warm(keras.optimizers.SGD):
    """Makes another rate of the one that it is given, which its config has."""

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(0.1 * learning_rate, **kwargs)
        self.given = learning_rate

    def get_config(self):
        return {**super().get_config(), "learning_rate": self.given}


class Renamed(keras.optimizers.SGD):
    """Names its rate otherwise."""

    def __init__(self, lr, **kwargs):
        super().__init__(lr, **kwargs)

    def get_config(self):
        config = super().get_config()
        config["lr"] = config.pop("learning_rate")
        return config

    @classmethod
    def from_config(cls, config):
        return cls(keras.optimizers.schedules.deserialize(config.pop("lr")), **config)


def test_optimizers_of_ones_own_are_made_by_their_configs():
    model = network()
    model.compile(Warm(0.5), "mse")
    assert float(tfgates.prune(model).optimizer.learning_rate) == pytest.approx(0.05)
    model.compile(Renamed(keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5)), "mse")
    assert float(tfgates.prune(model).optimizer.learning_rate) == 0.25
    model.compile(Renamed(Falling()), "mse")
    with pytest.warns(tfgates.GatesWarning, match="Renamed has no `learning_rate` in its config"):
        assert not tfgates.prune(model).compiled


def test_several_inputs_and_outputs_keep_their_structure():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((3,), name="b")}
    x = layers.GatedDense(6, activation="relu")(K.Concatenate()([inputs["a"], inputs["b"]]))
    model = tfgates.GatedModel(inputs, {"one": K.Dense(2, name="one")(x), "two": K.Dense(1, name="two")(x)})
    model.gates[0].logits.assign([-5.0, 5.0, -5.0, 5.0, 5.0, 5.0])
    x = {"a": np.ones((2, 4), "float32"), "b": np.ones((2, 3), "float32")}
    pruned = tfgates.prune(model, inputs=x)
    made, expected = pruned(x), model(x, training=False)
    for name in ("one", "two"):
        np.testing.assert_allclose(made[name], expected[name], rtol=0, atol=1e-5)


def test_pruning_twice_changes_nothing():
    once = tfgates.prune(network())
    twice = tfgates.prune(once)
    for a, b in zip(once.weights, twice.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_of_nested_models_that_share_a_name():
    inside = keras.Input((4,))
    inner = keras.Model(inside, layers.GatedDense(6, activation="relu", name="same")(inside), name="inner")
    inputs = keras.Input((4,))
    x = inner(K.Dense(4, name="same")(inputs))
    model = tfgates.GatedModel(inputs, K.Dense(2, name="inner_same")(x))
    model.gates[0].logits.assign([-5.0, 5.0, -5.0, 5.0, 5.0, 5.0])
    pruned = tfgates.prune(model)
    assert len({layer.name for layer in pruned.layers}) == len(pruned.layers)
    assert pruned.get_layer("same").units == 4


@pytest.mark.parametrize("kind", [K.Dropout, K.AlphaDropout])
@pytest.mark.parametrize("shape", [(None, 1, 8), (None, None, 8), (None, 6, 1), (6, 8), (8,), (1,), (6, 1)])
def test_noise_has_as_many_channels_as_are_left(kind, shape):
    """At inference there is none: what is pruned has to be trained to see it."""
    inputs = keras.Input((6, 4))
    x = kind(0.3, noise_shape=shape, name="noise")(K.Dense(8, activation="relu")(inputs))
    model = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling1D()(x))))
    model.gates[0].logits.assign(np.where(np.arange(8) < 5, 3.0, -9.0))
    pruned = tfgates.prune(model)
    left = None if len(shape) == 3 else 5
    assert pruned.get_layer("noise").noise_shape == tuple(left if size == 8 else size for size in shape)
    pruned.compile("sgd", "mse")
    pruned.fit(np.ones((4, 6, 4), "float32"), np.ones((4, 2), "float32"), verbose=0)
    assert pruned(np.ones((2, 6, 4), "float32"), training=True).shape == (2, 2)


def test_what_cannot_be_trained_is_not_returned(monkeypatch):
    """A negative control: noise of as many channels as there were."""
    monkeypatch.setattr(IdentityRule, "emit", Rule.emit)
    inputs = keras.Input((6, 4))
    x = K.Dropout(0.3, noise_shape=(None, 1, 8))(K.Dense(8, activation="relu")(inputs))
    model = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling1D()(x))))
    model.gates[0].logits.assign(np.where(np.arange(8) < 5, 3.0, -9.0))
    before = [np.array(v) for v in model.variables]
    with pytest.raises(PruningError, match="cannot be called with `training=True`, as before: nothing was changed"):
        tfgates.prune(model)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("constraint", ["UnitNorm", "MaxNorm", "NonNeg"])
@pytest.mark.parametrize("met", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_constraints_that_are_met_no_more_are_said(constraint, met, dtype):
    inputs = keras.Input((4,))
    made = getattr(keras.constraints, constraint)
    x = K.Dense(8, activation="relu", name="first")(inputs)
    x = K.Dense(3, kernel_constraint=made(), name="second", dtype=dtype)(x)
    model = tfgates.gate_model(keras.Model(inputs, K.Dense(2, kernel_constraint=made(), name="last")(x)))
    model.gates[0].logits.assign(np.where(np.arange(8) < 5, 9.0, -9.0))
    for name in ("second", "last"):
        kernel = model.get_layer(name).kernel
        kernel.assign(made()(kernel) if met else kernel - 3.0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pruned = tfgates.prune(model)
    said = [str(each.message) for each in found if "Constraints" in str(each.message)]
    if constraint == "UnitNorm" and met:
        (text,) = said
        assert text.endswith(f"Received: {pruned.get_layer('second').kernel.path} (UnitNorm)")
    else:
        assert not said
