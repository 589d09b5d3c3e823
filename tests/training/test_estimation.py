"""The gradient of gates as a function of draws and losses, without any model or step."""

import keras
import numpy as np
import pytest
from keras import ops

from tfgates.backend import gradients
from tfgates.gates import BernoulliGate
from tfgates.gates.recording import Draw
from tfgates.training.estimation import estimates


def drawn(value, noise, estimator="disarm", sampling="batch"):
    gate = BernoulliGate(estimator=estimator, sampling=sampling)
    gate.build((None, len(value)))
    noise = np.asarray(noise, "float32")
    states = tuple(ops.convert_to_tensor((u < sigmoid(7 * value)).astype("float32")) for u in (noise, 1 - noise))
    return lambda logits: Draw(gate, logits, ops.convert_to_tensor(noise), states)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


LOGITS = np.array([-0.2, 0.05, 0.3], "float32")


@pytest.mark.parametrize("estimator", ["ar", "arm", "disarm"])
def test_it_is_what_the_formula_says(estimator):
    noise = np.array([0.9, 0.2, 0.05], "float32")
    draw = drawn(LOGITS, noise, estimator)
    losses = [{"batch": ops.convert_to_tensor(value)} for value in (0.3, 1.7)]
    (found,) = gradients(lambda values: estimates([draw(values[0])], losses), [ops.convert_to_tensor(LOGITS)])
    p, (first, second) = sigmoid(7 * LOGITS), (noise < sigmoid(7 * LOGITS), 1 - noise < sigmoid(7 * LOGITS))
    by_hand = {
        "ar": 0.3 * (1 - 2 * noise),
        "arm": (1.7 - 0.3) * (noise - 0.5),
        "disarm": 0.5 * (1.7 - 0.3) * (second.astype(float) - first) * np.maximum(p, 1 - p),
    }
    # Of log(p / (1 - p)) = 7 * logit.
    np.testing.assert_allclose(found, 7 * by_hand[estimator], rtol=1e-5)


def test_its_value_is_0_and_draws_of_examples_see_their_own_losses():
    noise = np.array([[0.9, 0.2, 0.05], [0.1, 0.8, 0.5]], "float32")
    batch, examples = drawn(LOGITS, noise[0], "ar"), drawn(LOGITS, noise, "ar", "example")
    losses = [{"batch": ops.convert_to_tensor(0.0), "example": ops.convert_to_tensor([2.0, 5.0])}]

    def total(logits):
        wide = ops.broadcast_to(ops.expand_dims(logits, 0), noise.shape)
        return estimates([batch(logits), examples(wide)], losses)

    assert float(keras.ops.convert_to_numpy(total(ops.convert_to_tensor(LOGITS)))) == 0.0
    (found,) = gradients(lambda values: total(values[0]), [ops.convert_to_tensor(LOGITS)])
    np.testing.assert_allclose(found, 7 * (2.0 * (1 - 2 * noise[0]) + 5.0 * (1 - 2 * noise[1])), rtol=1e-5)
