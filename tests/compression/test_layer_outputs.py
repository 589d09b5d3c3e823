"""A teacher whose layers are matched: against numpy, and as layers close, go, and are left."""

import keras
import numpy as np
import pytest

import tfgates
from tests.gating.test_blocks import TOKENS, encoder, set_gates
from tfgates.compression import Teacher
from tfgates.compression.layer_outputs import LayerOutputs
from tfgates.compression.teacher import taught

L = keras.layers
ENDS = [f"second_{i}" for i in range(2)]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def classifier(seed=0):
    model = encoder()
    x = L.GlobalAveragePooling1D()(model.get_layer(ENDS[1]).output)
    model = keras.Model(model.input, L.Dense(3, name="logits")(x))
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(generator.normal(size=variable.shape) * 0.4)
    return model


def made(model, names, x):
    return [np.asarray(y) for y in keras.Model(model.input, [model.get_layer(n).output for n in names])(x)]


def added(student, teacher, x):
    """What the teacher adds to the loss of a step."""
    y = np.zeros(len(x), "int32")
    student.compile("sgd", LOSS)
    plain = float(student.compute_loss(x, y, student(x), training=True))
    with taught(student, teacher):
        return float(student.compute_loss(x, y, student(x), training=True)) - plain


def nearest(wanted, found):
    return np.mean([min(np.mean((t - s) ** 2) for s in found) for t in wanted])


def test_each_layer_is_matched_to_the_nearest_that_is_open():
    model, other, x = classifier(), classifier(1), TOKENS[0]
    gated = tfgates.gate_model(model, residual="layer", length=5)
    for gate in gated.gates:
        gate.trainable = False
    teachers = [Teacher(other), Teacher(other, layers=r"second_\d", layer_weight=0.5)]
    wanted = made(other, ENDS, x)

    def difference(student):
        return added(student, teachers[1], x) - added(student, teachers[0], x)

    for teacher in teachers:
        teacher.follow(gated, LOSS)
    set_gates(gated)
    assert difference(gated) == pytest.approx(0.5 * nearest(wanted, made(model, ENDS, x)), rel=1e-3)
    # A layer that is half open is read behind its gate.
    set_gates(gated, sum_1=0.2)
    half = made(gated, ["sum_0_changed", "sum_1_changed"], x)
    assert difference(gated) == pytest.approx(0.5 * nearest(wanted, half), rel=1e-3)
    # Of what is left the teacher finds the same, a layer less.
    set_gates(gated, sum_1=0.2, add_0=-4.6, sum_0=-4.6)
    small = tfgates.prune(gated)
    expected = 0.5 * nearest(wanted, made(small, ["first_1", "sum_1_changed"], x)[1:])
    assert difference(small) == pytest.approx(expected, rel=1e-3)
    assert "call" not in vars(small)


def test_a_student_that_is_called_with_more_is_asked_too():
    model, other, x = classifier(), classifier(1), TOKENS[0]
    gated = tfgates.gate_model(model, length=5)
    for gate in gated.gates:
        gate.trainable = False
    teacher = Teacher(other, layers=ENDS)
    teacher.follow(gated, LOSS)
    gated.compile("sgd", LOSS)
    y, found = np.zeros(len(x), "int32"), []
    with taught(gated, teacher):
        for told in ({}, {"of_a_layer": 1}):
            found.append(float(gated.compute_loss(x, y, gated(x, **told), training=True)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_compress_brings_layers_closer_while_the_network_shrinks():
    model, generator = classifier(), np.random.default_rng(0)
    x = generator.integers(0, 12, (64, 5))
    y = generator.integers(0, 3, 64)
    apart = []
    for weight in (1e-6, 20.0):
        keras.utils.set_random_seed(0)
        small = tfgates.compress(
            model, (x, y), tfgates.Budget(params=0.7), LOSS, epochs=6, batch_size=32, residual=("inner", "layer"),
            teacher=Teacher(model, layers=ENDS, layer_weight=weight), learning_rate=0.01, verbose=0,
        )  # fmt: skip
        left = [layer.name for layer in small.layers if layer.name in ENDS]
        apart.append(nearest(made(model, ENDS, x), made(small, left, x)))
    assert apart[1] < 0.8 * apart[0]


def test_a_layer_that_is_opened_ends_with_an_operator():
    class Block(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(4, activation="relu")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return x + self.dense(x)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(2, name="logits")(Block(name="block")(inputs)))
    gated = tfgates.gate_model(model, residual="block")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    found = LayerOutputs(model, "block")
    found.follow(gated)
    for logit in (4.6, -4.6):
        gated.gates[0].logits.assign([logit])
        found.called(gated, x, training=False)
        (tensor,) = found._last.tensors
        kernel = keras.ops.convert_to_numpy(model.get_layer("block").dense.kernel)
        wanted = x + np.maximum(x @ kernel, 0) * (logit > 0)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(tensor), wanted, rtol=1e-5, atol=1e-6)
    # Of a block that is gone nothing is left to match: what comes out of it is what came in.
    found.called(tfgates.prune(gated), x, training=False)
    assert float(found.distance([x])) == 0.0


def test_layers_that_cannot_be_matched():
    model = classifier()
    for layers, named in (
        (["none"], r"\['none'\]"),
        ("nothing", "which has none"),
        ("input_layer.*", "which has none"),
    ):
        with pytest.raises(ValueError, match=f"called once and make one tensor.*Received: .*{named}"):
            Teacher(model, layers=layers)
    with pytest.raises(ValueError, match="`layers` needs a teacher that is a graph"):
        Teacher(keras.Sequential([L.Dense(2)]), layers=".*")
    teacher = Teacher(model, layers=["hidden_0"])
    other = classifier()
    other.get_layer("hidden_0").name = "another"
    with pytest.raises(ValueError, match="whose outputs the student has too, of the same shape. Received: 'hidden_0'"):
        teacher.follow(other, LOSS)
