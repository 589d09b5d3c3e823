"""Gates on the heads of attention: placed, counted, chosen, removed."""

import itertools

import keras
import numpy as np
import pytest

import tfgates
from tests.graph.oracle import macs_of
from tfgates.gates import HardConcreteGate
from tfgates.layers import GatedMultiHeadAttention
from tfgates.pruning import plan as plans

K = keras.layers
# Keras's attention wants values as wide as keys with JAX.
VALUES = 3 if keras.backend.backend() == "jax" else 2
OPEN, CLOSED = 4.6, -4.6


def randomise(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if "logits" not in weight.path:
            weight.assign(generator.normal(size=weight.shape) * 0.5)


def close(gated, closed):
    """Closes units by the name of their gate."""
    for gate in gated.gates:
        logits = np.full(gate.units, OPEN)
        logits[closed.get(gate.name, [])] = CLOSED
        # Neither open nor closed.
        logits[-1] = 0.2 if logits[-1] == OPEN else CLOSED
        gate.logits.assign(logits)


def encoder(mask_zero=True):
    """Two blocks on tokens that may be padding, the second of which looks back alone."""
    tokens = keras.Input((7,), dtype="int32")
    x = K.Embedding(9, 6, mask_zero=mask_zero)(tokens)
    for i in range(2):
        attention = K.MultiHeadAttention(4, 3, value_dim=VALUES, name=f"attention_{i}")
        x = K.LayerNormalization()(x + attention(x, x, use_causal_mask=bool(i)))
        hidden = K.Dense(5, activation="gelu", name=f"hidden_{i}")(x)
        x = K.LayerNormalization()(x + K.Dense(6)(hidden))
    return keras.Model(tokens, K.Dense(3)(x[:, 0]))


def decoder():
    """Attention from one sequence to another, with a mask that is an input."""
    query, value, mask = keras.Input((5, 6)), keras.Input((4, 7)), keras.Input((5, 4), dtype="bool")
    x = K.MultiHeadAttention(3, 2, name="cross", use_gate=True)(query, value, attention_mask=mask)
    return keras.Model([query, value, mask], K.Dense(2)(K.LayerNormalization()(x + query)))


def shared():
    """One attention that is called twice."""
    inputs = keras.Input((5, 6))
    attention = K.MultiHeadAttention(4, 2, name="attention")
    x = K.LayerNormalization()(attention(inputs, inputs) + inputs)
    return keras.Model(inputs, K.Dense(2)(K.LayerNormalization()(attention(x, x) + x)))


@pytest.mark.parametrize(
    ("make", "closed", "left"),
    [
        (encoder, {"attention_0_gate": [0, 2], "attention_1_gate": [3]}, {"attention_0": 2, "attention_1": 3}),
        (decoder, {"cross_gate": [1]}, {"cross": 2}),
        (shared, {"attention_gate": [0, 1]}, {"attention": 2}),
    ],
)
def test_closed_heads_are_removed_exactly(make, closed, left):
    model = make()
    randomise(model)
    gated = tfgates.gate_model(model)
    for name in left:
        assert (name, f"{model.get_layer(name).num_heads} heads") in gated.report.gated
        assert isinstance(gated.get_layer(name), GatedMultiHeadAttention)
    close(gated, closed)
    plan, cost = tfgates.plan_pruning(gated), tfgates.cost(gated)
    small = tfgates.prune(gated, plan=plan)
    for name, heads in left.items():
        assert type(small.get_layer(name)) is K.MultiHeadAttention and small.get_layer(name).num_heads == heads
        assert next(row for row in plan.layers if row.name == name).units_left == heads
        (kernel,) = (each for each in plan.slices if each.variable is gated.get_layer(name).query_dense.kernel)
        assert len(kernel.kept[1]) == heads
    assert small.count_params() == cost.params == tfgates.cost(small).params
    assert tfgates.cost(small).macs == cost.macs
    if make is not decoder:
        assert macs_of(small) == cost.macs


def test_the_expected_cost_is_the_mean_of_the_actual_one():
    inputs = keras.Input((5, 6))
    x = GatedMultiHeadAttention(3, 2, name="attention", gate=HardConcreteGate())(inputs, inputs) + inputs
    x = K.LayerNormalization()(x)
    x = GatedMultiHeadAttention(2, 2, name="last", gate=HardConcreteGate())(x, x)
    model = keras.Model(inputs, K.Dense(2)(K.LayerNormalization()(x + inputs)))
    gates = tfgates.gates.gates_of(model)
    chances = [np.array([0.3, 0.8, 0.6]), np.array([0.5, 0.9])]
    for gate, chance in zip(gates, chances, strict=True):
        gate.logits.assign(np.log(chance / (1 - chance)) + 2 / 3 * np.log(0.1 / 1.1))
    mean = np.zeros(2)
    for states in itertools.product((0.0, 1.0), repeat=5):
        values, chance = [np.array(states[:3]), np.array(states[3:])], np.concatenate(chances)
        with plans.held(dict(zip(gates, values, strict=True))):
            plan = plans.PruningPlan(model, selection=plans.Unchanged())
        mean += np.prod(np.where(states, chance, 1 - chance)) * np.array([plan.params, plan.macs])
    cost = tfgates.cost(model)
    np.testing.assert_allclose([cost.expected_params, cost.expected_macs], mean, rtol=1e-5)


def test_without_heads_the_branch_goes_and_its_bias_stays():
    model = encoder(mask_zero=False)
    randomise(model)
    gated = tfgates.gate_model(model)
    close(gated, {"attention_0_gate": [0, 1, 2, 3]})
    plan = tfgates.plan_pruning(gated)
    assert plan.dropped[:1] == ["attention_0"]
    small = tfgates.prune(gated, plan=plan)
    assert not any(layer.name == "attention_0" for layer in small.layers)
    # Where nothing else carries the shape, something must be left.
    inputs = keras.Input((5, 6))
    alone = keras.Model(inputs, K.Dense(2)(GatedMultiHeadAttention(2, 3, name="only")(inputs, inputs)))
    close(alone_gates := tfgates.GatedModel(alone.inputs, alone.outputs), {"only_gate": [0, 1]})
    with pytest.raises(tfgates.pruning.ClosedLayerError, match="All units of layer 'only' are closed"):
        tfgates.prune(alone_gates)
    assert tfgates.prune(alone_gates, min_units=1).get_layer("only").num_heads == 1


def test_a_budget_chooses_heads_units_and_branches():
    model = encoder(mask_zero=False)
    randomise(model)
    gated = tfgates.gate_model(model, residual=("inner", "block"), budget=tfgates.Budget(macs=0.5))
    kinds = [what for _, what in gated.report.gated]
    assert (kinds.count("4 heads"), kinds.count("5 units"), kinds.count("the whole branch")) == (2, 2, 4)
    generator = np.random.default_rng(0)
    for gate in gated.gates:
        gate.logits.assign(generator.normal(size=gate.units) + 1.0)
    with pytest.warns(tfgates.GatesWarning):
        small = tfgates.prune(gated)
    assert 0.4 * tfgates.cost(model).macs < tfgates.cost(small).macs <= 0.5 * tfgates.cost(model).macs


def test_criteria_see_all_the_weights_of_a_head():
    model = encoder()
    randomise(model)
    attention = model.get_layer("attention_0")
    for dense in (attention.query_dense, attention.key_dense, attention.value_dense):
        kernel = dense.kernel.numpy()
        kernel[:, 1] *= 1e-3
        dense.kernel.assign(kernel)
    kernel = attention.output_dense.kernel.numpy()
    kernel[1] *= 1e-3
    attention.output_dense.kernel.assign(kernel)
    small = tfgates.prune_by(model, budget=tfgates.Budget(params=0.93), layers="attention_0")
    left = small.get_layer("attention_0")
    np.testing.assert_allclose(left.query_dense.kernel, np.delete(attention.query_dense.kernel, 1, axis=1))
    with pytest.raises(ValueError, match="a gate on heads is inside of the layer: that needs `copy_weights=True`"):
        tfgates.gate_model(model, copy_weights=False, layers="attention_0")


def test_compensated_heads_start_as_they_were():
    model = decoder()
    randomise(model)
    gated = tfgates.gate_model(model, compensate=True, initial_open_probability=0.6)
    x = [np.ones((2, 5, 6)), np.ones((2, 4, 7)), np.ones((2, 5, 4), bool)]
    np.testing.assert_allclose(gated(x), model(x), atol=1e-5)


def test_what_leaves_dropout_on_is_named():
    def network(*before):
        x = inputs = keras.Input((4, 4, 3))
        for layer in before:
            x = layer(x)
        x = K.Dense(6)(K.Reshape((16, 3))(x))
        x = K.Add()([x, K.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(x, x)])
        return keras.Model(inputs, K.Dense(2)(x))

    assert dict(tfgates.gate_model(network()).report.gated) == {"attention": "2 heads"}
    report = tfgates.gate_model(network(K.RandomBrightness(0.1, name="drawn")), residual="tied").report
    assert dict(report.skipped)["attention"] == (
        "its dropout runs as in training where the model is called without `training`, which drawn in front of it "
        "leaves on (take that out of the model), and a gate on heads is inside of the layer"
    )
