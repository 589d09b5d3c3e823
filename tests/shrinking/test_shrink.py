"""A network that shrinks in the midst of training goes on as the whole one with the same gates held closed."""

import keras
import numpy as np
import pytest

import tfgates
from tfgates.gates import gates_of
from tfgates.optimizers import APG

K = keras.layers

GATES = {
    "hard_concrete": {"gate": "hard_concrete", "logits_limit": None},
    **{
        estimator: {"gate": "bernoulli", "estimator": estimator}
        for estimator in ("ar", "arm", "disarm", "reinforce_leave_one_out")
    },
    "scaling": {"gate": "scaling"},
}

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=1.0),
    "apg": lambda: APG(0.01, strength=0.0, nonnegative=False),
}

# Of eight units of the two gates.
GONE = {0: [1, 2, 6], 1: [0, 5]}


def data(examples=24):
    rng = np.random.default_rng(0)
    return rng.normal(size=(examples, 6, 6, 2)).astype("float32"), rng.integers(0, 3, examples)


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = K.Conv2D(8, 3, padding="same", use_bias=False, name="first")(inputs)
    x = K.Activation("relu")(K.BatchNormalization(name="norm")(x))
    x = K.Conv2D(8, 3, activation="relu", name="second")(x)
    return keras.Model(inputs, K.Dense(3, activation="softmax", name="last")(K.GlobalAveragePooling2D()(x)))


def gated_network(**arguments):
    arguments.setdefault("penalty", {"params": 0.3})
    return tfgates.gate_model(network(), **arguments)


def same_noise(model, kept=None):
    """Lets each gate draw, for the units that are left, what the gate of the whole network draws."""
    for number, gate in enumerate(gates_of(model)):
        generator = keras.random.SeedGenerator(7 + number)

        def uniform(shape, gate=gate, generator=generator, number=number):
            u = keras.random.uniform((8,), seed=generator)
            return u if kept is None else keras.ops.take(u, kept[number], axis=0)

        gate.uniform = uniform


def close(model):
    for number, gate in enumerate(gates_of(model)):
        value = np.array(gate.weights[0])
        value[GONE[number]] = 0.0 if gate.variable_name == "scale" else -1e4
        gate.weights[0].assign(value)


def units(model):
    return {gate: np.isin(np.arange(8), GONE[number]) for number, gate in enumerate(gates_of(model))}


def held_at_zero(model):
    """Scaling factors at 0 that an optimizer without a threshold leaves there."""
    for number, gate in enumerate(gates_of(model)):
        if gate.variable_name == "scale":
            mask = 1.0 - np.isin(np.arange(8), GONE[number])
            gate.scale._constraint = lambda value, mask=mask: value * mask.astype("float32")


def trained(model, steps):
    x, y = data()
    logs = [model.train_on_batch(x, y, return_dict=True) for _ in range(steps)]
    return [float(each["loss"]) for each in logs]


def differences(small, whole):
    """The largest difference of each variable of the smaller network from the part of the whole one that is left."""
    kept = {number: np.setdiff1d(np.arange(8), gone) for number, gone in GONE.items()}
    found = {}
    for new, old in zip(small.variables, whole.variables, strict=True):
        a, b = np.array(new), np.array(old)
        if new.name == "seed_generator_state":
            continue
        for axis in range(a.ndim):
            if a.shape[axis] != b.shape[axis]:
                wide = ("second" in new.path and axis == a.ndim - 1) or "last" in new.path
                b = np.take(b, kept[1 if wide else 0], axis=axis)
        found[new.path] = float(np.max(np.abs(a - b), initial=0.0))
    return found


# Each gate and each optimizer in quick runs, all pairs in slow ones.
QUICK = [*zip(GATES, [*OPTIMIZERS, "adamw", "adamw"], strict=True), ("hard_concrete", "adamw")]
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in ((gate, optimizer) for gate in GATES for optimizer in OPTIMIZERS)
]


@pytest.mark.parametrize(("gate", "optimizer"), CASES)
def test_training_goes_on_as_with_the_gates_held_closed(gate, optimizer):
    whole = gated_network(**GATES[gate])
    # AR is noisy for closed units too: what clips or decays is for the weights.
    own = keras.optimizers.Adam(0.05) if optimizer == "adamw" else None
    whole.compile(OPTIMIZERS[optimizer](), "sparse_categorical_crossentropy", gate_optimizer=own, run_eagerly=True)
    held_at_zero(whole)
    trained(whole, 1)
    close(whole)
    small = tfgates.shrink(whole, units(whole))
    held = {number: np.setdiff1d(np.arange(8), gone) for number, gone in GONE.items()}
    assert [g.units for g in gates_of(small)] == [5, 6]
    same_noise(whole)
    same_noise(small, held)
    losses = trained(whole, 2), trained(small, 2)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    found = differences(small, whole)
    assert max(found.values()) < 1e-5, found


