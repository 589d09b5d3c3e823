"""What a teacher adds to the loss: against numpy, in each pass of the gates, in both trainings of `compress`."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.calculus import differentiated
from tfgates.compression import Teacher
from tfgates.compression.teacher import divergence, kind_of, taught, teacher_of

L = keras.layers


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence_of(t, s, temperature):
    p, q = softmax(t / temperature), softmax(s / temperature)
    return temperature**2 * np.sum(p * np.log(p / q), axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_divergence_of_classes(temperature):
    t, s = np.random.default_rng(0).normal(size=(2, 6, 5)) * 2
    expected = divergence_of(t, s, temperature).mean()
    found = divergence("logits", t, s, temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = divergence("probabilities", softmax(t), softmax(s), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert abs(float(divergence("logits", t, t + 3.0, temperature))) < 1e-6


def test_divergence_of_sigmoids_and_values():
    t, s = np.random.default_rng(0).normal(size=(2, 6, 5))
    p, q = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-s))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(-1).mean()
    np.testing.assert_allclose(divergence("yes_or_no", p, q, 1.0), expected, rtol=1e-4)
    np.testing.assert_allclose(divergence("values", t, s, 2.0), np.mean((t - s) ** 2), rtol=1e-5)


def test_what_outputs_are_is_known_by_their_loss():
    losses = keras.losses
    assert kind_of("sparse_categorical_crossentropy") == "probabilities"
    assert kind_of(losses.categorical_crossentropy) == "probabilities"
    assert kind_of(losses.SparseCategoricalCrossentropy(from_logits=True)) == "logits"
    assert kind_of(losses.BinaryCrossentropy()) == "yes_or_no"
    assert kind_of("mse") == kind_of("mean_squared_error") == kind_of(losses.Huber()) == "values"
    for loss in (lambda y, p: 0.0, losses.CosineSimilarity(), losses.BinaryCrossentropy(from_logits=True)):
        with pytest.raises(ValueError, match="`outputs` of the teacher must be given.*Received: loss="):
            kind_of(loss)


def network(seed=0, units=8, classes=3, activation="softmax"):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    x = L.Dense(units, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, L.Dense(classes, activation=activation, name="last")(x))


def data(count=96):
    x = np.random.default_rng(1).normal(size=(count, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0.5)


@pytest.mark.parametrize("gated", [False, True])
def test_the_loss_of_a_training_step_has_it_and_that_of_an_evaluation_has_not(gated):
    model, other, (x, y) = network(), network(1), data()
    student = tfgates.gate_model(model) if gated else model
    if gated:
        student.gates[0].trainable = False
    student.compile("sgd", "sparse_categorical_crossentropy")
    plain = float(student.compute_loss(x, y, student(x), training=True))
    teacher = Teacher(other, temperature=3.0, weight=0.5)
    teacher.follow(student, "sparse_categorical_crossentropy")
    with taught(student, teacher):
        t, s = (np.log(np.asarray(m(x))) for m in (other, student))
        expected = plain + 0.5 * divergence_of(t, s, 3.0).mean()
        assert float(student.compute_loss(x, y, student(x), training=True)) == pytest.approx(expected, rel=1e-4)
        evaluated = student.evaluate(x, y, verbose=0, batch_size=96, return_dict=True)["loss"]
        assert evaluated == pytest.approx(plain, rel=1e-5)
        before = [np.array(v) for v in other.variables]
        student.fit(x, y, epochs=2, verbose=0)
    for value, variable in zip(before, other.variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable))
    # Nothing of it is left, in a function that was traced with it either.
    left = float(student.compute_loss(x, y, student(x), training=True))
    history = student.fit(x, y, epochs=1, batch_size=96, verbose=0).history
    assert history["loss"][0] == pytest.approx(left, rel=1e-4)
    assert "compute_loss" not in vars(student) and getattr(student, "teacher", None) is None


@pytest.mark.parametrize("arguments", [{"layers": "last", "weight": 1e-9}, pytest.param({}, marks=pytest.mark.slow)])
def test_binary_gates_see_it_in_each_of_their_passes(arguments):
    """Of a loss that is 0 by itself all that the gates get is the teacher's: the exact gradient by enumeration."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    gate = tfgates.gates.BernoulliGate(initial_open_probability=0.6, estimator="disarm", seed=1)
    model = tfgates.GatedModel(inputs, L.Rescaling(1.0, name="last")(gate(inputs)))
    target = keras.Model(inputs, L.Rescaling(2.0, name="last")(inputs))
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y, p: 0.0 * ops.sum(p, axis=-1))
    teacher = Teacher(target, outputs="values", **arguments)
    teacher.follow(model, None)
    x = np.array([[1.0, -2.0]], "float32")
    sums = []
    with taught(model, teacher):
        step = differentiated(
            lambda: model.compute_loss(x, x, model(x, training=True), training=True),
            [gate.logits],
            compiled=True,
            state=model.non_trainable_variables,
        )
        sums = [step()[0] for _ in range(400)]
    # mean over 2 of (z x - 2 x)^2: from closed to open it falls by (4 - 1) x^2 / 2.
    slope = 7.0 * 0.6 * 0.4
    expected = -slope * 3.0 * np.array([1.0, 4.0]) / 2.0
    error = np.std(sums, axis=0) / np.sqrt(len(sums))
    np.testing.assert_array_less(np.abs(np.mean(sums, axis=0) - expected), 4.0 * error + 1e-6)


