"""Masks of sequences and softmax over places: what stands before can go where that is exact, and only there."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.test_reasons import gate_of
from tfgates.gates import HardConcreteGate

K = keras.layers
TOKENS = np.array([[3, 4, 1, 0, 0, 0, 0], [5, 0, 6, 7, 1, 2, 0], [1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 0]])


def steps(zeros=((0, 1), (0, 2), (1, 6), (3, 0))):
    """Sequences `(4, 7, 5)`, some steps of which are 0."""
    x = np.random.default_rng(0).normal(size=(4, 7, 5)).astype("float32")
    for place in zeros:
        x[place] = 0.0
    return x


def half_closed(model, **arguments):
    gated = tfgates.gate_model(model, **arguments)
    for gate in gated.gates:
        gate.logits.assign(np.where(np.arange(gate.units) < gate.units // 2, -5.0, 1.0))
    return gated


def head(x):
    return K.Dense(2, name="head")(x)


def of_words(after):
    inputs = keras.Input((7,), dtype="int32")
    x = K.Embedding(9, 5, mask_zero=True)(inputs)
    x = K.Dense(6, activation="relu", use_bias=False, name="before")(x)
    return keras.Model(inputs, head(after(x)))


@pytest.mark.parametrize("kind", [K.LSTM, K.GRU, K.SimpleRNN])
@pytest.mark.parametrize("sequences", [False, True])
def test_behind_an_embedding_of_masked_words(kind, sequences):
    gated = half_closed(of_words(lambda x: kind(4, return_sequences=sequences, name="rnn")(x)))
    plan = tfgates.plan_pruning(gated)
    assert plan.alone == [] and plan.kept == []
    pruned = tfgates.prune(gated, plan=plan, inputs=TOKENS)
    assert pruned.get_layer("before").units == 3 and pruned.get_layer("rnn").cell.kernel.shape[0] == 3
    np.testing.assert_allclose(pruned(TOKENS), gated(TOKENS), atol=1e-6)
    # The words that are masked matter.
    assert not np.allclose(pruned(TOKENS)[0], pruned(np.where(TOKENS, TOKENS, 8))[0], atol=1e-4)


def test_two_in_a_row_and_a_mask_by_position():
    gated = half_closed(of_words(lambda x: K.GRU(3)(K.LSTM(4, return_sequences=True)(x))))
    tfgates.prune(gated, inputs=TOKENS)
    inputs, mask = keras.Input((7, 5)), keras.Input((7,), dtype="bool")
    x = K.LSTM(4, name="rnn")(K.Dense(6, activation="relu", name="before")(inputs), None, mask)
    gated = half_closed(keras.Model([inputs, mask], head(x)))
    pruned = tfgates.prune(gated, inputs=[steps(), TOKENS > 0])
    assert pruned.get_layer("before").units == 3
    assert not np.allclose(pruned([steps(), TOKENS > 0]), pruned([steps(), TOKENS >= 0]), atol=1e-4)


def masked(value, x, **arguments):
    return K.Masking(value, name="masking")(K.Dense(6, activation="relu", use_bias=False, name="before")(x))


def test_a_masking_layer_on_zeros():
    inputs = keras.Input((7, 5))
    gated = half_closed(keras.Model(inputs, head(K.LSTM(4)(masked(0.0, inputs)))))
    plan = tfgates.plan_pruning(gated)
    assert plan.alone == [] and plan.kept == []
    assert tfgates.prune(gated, plan=plan, inputs=steps()).get_layer("before").units == 3


def test_a_masking_layer_on_another_number():
    inputs = keras.Input((7, 5))
    model = keras.Model(inputs, head(K.Dense(3, activation="relu", name="free")(masked(1.0, inputs))))
    gated = tfgates.gate_model(model)
    reason = "masking: a closed channel is not its mask_value, so no step is masked"
    assert dict(gated.report.skipped)["before"] == reason
    # With a gate there all the same: no step is masked behind it, since closed channels are 0 and not 1.
    x = gate_of()(K.Dense(6, name="before")(inputs))
    model = keras.Model(inputs, head(K.Masking(1.0, name="masking")(x)))
    gate = next(layer for layer in model.layers if isinstance(layer, HardConcreteGate))
    gate.logits.assign([-5.0] * 3 + [5.0] * 3)
    assert tfgates.plan_pruning(model).kept[0][1] == f"3 closed: {reason}"
    assert tfgates.prune(model, inputs=steps()).get_layer("before").units == 6


def test_a_feature_that_only_decides_what_is_masked():
    inputs = keras.Input((7, 5))
    x = K.Dense(6, activation="relu", use_bias=False, name="before")(inputs)
    last = K.Dense(3, name="last")
    model = keras.Model(inputs, last(K.Masking()(x)))
    kernel = np.array(ops.convert_to_numpy(last.kernel))
    kernel[:4] = 0.0
    last.kernel.assign(kernel)
    first = np.zeros((5, 6), "float32")
    first[0, 0] = first[1, 4] = first[2, 5] = 1.0
    model.get_layer("before").kernel.assign(first)
    # The first feature is read by nothing, but a step where it alone is not 0 is not masked: bias or not.
    pruned = tfgates.prune(model, inputs=steps())
    assert pruned.get_layer("before").units == 3


def test_a_mask_that_is_made_from_gated_places():
    inputs = keras.Input((7, 5))
    mask = K.Dense(7, activation="relu", name="mask")(K.Flatten()(inputs)) > 0.5
    x = K.LSTM(4)(K.Dense(6, activation="relu", name="before")(inputs), mask=mask)
    gated = tfgates.gate_model(keras.Model(inputs, head(x)))
    assert [name for name, _ in gated.report.gated] == ["before", "lstm"]
    assert "a mask is kept whole" in dict(gated.report.skipped)["mask"]


def test_any_over_places():
    inputs = keras.Input((7, 5))
    x = K.Dense(6, activation="relu", name="before")(inputs)
    y = ops.cast(ops.any(x, axis=1), "float32")
    model = keras.Model(inputs, head(K.Dense(3, activation="relu", name="free")(y)))
    gated = half_closed(model)
    assert "before" in [name for name, _ in gated.report.gated]
    assert tfgates.prune(gated).get_layer("before").units == 3


def test_any_that_reads_ones():
    inputs = keras.Input((7, 5))
    x = K.Dense(6, activation="sigmoid", name="before")(inputs)
    y = ops.cast(ops.any(x < 0.2, axis=-1), "float32")
    model = keras.Model(inputs, head(K.Dense(3, activation="relu", name="free")(y)))
    gated = tfgates.gate_model(model)
    assert "any: reads a constant other than 0" in dict(gated.report.skipped)["before"]


# Softmax over places.


def over_places(steps, **arguments):
    inputs = keras.Input((steps, 5))
    x = K.Dense(6, activation="relu", name="before")(inputs)
    y = K.Softmax(axis=1, name="soft")(x, **arguments)
    return inputs, K.Dense(3, activation="relu", name="behind")(y)


def test_softmax_over_places_makes_a_constant_of_a_closed_channel():
    inputs, x = over_places(7)
    gated = half_closed(keras.Model(inputs, head(x)))
    assert [name for name, _ in gated.report.gated] == ["before", "behind"]
    pruned = tfgates.prune(gated)
    assert pruned.get_layer("before").units == 3


def test_softmax_over_places_whose_number_is_not_known():
    inputs, x = over_places(None)
    gated = tfgates.gate_model(keras.Model(inputs, head(x)))
    assert dict(gated.report.skipped)["before"] == "soft: over how many places softmax runs is not known"


def test_softmax_with_a_mask():
    inputs, mask = keras.Input((7, 6)), keras.Input((7, 6), dtype="bool")
    x = K.Softmax(axis=1, name="soft")(K.Dense(6, activation="relu", name="before")(inputs), mask=mask)
    model = keras.Model([inputs, mask], head(K.Dense(3, activation="relu", name="behind")(x)))
    gated = tfgates.gate_model(model)
    assert dict(gated.report.skipped)["before"] == "soft: a mask decides over what softmax runs"
