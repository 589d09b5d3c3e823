"""Trains the same model on one device and on two logical ones; prints both results as JSON.

Called with the names of cases, as one process can configure its devices only once.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tfgates
from tfgates.compression.teacher import taught
from tfgates.testing import METHODS

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

STEPS, BATCH = 3, 12
BUDGET = {"macs": 0.4, "multiplier_rate": 0.1, "warm_up": 0, "ramp": 0}


def network():
    inputs = keras.Input((5,))
    x = keras.layers.Dense(7, activation="tanh")(inputs)
    x = keras.layers.Dense(6, activation="tanh", name="second")(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def gated(gate, frozen=False, **arguments):
    budget = tfgates.Budget(**BUDGET) if arguments.pop("budget", False) else None
    model = tfgates.gate_model(network(), gate=gate, seed=3, budget=budget, **arguments)
    for one in model.gates:
        one.trainable = not frozen
    return model


CASES = {
    "frozen": lambda: gated("hard_concrete", frozen=True),
    "scaling": lambda: gated("scaling"),
    "sparse_scaling": lambda: gated("scaling"),
    "hard_concrete": lambda: gated("hard_concrete"),
    "hard_concrete_l0": lambda: gated("hard_concrete", l0=0.01),
    "hard_concrete_budget": lambda: gated("hard_concrete", budget=True),
    "hard_concrete_penalty": lambda: gated("hard_concrete", penalty={"params": 0.3, "macs": 0.2}),
    "disarm": lambda: gated("disarm", initial_open_probability=0.5),
    "disarm_budget": lambda: gated("disarm", initial_open_probability=0.8, budget=True),
    "arm": lambda: gated("arm", initial_open_probability=0.5),
    "ar": lambda: gated("ar", initial_open_probability=0.5),
    "generator": lambda: gated("hard_concrete", generator="forward"),
    "generator_budget": lambda: gated("hard_concrete", generator="backward", budget=True),
    "shrinking": lambda: gated("hard_concrete", budget=True),
    "monitor": lambda: gated("hard_concrete", budget=True),
    "taught": lambda: gated("disarm", initial_open_probability=0.8, budget=True),
    "taught_plain": network,
}

# Every gate of the list; those above are with what else a run can have.
CASES |= {
    name: lambda name=name: gated(name, initial_open_probability=0.5)
    for name, method in METHODS.items()
    if name not in CASES and method.generator is None
}


def callbacks_of(case):
    if case == "sparse_scaling":
        return [tfgates.callbacks.SparseScaling(0.05, momentum=0.5)]
    return [tfgates.callbacks.SparsityMonitor()] if case == "monitor" else []


def teaching(case, model):
    """A context in which a teacher that is heavier than the labels has a part in each step, in some cases."""
    if not case.startswith("taught"):
        return taught(model, None)
    teacher = tfgates.Teacher(network(), weight=5.0, layers=["second"] if case == "taught_plain" else None)
    # Apart from the student by a factor, whatever the seeds: both were drawn alike.
    teacher.model.set_weights([1.5 * w + 0.2 for w in teacher.model.get_weights()])
    teacher.follow(model, "mse")
    return taught(model, teacher)


def per_replica(variable):
    """The values of a variable on each replica, as lists."""
    value = variable.value
    value = getattr(value, "values", [value])
    return [np.asarray(v).tolist() for v in value]


def train(case):
    keras.utils.set_random_seed(0)
    model = CASES[case]()
    budget = getattr(model, "budget", None)
    # Slow gates under a budget, so that its multiplier is at work in all steps.
    more = {"gate_optimizer": keras.optimizers.SGD(0.01)} if budget else {}
    rate = 0.05 if case.startswith("taught") else 0.5
    model.compile(keras.optimizers.SGD(rate), "mse", **more)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(BATCH * STEPS, 5)).astype("float32")
    y = draw.normal(size=(BATCH * STEPS, 2)).astype("float32")
    logs, weights = [], []
    callbacks = callbacks_of(case)
    for step in range(STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        # An epoch of one step each, so that its logs are those of the step.
        with teaching(case, model):
            history = model.fit(
                x[part],
                y[part],
                batch_size=BATCH,
                initial_epoch=step,
                epochs=step + 1,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
        logs.append({name: float(values[-1]) for name, values in history.history.items()})
        if case == "shrinking" and step == 0:
            model = tfgates.shrink(model, {gate: np.arange(gate.units) < 2 for gate in model.gates})
        weights.append([np.asarray(v.numpy()).tolist() for v in model.trainable_variables])
    evaluated = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
    found = {"logs": logs, "weights": weights, "evaluated": {k: float(v) for k, v in evaluated.items()}}
    if getattr(model, "multipliers", None) is not None:
        found["multipliers"] = per_replica(model.multipliers)
        found["steps"] = per_replica(model._structure_step)
    if case != "taught_plain":
        found["seeds"] = per_replica(model.gates[0].seed_generator.state)
    return found


def draws_per_example(strategy):
    """The gate values that each replica draws with `sampling="example"`, and with `"batch"`."""
    found = {}
    for sampling in ("example", "batch"):
        gate = tfgates.gates.HardConcreteGate(sampling=sampling, initial_open_probability=0.5, seed=1)
        gate.build((None, 6))

        @tf.function
        def draw(gate=gate):
            return strategy.run(lambda: gate.draw(training=True, batch_size=4))

        found[sampling] = [np.asarray(z).tolist() for z in strategy.experimental_local_results(draw())]
    return found


def main():
    cases = sys.argv[1:]
    results = {}
    for case in cases:
        keras.utils.clear_session()
        results[case] = {"single": train(case)}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    for case in cases:
        # It empties the stack of scopes, so it comes before each of them.
        keras.utils.clear_session()
        with strategy.scope():
            results[case]["mirrored"] = train(case)
    with strategy.scope():
        results["draws"] = draws_per_example(strategy)
    print(json.dumps(results))


main()
