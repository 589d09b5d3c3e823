"""Variance and bias of the estimators of binary gates against enumeration, on one small network.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/estimators.py --out=runs/estimators

A network with 4 + 3 gates behind tanh units, on one batch of 8 made-up examples with a cross entropy. For each open
probability of all gates the exact gradient of the expected loss for the log odds comes from all 2^7 states; each
estimator is then drawn `--draws` times in whole training steps. Given are the total variance of one draw over the
squared norm of the exact gradient; the distance of the mean from the exact gradient, over its norm, with the standard
error of that mean; and the forward passes that a draw takes. Hard concrete is a relaxation, with an expectation of its
own: its variance is over the squared norm of its own mean, at the same open probabilities.
"""

import argparse
import itertools
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

import tfgates
from tfgates.files import write_whole
from tfgates.gates.estimators import ESTIMATORS

FEATURES, UNITS, CLASSES, BATCH = 5, (4, 3), 3, 8
NAMES = (*ESTIMATORS, "reinmax", "hard_concrete")


def passes(name):
    return 1 + len(ESTIMATORS[name][1]) if name in ESTIMATORS else 1


def network(name, seed):
    keras.utils.set_random_seed(seed)
    uniform = keras.initializers.RandomUniform(-1.5, 1.5, seed=seed)
    x = inputs = keras.Input((FEATURES,))
    for units in UNITS:
        x = tfgates.layers.GatedDense(units, activation="tanh", kernel_initializer=uniform, gate=name)(x)
    outputs = keras.layers.Dense(CLASSES, activation="softmax", kernel_initializer=uniform)(x)
    model = tfgates.GatedModel(inputs, outputs)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def data(seed):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(BATCH, FEATURES)).astype("float32"), generator.integers(0, CLASSES, BATCH)


def set_probability(model, p):
    for gate in model.gates:
        gate.logits.assign(np.full(gate.units, type(gate)(initial_open_probability=p).initial_value()))


def exact(model, x, y, p):
    """The gradient of the expected loss for the log odds, by numpy and enumeration."""
    kernels = [(layer.kernel, layer.bias) for layer in model.layers if hasattr(layer, "kernel")]
    weights = [[np.asarray(keras.ops.convert_to_numpy(w), "float64") for w in pair] for pair in kernels]
    states = np.array(list(itertools.product([0.0, 1.0], repeat=sum(UNITS))))
    losses = []
    for state in states:
        hidden, before = x.astype("float64"), 0
        for (kernel, bias), units in zip(weights[:-1], UNITS, strict=True):
            hidden = np.tanh(hidden @ kernel + bias) * state[before : before + units]
            before += units
        logits = hidden @ weights[-1][0] + weights[-1][1]
        logits -= logits.max(1, keepdims=True)
        losses.append(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), y]))
    gradient = np.zeros(sum(UNITS))
    for unit in range(sum(UNITS)):
        others = np.delete(states, unit, axis=1)
        chances = np.prod(np.where(others == 1.0, p, 1.0 - p), axis=1)
        gradient[unit] = np.sum(chances * np.array(losses) * np.where(states[:, unit] == 1.0, 1.0, -1.0))
    return p * (1.0 - p) * gradient


def step_of(model, x, y):
    """A function that draws the gradient for the logits of all gates once."""
    x, y = tf.constant(x), tf.constant(y)
    variables = [gate.logits for gate in model.gates]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), training=True)
        return tf.concat(tape.gradient(loss, [variable.value for variable in variables]), axis=0)

    return step


def row(name, p, seed, draws, model, step):
    set_probability(model, p)
    # Of the log odds: those of the link are slope * logits.
    slopes = np.concatenate([np.full(gate.units, getattr(gate, "slope", 1.0)) for gate in model.gates])
    found = np.array([step().numpy() for _ in range(draws)], "float64") / slopes
    right = exact(model, *data(seed), p)
    mean, variance = found.mean(0), float(found.var(0, ddof=1).sum())
    own = mean if name == "hard_concrete" else right
    bias = None if name == "hard_concrete" else float(np.linalg.norm(mean - right) / np.linalg.norm(right))
    return {
        "estimator": name, "p": p, "seed": seed, "draws": draws, "passes": passes(name),
        "variance": variance / float(own @ own), "distance": bias,
        "error": float(np.sqrt(variance / draws) / np.linalg.norm(own)),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/estimators"))
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--probabilities", type=float, nargs="+", default=[0.5, 0.8, 0.95, 0.99])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "estimators.json"
    results = json.loads(path.read_text()) if path.exists() else []
    for seed, name in itertools.product(arguments.seeds, NAMES):
        keras.utils.clear_session()
        model = network(name, seed)
        step = step_of(model, *data(seed))
        for p in arguments.probabilities:
            wanted = {"estimator": name, "p": p, "seed": seed, "draws": arguments.draws}
            if any(wanted.items() <= found.items() for found in results):
                continue
            results.append(row(name, p, seed, arguments.draws, model, step))
            text = json.dumps(results, indent=1)
            write_whole(path, lambda temporary, text=text: temporary.write_text(text))
            print(results[-1], flush=True)


if __name__ == "__main__":
    main()
