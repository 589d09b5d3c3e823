"""What skipping channels that one draw closes could give: they are gathered, instead of being multiplied by 0.

    python benchmarks/closed_this_step.py --open 1 0.75 0.5 0.25 --out=benchmarks/results/closed_this_step.json

Two convolutions with a normalisation and a draw of gates between them, forward and backward, batch 64, one thread:
"times 0" computes all channels, "gathered" the open ones alone, whose number differs from step to step. Processor time
over that of the first row, medians and quartiles of interleaved rounds.
"""

import argparse

import numpy as np
import tensorflow as tf
from stored import store
from timing import interleaved, summary, table


def block(channels, size, gathered, rng):
    x = tf.constant(rng.normal(size=(64, size, size, channels)).astype("float32"))
    first, second = (
        tf.Variable((rng.normal(size=(3, 3, channels, channels)) / np.sqrt(9 * channels)).astype("float32"))
        for _ in range(2)
    )
    gamma = tf.Variable(tf.ones(channels))

    @tf.function(input_signature=[tf.TensorSpec([channels])])
    def step(z):
        with tf.GradientTape() as tape:
            if gathered:
                is_open = tf.where(z > 0.0)[:, 0]
                kernels = tf.gather(first, is_open, axis=3), tf.gather(second, is_open, axis=2)
                scale = tf.gather(gamma * z, is_open)
            else:
                kernels, scale = (first, second), gamma * z
            y = tf.nn.conv2d(x, kernels[0], 1, "SAME")
            mean, variance = tf.nn.moments(y, [0, 1, 2])
            y = tf.nn.relu(scale * (y - mean) * tf.math.rsqrt(variance + 1e-3))
            loss = tf.reduce_mean(tf.square(tf.nn.conv2d(y, kernels[1], 1, "SAME")))
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, [first, second, gamma])]

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--open", type=float, nargs="*", default=[1.0, 0.75, 0.5, 0.25])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", help="a file for the result as JSON")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    rows = []
    for channels, size in ((32, 16), (128, 8)):
        functions = {}
        for share in arguments.open:
            for name in ("times 0", "gathered"):
                rng = np.random.default_rng(0)
                step = block(channels, size, name == "gathered", rng)

                def run(step=step, share=share, rng=rng, channels=channels):
                    z = rng.permutation(channels) < share * channels + rng.integers(-1, 2)
                    step(tf.constant(z.astype("float32")))[0].numpy()

                functions[f"{name}, {share:.0%} open"] = run
        print(f"{channels} channels, {size} x {size}")
        some = summary(*interleaved(functions, arguments.rounds), f"times 0, {arguments.open[0]:.0%} open")
        print(table(some))
        rows += [{"channels": channels, "size": size, **row} for row in some]
    store(arguments.out, rows)


if __name__ == "__main__":
    main()
