"""Functions that treat each position along an axis by itself lose positions: rotations and offsets of heads."""

import keras
import pytest
from keras import ops

import tfgates
from tests.graph.units import close_half, randomised, same_outputs

K = keras.layers
STEPS, WIDTH, HEADS, SIZE = 5, 6, 4, 4


class Rotation(K.Layer):
    """Turns pairs of numbers of queries and keys at once."""

    def call(self, tensors):
        angle = ops.cast(ops.arange(ops.shape(tensors[0])[1]), "float32")[None, :, None, None]
        turned = []
        for x in tensors:
            odd = ops.reshape(ops.stack([-x[..., 1::2], x[..., ::2]], axis=-1), ops.shape(x))
            turned.append(x * ops.cos(angle) + odd * ops.sin(angle))
        return turned

    def compute_output_shape(self, shapes):
        return shapes


class Offsets(K.Layer):
    """Adds an offset for each head, as ALiBi does."""

    def call(self, scores):
        steps = ops.cast(ops.arange(ops.shape(scores)[-1]), "float32")
        return scores + (0.5 ** ops.arange(1.0, HEADS + 1.0))[:, None, None] * steps


class Picked(K.Layer):
    """Takes of the scores of each head those of some steps, which are told for each head."""

    def call(self, scores, places):
        return ops.take_along_axis(scores, places, axis=-1)

    def compute_output_shape(self, scores_shape, places_shape):
        return scores_shape


def attention(between=lambda q, k: (q, k), behind=lambda scores, places: scores):
    def build(x, places):
        query, key, value = (
            ops.reshape(K.Dense(HEADS * SIZE, name=name)(x), (-1, STEPS, HEADS, SIZE))
            for name in ("query", "key", "value")
        )
        query, key = between(query, key)
        scores = behind(ops.einsum("bqhd,bkhd->bhqk", query, key) / 2.0, places)
        y = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores, axis=-1), value)
        return K.Dense(WIDTH, name="out")(ops.reshape(y, (-1, STEPS, HEADS * SIZE)))

    return build


ATTENTIONS = {
    "two rotated": attention(between=lambda q, k: Rotation()([q, k])),
    "offsets": attention(behind=lambda scores, places: Offsets()(scores)),
    "picked": attention(behind=lambda scores, places: Picked()(scores, places)),
}


def network(build):
    """What is built of sequences, and of places of steps for each head, which stay whole."""
    inputs, places = keras.Input((STEPS, WIDTH)), keras.Input((HEADS, STEPS, STEPS))
    steps = ops.cast(ops.minimum(ops.abs(2.0 * places), STEPS - 1.0), "int32")
    return keras.Model([inputs, places], K.Dense(3, name="head")(build(inputs, steps)))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_heads_go(name):
    gated = tfgates.gate_model(network(ATTENTIONS[name]))
    assert dict(gated.report.gated) == {"value": f"{HEADS} heads", "out": f"{WIDTH} units"}
    randomised(gated)
    close_half(gated)
    plan = tfgates.plan_pruning(gated)
    pruned = tfgates.prune(gated, plan=plan)
    units = {layer.name: layer.units for layer in pruned.layers if isinstance(layer, K.Dense)}
    assert [units[each] for each in ("query", "key", "value")] == [HEADS // 2 * SIZE] * 3
    assert plan.params == pruned.count_params() and not plan.kept
    same_outputs(gated, pruned)


class ByChannel(K.Layer):
    """Another function for each channel, and of some the one beside it."""

    def __init__(self, mixes=False, **kwargs):
        super().__init__(**kwargs)
        self.mixes = mixes

    def call(self, x):
        y = x * ops.arange(1.0, x.shape[-1] + 1.0) + ops.sin(ops.arange(1.0 * x.shape[-1]))
        return ops.concatenate([y[..., :-1], y[..., -1:] + 0.5 * x[..., -2:-1]], axis=-1) if self.mixes else y


def test_channels_that_are_each_treated_in_their_own_way():
    inputs = keras.Input((STEPS, WIDTH))
    gate = tfgates.gates.HardConcreteGate()
    x = tfgates.layers.GatedDense(9, gate=gate, name="first")(inputs)
    # Behind it they are gated again, since it makes other constants of 0.
    behind = tfgates.gates.HardConcreteGate()
    model = keras.Model(inputs, K.Dense(3, name="head")(behind(ByChannel()(x))))
    randomised(model)
    for each in (gate, behind):
        each.logits.assign([-5.0, 2.0, -5.0, 1.0, 2.0, -5.0, 1.0, 1.0, -5.0])
    pruned = tfgates.prune(model)
    assert pruned.get_layer("first").units == 5
    same_outputs(model, pruned)


def test_channels_that_are_mixed_stay():
    inputs = keras.Input((STEPS, WIDTH))
    x = K.Dense(40, name="first")(inputs)
    x = K.Dense(4, name="second")(ByChannel(mixes=True)(x))
    report = tfgates.gate_model(keras.Model(inputs, K.Dense(3, name="head")(x))).report
    assert "treats channels or places differently, or mixes them" in dict(report.skipped)["first"]