def residual():
    """Two residual blocks on one stream, the second without anything that the stream needs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = K.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for number in (1, 2):
        y = K.Conv2D(8, 3, padding="same", activation="relu", name=f"inner{number}")(x)
        y = K.Conv2D(8, 3, padding="same", name=f"outer{number}")(y)
        x = K.Activation("relu", name=f"relu{number}")(K.Add(name=f"add{number}")([x, y]))
    return keras.Model(inputs, K.Dense(3, activation="softmax", name="last")(K.GlobalAveragePooling2D()(x)))


def outputs(model):
    return np.array(model(data()[0], training=False))


def test_tied_gates_keep_one_draw_and_their_noise():
    whole = tfgates.gate_model(residual(), residual=("inner", "tied"), seed=3, penalty={"macs": 0.1})
    stream = next(gate for gate in whole.gates if gate.name.startswith("stem"))
    gone = {stream: np.arange(8) < 3}
    small = tfgates.shrink(whole, gone)
    assert small.get_layer("stem").filters == small.get_layer("outer2").filters == 5
    assert small.get_layer("inner1").filters == 8
    (noise,) = (layer for layer in small.layers if type(layer).__name__ == "GateNoise")
    assert noise.units == 5
    stream.logits.assign(np.where(gone[stream], -50.0, stream.logits))
    np.testing.assert_allclose(outputs(small), outputs(whole), atol=1e-5)


def test_a_closed_branch_goes_as_a_whole_with_all_that_is_in_it():
    whole = tfgates.gate_model(residual(), residual=("inner", "block"))
    branch = [gate for gate in whole.gates if gate.axis is None][-1]
    small = tfgates.shrink(whole, {branch: np.array([True])})
    assert {layer.name for layer in whole.layers} - {layer.name for layer in small.layers} >= {"inner2", "outer2"}
    assert len(small.gates) == len(whole.gates) - 2
    branch.logits.assign([-50.0])
    np.testing.assert_allclose(outputs(small), outputs(whole), atol=1e-5)


def test_units_that_go_through_a_depthwise_convolution_go_in_training():
    """Their gate stands behind its normalisation: in front of that, a closed unit would be another constant in training
    than at inference, and stay."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    for layer in (
        K.Conv2D(8, 1, use_bias=False, name="expand"),
        K.DepthwiseConv2D(3, padding="same", name="depthwise"),
    ):
        x = K.ReLU(6.0)(K.BatchNormalization()(layer(x)))
    x = K.BatchNormalization()(K.Conv2D(4, 1, use_bias=False, name="project")(x))
    model = keras.Model(inputs, K.Dense(3, activation="softmax")(K.GlobalAveragePooling2D()(x)))
    whole = tfgates.gate_model(model, layers="expand", logits_limit=None, penalty={"params": 0.3})
    whole.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    trained(whole, 1)
    whole.gates[0].logits.assign(np.where(np.isin(np.arange(8), GONE[0]), -1e4, whole.gates[0].logits))
    small = tfgates.shrink(whole, {whole.gates[0]: np.isin(np.arange(8), GONE[0])})
    assert small.get_layer("expand").filters == small.get_layer("depthwise").kernel.shape[2] == 5
    same_noise(whole)
    same_noise(small, {0: np.setdiff1d(np.arange(8), GONE[0])})
    np.testing.assert_allclose(trained(small, 2), trained(whole, 2), rtol=1e-5)
    np.testing.assert_allclose(outputs(small), outputs(whole), atol=1e-5)


def test_what_is_called_for_inference_alone_stays_so():
    inputs = keras.Input((6, 6, 2))
    base = keras.Sequential([keras.Input((6, 6, 2)), K.Conv2D(8, 1), K.BatchNormalization(), K.ReLU()])
    base.trainable = False
    x = K.GlobalAveragePooling2D()(base(inputs, training=False))
    whole = tfgates.gate_model(keras.Model(inputs, K.Dense(3)(K.Dense(8)(x))))
    small = tfgates.shrink(whole, {gate: np.arange(8) < 3 for gate in whole.gates})
    assert [gate.units for gate in small.gates] == [5] * len(whole.gates)
    close = {gate: np.where(np.arange(8) < 3, -50.0, 5.0) for gate in whole.gates}
    for gate, logits in close.items():
        gate.logits.assign(logits)
    for gate in small.gates:
        gate.logits.assign(np.full(5, 5.0))
    np.testing.assert_allclose(outputs(small), outputs(whole), atol=1e-5)
    (norm,) = (layer for layer in small.layers if "normalization" in layer.name)
    before = np.array(norm.moving_mean)
    small(data()[0], training=True)
    np.testing.assert_array_equal(np.array(norm.moving_mean), before)