@pytest.mark.parametrize("arguments", [{}, pytest.param({"importance": "magnitude"}, marks=pytest.mark.slow)])
def test_compress_with_a_teacher_comes_closer_to_it(arguments):
    model, (x, y) = network(units=16), data()
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=20, verbose=0)
    # Labels that say nothing: what is learnt is the teacher's.
    noise = np.random.default_rng(3).integers(0, 3, len(y))
    apart = {}
    for teacher in (None, Teacher(model, weight=20.0)):
        keras.utils.set_random_seed(2)
        small = tfgates.compress(
            model, (x, noise), budget=tfgates.Budget(params=0.5), loss="sparse_categorical_crossentropy", epochs=14,
            batch_size=32, learning_rate=0.02, teacher=teacher, verbose=0, **arguments,
        )  # fmt: skip
        p, q = np.asarray(model(x)), np.asarray(small(x))
        apart[teacher is None] = np.mean(np.sum(p * np.log(p / q), axis=-1))
    # Between 0.1 and 0.4 over three seeds and both ways; after half of the epochs magnitude stands at 0.85.
    assert apart[False] < 0.6 * apart[True]


def test_the_model_itself_can_teach():
    model = network()
    assert teacher_of(True, model).model is model
    assert teacher_of(model, None).model is model
    assert teacher_of(None, model) is None


def test_it_is_written_down():
    teacher = Teacher(network(), 3.0, 0.25, "logits", ["hidden"], 0.5)
    again = Teacher.from_config(teacher.get_config())
    assert (again.temperature, again.weight, again.outputs) == (3.0, 0.25, "logits")
    assert (again.layers, again.layer_weight) == (["hidden"], 0.5)
    assert again.model.output_shape == (None, 3)


def test_several_outputs():
    inputs = keras.Input((4,))
    outputs = [L.Dense(3, activation="softmax", name="a")(inputs), L.Dense(2, name="b")(inputs)]
    model = keras.Model(inputs, outputs)
    teacher = Teacher(model)
    teacher.follow(model, {"a": "categorical_crossentropy", "b": "mse"})
    x = data(8)[0]
    other = [np.asarray(y) for y in model(x)]
    moved = [other[0], other[1] + 2.0]
    assert float(teacher.loss(x, moved)) == pytest.approx(4.0, rel=1e-4)


def test_mistakes():
    model = network()
    with pytest.raises(ValueError, match="`temperature` must be positive. Received: temperature=0"):
        Teacher(model, temperature=0.0)
    with pytest.raises(ValueError, match="`weight` must be positive. Received: weight=-1"):
        Teacher(model, weight=-1.0)
    with pytest.raises(ValueError, match="`layer_weight` must be positive. Received: layer_weight=0"):
        Teacher(model, layer_weight=0)
    with pytest.raises(ValueError, match="`model` must be a keras.Model without gates"):
        Teacher(tfgates.gate_model(model))
    with pytest.raises(ValueError, match="`outputs` must be one of"):
        Teacher(model, outputs="classes")
    with pytest.raises(ValueError, match="`outputs` must have an entry for each of 1 outputs"):
        Teacher(model, outputs=["logits", "logits"]).follow(model, "mse")
    with pytest.raises(ValueError, match="`teacher` must be None, True"):
        teacher_of("dense", model)
    x, y = data()
    with pytest.raises(ValueError, match=r"`teacher` must have the inputs and outputs.*Received: .*\(5,\)"):
        tfgates.compress(
            model, (x, y), budget=tfgates.Budget(params=0.5), loss="sparse_categorical_crossentropy",
            teacher=network(classes=5),
        )  # fmt: skip


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("one", "two")])
def test_outputs_by_key_have_the_loss_of_their_key(names):
    """Whatever the layers are called that make them."""
    inputs = keras.Input((4,))
    first, second = L.Dense(3, activation="softmax", name=names[0]), L.Dense(3, name=names[1])
    model = keras.Model(inputs, {"a": first(inputs), "b": second(inputs)})
    teacher = Teacher(model)
    teacher.follow(model, {"a": "categorical_crossentropy", "b": "mse"})
    x = data(8)[0]
    found = model(x)
    moved = {"a": found["a"], "b": found["b"] + 2.0}
    assert float(teacher.loss(x, moved)) == pytest.approx(4.0, rel=1e-4)
