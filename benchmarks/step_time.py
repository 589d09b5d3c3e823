"""Time of a training step with each gate over that of the dense network, in one interleaved run.

    python benchmarks/step_time.py --model=lenet5
    python benchmarks/step_time.py --model=resnet20
    python benchmarks/step_time.py --model=lenet5 --closed
    KERAS_BACKEND=torch python benchmarks/step_time.py --model=lenet5 --gates hard_concrete disarm
    python benchmarks/step_time.py --model=lenet5 --rounds=30 --out=benchmarks/results/step_time_lenet5.json

`--closed` compares shares of closed units instead of gates. Channels that are closed are zero, but
they are still computed.
"""

import argparse

import keras
import numpy as np
from stored import store
from timing import interleaved, summary, table

from tfgates import GatedModel, layers
from tfgates.gates import BernoulliGate, get
from tfgates.testing import METHODS

# Those that draw.
GATES = [name for name, method in METHODS.items() if method.generator is None and not method.callbacks()]


def lenet5(gate):
    """LeNet-5-Caffe; gates on maps and on the inputs of the dense layers, as L0-HC and L0-ARM."""

    def convolution(filters):
        if gate is None:
            return keras.layers.Conv2D(filters, 5, activation="relu")
        return layers.GatedConv2D(filters, 5, activation="relu", gate=gate())

    def dense(units, activation):
        if gate is None:
            return keras.layers.Dense(units, activation=activation)
        return layers.GatedDense(units, activation=activation, gate=gate(), gated="inputs")

    inputs = keras.Input((28, 28, 1))
    x = keras.layers.MaxPooling2D()(convolution(20)(inputs))
    x = keras.layers.MaxPooling2D()(convolution(50)(x))
    x = keras.layers.Flatten()(x)
    return inputs, dense(10, "softmax")(dense(500, "relu")(x))


def resnet20(gate):
    """ResNet-20 for CIFAR; gates after the normalisation of the first convolution of each block."""

    def normalise(x, gated):
        if gate is None or not gated:
            return keras.layers.BatchNormalization()(x)
        return layers.GatedBatchNormalization(gate=gate())(x)

    def convolve(x, filters, size=3, strides=1):
        return keras.layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ReLU()(normalise(convolve(inputs, 16), gated=False))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            shortcut = x
            if strides == 2:
                shortcut = normalise(convolve(x, filters, 1, 2), gated=False)
            y = keras.layers.ReLU()(normalise(convolve(x, filters, 3, strides), gated=True))
            y = normalise(convolve(y, filters), gated=False)
            x = keras.layers.ReLU()(keras.layers.Add()([shortcut, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return inputs, keras.layers.Dense(10, activation="softmax")(x)


def steps_of(build, gate, batch_size, steps, closed=None):
    """A function that runs `steps` training steps of a compiled model."""
    keras.utils.set_random_seed(0)
    inputs, outputs = build(gate)
    model = (keras.Model if gate is None else GatedModel)(inputs, outputs)
    rate = 1e-3
    if closed is not None:
        rate = 0.0
        for made in model.gates:
            open_units = np.arange(made.units) >= round(closed * made.units)
            made.logits.assign(np.where(open_units, 10.0, -10.0))
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(batch_size, *inputs.shape[1:])).astype("float32")
    y = generator.integers(0, 10, batch_size)
    if keras.backend.backend() != "tensorflow":
        # The state goes to the compiled step and back with each, as between epochs of `fit`.
        def run_each():
            for _ in range(steps):
                logs = model.train_on_batch(x, y, return_dict=True)
            return float(logs["loss"])

        return run_each
    import tensorflow as tf

    # One batch in memory: the time of the input pipeline is no part of it.
    batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    model.make_train_function()

    def run():
        for _ in range(steps):
            logs = model.train_function(batches)
        return float(logs["loss"])

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", choices=("lenet5", "resnet20"), default="lenet5")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, help="steps per round; 5 for lenet5, 1 for resnet20")
    parser.add_argument("--gates", nargs="+", choices=GATES, default=GATES)
    parser.add_argument("--closed", action="store_true", help="compare shares of closed units")
    parser.add_argument("--out", help="a file for the result as JSON")
    arguments = parser.parse_args()
    build = {"lenet5": lenet5, "resnet20": resnet20}[arguments.model]
    steps = arguments.steps or {"lenet5": 5, "resnet20": 1}[arguments.model]
    functions = {"dense": steps_of(build, None, arguments.batch_size, steps)}
    if arguments.closed:
        for closed in (0.0, 0.5, 0.9):
            functions[f"{closed:.0%} closed"] = steps_of(
                build, lambda: BernoulliGate(estimator="ar"), arguments.batch_size, steps, closed
            )
    else:
        for name in arguments.gates:
            functions[name] = steps_of(build, lambda name=name: get(name), arguments.batch_size, steps)
    what = f"{arguments.model}, batch {arguments.batch_size}, {arguments.rounds} rounds of {steps} steps"
    print(f"{keras.backend.backend()}, {what}")
    rows = summary(*interleaved(functions, arguments.rounds), "dense", per_call=steps)
    print(table(rows))
    store(arguments.out, rows)


if __name__ == "__main__":
    main()