@pytest.mark.parametrize(("order", "hidden"), [("forward", ()), ("backward", (4,))])
def test_generators_shrink_with_their_gates(order, hidden):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    logits = tfgates.layers.GateGenerator([8, 8, 6], order, hidden, initial_logits=1.0, seed=1, name="gate_generator")(
        inputs
    )
    x = inputs
    for number, size in enumerate((8, 8, 6)):
        layer = tfgates.layers.GatedConv2D(size, 1, activation="relu", name=f"c{number}")
        x = layer(x, logits=logits[number])
    whole = tfgates.GatedModel(inputs, K.Dense(3)(K.GlobalAveragePooling2D()(x)), penalty={"params": 1.0})
    generator = whole.get_layer("gate_generator")
    for weight in generator.weights:
        weight.assign(weight + 0.1 * np.random.default_rng(0).normal(size=weight.shape))
    whole.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    trained(whole, 1)
    kept = [np.array([0, 2, 3]), np.arange(8), np.array([1, 4])]
    gone = {gate: ~np.isin(np.arange(gate.units), left) for gate, left in zip(whole.gates, kept, strict=True)}
    small = tfgates.shrink(whole, gone)
    assert small.get_layer("gate_generator").units == [3, 8, 2]
    for new, old, left in zip(small.gates, whole.gates, kept, strict=True):
        np.testing.assert_allclose(np.array(new.value()), np.array(old.value())[left], atol=1e-5)
    assert all(len(variable.shape) == len(slot.shape) for variable, slot in slots(small))
    trained(small, 1)


def slots(model):
    """Pairs of a variable and its slots in the optimizer."""
    for leaf in getattr(model.optimizer, "_inner_optimizers", [model.optimizer]):
        for variable in leaf._trainable_variables:
            for slot in leaf.variables:
                if tuple(slot.shape) == tuple(variable.shape) and slot.name.endswith("momentum"):
                    yield variable, slot


def test_budgets_count_against_the_dense_network_and_files_keep_it(tmp_path):
    whole = gated_network(penalty=None, budget=tfgates.Budget(macs=0.5, params=0.6, warm_up=0, ramp=10), l0=1e-4)
    whole.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data()
    whole.fit(x, y, epochs=2, batch_size=12, verbose=0)
    close(whole)
    multipliers = np.array(whole.multipliers)
    small = tfgates.shrink(whole, units(whole))
    assert multipliers.min() > 0.0
    for model in (small, reloaded(small, tmp_path)):
        np.testing.assert_array_equal(np.array(model.multipliers), multipliers)
        np.testing.assert_array_equal(np.array(model._pace), np.array(whole._pace))
        assert [bound.target for bound in model._structure.bounds] == [b.target for b in whole._structure.bounds]
        assert model.dense_reference == whole.dense_reference
        losses = [float(np.array(m.structure_loss(training=False))) for m in (model, whole)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
        # What `l0` takes for a unit is what it had in the dense network.
        assert [gate.counted_weights() for gate in model.gates] == [gate.counted_weights() for gate in whole.gates]
        assert model.removals == small.removals and model.removals[0]["units"] == 5
        assert int(model.optimizer.iterations) == int(whole.optimizer.iterations) == 4
    history = small.fit(x, y, epochs=4, initial_epoch=2, batch_size=12, verbose=0)
    assert history.epoch == [2, 3] and int(small._structure_step) == 8
    pruned = tfgates.prune(small)
    assert tfgates.cost(pruned).macs <= 0.5 * whole.dense_reference.totals["macs"]


def reloaded(model, folder):
    model.save(folder / "small.keras")
    return keras.models.load_model(folder / "small.keras")


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.Adam(0.01, amsgrad=True, use_ema=True, ema_momentum=0.5),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.RMSprop(0.01, momentum=0.5, centered=True)),
        lambda: keras.optimizers.Adafactor(0.01),
        lambda: keras.optimizers.SGD(0.01, momentum=0.5, gradient_accumulation_steps=2),
        lambda: keras.optimizers.Muon(0.01),
        lambda: keras.optimizers.Nadam(keras.optimizers.schedules.CosineDecay(0.01, 10)),
        lambda: keras.optimizers.Ftrl(0.01),
    ],
    ids=["adam_ema", "loss_scale", "adafactor", "accumulation", "muon", "nadam", "ftrl"],
)
def test_every_slot_is_cut_as_its_variable(make):
    # For the state alone; steps are taken on gradients of ones.
    model = gated_network()
    model.compile(make(), "sparse_categorical_crossentropy", gate_optimizer=None)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    for variable in model.optimizer.variables:
        if len(variable.shape):
            variable.assign(rng.normal(size=variable.shape))
    model.optimizer._iterations.assign(5)
    before = {v.path: np.array(v) for v in model.optimizer.variables}
    small = tfgates.shrink(model, units(model))
    after = {v.path: np.array(v) for v in small.optimizer.variables}
    assert len(after) == len(before) and int(small.optimizer._iterations) == 5
    for (path, new), old in zip(after.items(), before.values(), strict=True):
        assert new.ndim == old.ndim, path
        # Random numbers: what is there was there, each once.
        assert np.isin(new, old).all() and len(np.unique(new)) == new.size
    small.optimizer.apply([keras.ops.ones(v.shape) for v in small.trainable_variables])
    fresh = tfgates.shrink(model, units(model), reset_momentum=True)
    momenta = [v for v in fresh.optimizer.variables if "momentum" in v.name or "velocity" in v.name]
    assert all(not np.any(np.array(v)) for v in momenta) and int(fresh.optimizer._iterations) == 5


def test_units_stay_whose_channels_cannot_go():
    inputs = keras.Input((6,))
    x = tfgates.gates.HardConcreteGate(name="alone")(inputs)
    y = K.Dense(4, name="hidden")(x)
    y = tfgates.gates.HardConcreteGate(name="hidden_gate")(y)
    model = tfgates.GatedModel(inputs, K.Dense(2)(y))
    alone, hidden = model.gates
    small = tfgates.shrink(model, {alone: np.arange(6) < 2, hidden: np.arange(4) < 1})
    assert [gate.units for gate in small.gates] == [6, 3]
    # Nothing goes: the very model.
    assert tfgates.shrink(model, {alone: np.arange(6) < 2}) is model
    assert tfgates.shrink(model) is model


def test_weights_that_are_zero_now_stay():
    model = gated_network()
    model.get_layer("second").kernel.assign(np.zeros((3, 3, 8, 8)))
    small = tfgates.shrink(model, units(model))
    assert small.get_layer("second").filters == 6
    assert not np.any(np.array(small.get_layer("second").kernel))


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (r"`model` must be a functional GatedModel.*Received: Functional", lambda: (network(), None)),
        (r"`units` must be a dict from gates of `model`.*\(3,\) of bool", lambda: wrong_units()),
    ],
)
def test_errors(error, make):
    model, gone = make()
    with pytest.raises(ValueError, match=error):
        tfgates.shrink(model, gone)


def wrong_units():
    model = gated_network()
    return model, {model.gates[0]: np.zeros(3, bool)}


def test_nothing_left_of_a_layer_is_an_error():
    model = gated_network()
    with pytest.raises(tfgates.pruning.ClosedLayerError, match="first"):
        tfgates.shrink(model, {model.gates[0]: np.ones(8, bool)})


def test_heads_of_attention_go_with_their_gates():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 8))
    x = K.MultiHeadAttention(4, 3, dropout=0.1, name="attention")(inputs, inputs)
    whole = tfgates.gate_model(keras.Model(inputs, K.Dense(2)(K.Flatten()(x))))
    gate = next(gate for gate in whole.gates if gate.units == 4)
    small = tfgates.shrink(whole, {gate: np.array([False, True, False, True])})
    assert small.get_layer("attention").num_heads == 2 and [g.units for g in small.gates] == [2]
    gate.logits.assign(np.where([False, True, False, True], -50.0, gate.logits))
    tokens = np.random.default_rng(0).normal(size=(3, 5, 8)).astype("float32")
    np.testing.assert_allclose(np.array(small(tokens)), np.array(whole(tokens)), atol=1e-5)


def test_hidden_units_of_recurrent_layers_go_with_their_gates():
    inputs = keras.Input((5, 3))
    x = tfgates.layers.GatedLSTM(6, name="recurrent")(inputs)
    whole = tfgates.GatedModel(inputs, K.Dense(2)(x))
    (gate,) = whole.gates
    gone = np.isin(np.arange(6), [0, 4])
    small = tfgates.shrink(whole, {gate: gone})
    assert small.get_layer("recurrent").units == small.gates[0].units == 4
    gate.logits.assign(np.where(gone, -50.0, gate.logits))
    sequences = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")
    np.testing.assert_allclose(np.array(small(sequences)), np.array(whole(sequences)), atol=1e-5)
