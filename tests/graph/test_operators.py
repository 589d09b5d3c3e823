"""Operators of keras.ops: what keeps, moves, picks, reduces and joins channels is followed."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tests.graph.random_networks import close, randomise
from tests.graph.test_properties import check

K = keras.layers
RAMP = np.linspace(0.5, 2.0, 8, dtype="float32")


def branches(x):
    return x, ops.relu(x) * 0.5


# Of maps (6, 5, 8).
FOLLOWED = {
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "mean_keepdims": lambda x: x * ops.mean(x, axis=(1, 2), keepdims=True),
    "max": lambda x: ops.max(x, axis=1),
    "max_initial": lambda x: ops.max(x, axis=[1, 2], initial=0.25),
    "amin": lambda x: ops.amin(x, axis=-2),
    "sum": lambda x: ops.sum(x + 1.0, axis=(1, 2)) * 0.1,
    "var": lambda x: ops.var(x, axis=1),
    "std": lambda x: ops.std(x, axis=(1, 2)),
    "prod": lambda x: ops.prod(ops.clip(x, -1.0, 1.0), axis=1),
    "logsumexp": lambda x: ops.logsumexp(x, axis=(1, 2)),
    "squeeze": lambda x: ops.squeeze(ops.max(x, axis=1, keepdims=True), axis=1),
    "expand_dims": lambda x: ops.expand_dims(x, axis=2)[:, :, 0],
    "transpose": lambda x: ops.transpose(ops.transpose(x, (0, 3, 1, 2)) * 2.0, (0, 2, 3, 1)),
    "moveaxis": lambda x: ops.moveaxis(ops.moveaxis(x, -1, 1), 1, -1),
    "swapaxes": lambda x: ops.swapaxes(ops.swapaxes(x, 1, 3), 3, 1),
    "transposed_dense": lambda x: K.Flatten()(ops.transpose(x, (0, 3, 1, 2))),
    "first_channels": lambda x: x[..., :5],
    "last_channels": lambda x: x[..., -3:] + 1.0,
    "every_other_channel": lambda x: x[:, 1:, :, ::2],
    "reversed_channels": lambda x: x[:, ::2, :, ::-1],
    "one_channel": lambda x: ops.concatenate([x, x[..., 2:3]], axis=-1),
    "places": lambda x: x[:, 1:-1, 2],
    "new_axis": lambda x: x[:, None, ..., 1:][:, 0],
    "split": lambda x: ops.multiply(*ops.split(x, 2, axis=-1)),
    "split_unequal": lambda x: ops.concatenate(ops.split(x, [3, 4], axis=-1)[::-1], axis=-1),
    "split_places": lambda x: ops.add(*ops.split(x, 2, axis=1)),
    "one_of_a_split": lambda x: ops.split(x, 4, axis=-1)[2],
    "unstack": lambda x: ops.unstack(x, axis=1)[3],
    "stack": lambda x: ops.max(ops.stack(branches(x), axis=-1), axis=-1),
    "stack_first": lambda x: ops.sum(ops.stack([*branches(x), x], axis=1), axis=1),
    "concatenate": lambda x: ops.concatenate(branches(x), axis=-1),
    "concatenate_places": lambda x: ops.concatenate(branches(x), axis=2),
    "flip": lambda x: ops.flip(x, axis=1),
    "flip_channels": lambda x: ops.flip(x, axis=-1),
    "roll": lambda x: ops.roll(x, 3, axis=-1),
    "roll_places": lambda x: ops.roll(x, 1, axis=2),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "repeat_channels": lambda x: ops.repeat(x, 2, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 1, 1, 2)),
    "take": lambda x: ops.take(x, np.array([7, 1, 1, 4]), axis=-1),
    "take_places": lambda x: ops.take(x, np.array([3, 1]), axis=1),
    "pad_places": lambda x: ops.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]]),
    "pad_reflected": lambda x: ops.pad(x + 1.0, [[0, 0], [1, 1], [2, 0], [0, 0]], mode="reflect"),
    "pad_channels": lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [2, 3]]),
    "pad_with_ones": lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 0]], constant_values=1.0),
    "shortcut": lambda x: K.Add()([ops.pad(v[:, ::2], [[0, 0], [0, 0], [0, 0], [2, 2]]) for v in branches(x)]),
    "max_pool": lambda x: ops.max_pool(x, 2, 2),
    "average_pool": lambda x: ops.average_pool(x + 1.0, 2, 1, "same"),
    "adaptive": lambda x: K.AdaptiveAveragePooling2D((3, 2))(K.AdaptiveMaxPooling2D((4, 4))(x + 1.0)),
    "resize": lambda x: ops.image.resize(x + 1.0, (9, 4)),
    "resizing": lambda x: K.Resizing(9, 9, pad_to_aspect_ratio=True)(x),
    "plus_array": lambda x: ops.relu(x + RAMP),
    "times_array": lambda x: x * RAMP[:, None][:, 0] * np.ones((6, 1, 1), "float32"),
    "times_zeros": lambda x: x * (RAMP > 1.0).astype("float32"),
    "times_array_of_places": lambda x: x * np.arange(30, dtype="float32").reshape(6, 5, 1),
    "array_minus": lambda x: ops.subtract(RAMP, x),
    "divided": lambda x: x / ops.convert_to_tensor(RAMP),
    "softmax_places": lambda x: ops.softmax(x, axis=1),
    "matmul": lambda x: ops.softmax(K.Dense(5)(ops.max(x, axis=1))) @ ops.mean(x, axis=1),
    "where": lambda x: ops.where(x > 0.5, x, 0.0),
    "power": lambda x: ops.power(ops.abs(x) + 1.0, 0.5),
}  # fmt: skip


def network(apply):
    inputs = keras.Input((6, 5, 3))
    x = apply(K.Conv2D(8, 1, activation="relu", name="conv")(inputs))
    x = K.Dense(6, name="next")(x)
    x = x if len(x.shape) == 2 else K.Flatten()(x)
    return keras.Model(inputs, K.Dense(2, name="head")(x))


@pytest.mark.parametrize("name", FOLLOWED)
def test_operators_that_are_followed(name):
    keras.utils.set_random_seed(1)
    model = network(FOLLOWED[name])
    randomise(model, 1, zeros=0.0)
    gated = tfgates.gate_model(model, residual=("inner", "tied"))
    assert "conv" in dict(gated.report.gated), gated.report
    generator = np.random.default_rng(3)
    for gate in gated.gates:
        close(gate, generator, 0.5)
    assert check(gated, min_units=1) == "smaller"
    assert tfgates.prune(gated, min_units=1).get_layer("conv").filters < 8
    # Channels whose constants are not 0.
    conv = model.get_layer("conv")
    conv.kernel.assign(np.array(conv.kernel) * (np.arange(8) % 2))
    conv.bias.assign(np.where(np.arange(8) % 2, 0.1, 0.7))
    tfgates.prune(model, min_units=1)


REFUSED = {
    "variance_of_channels": (lambda x: ops.var(x, axis=-1), "var (Var): it runs over the channels too"),
    "one_channel": (lambda x: x[..., 3], "get_item (GetItem): it moves the channels in a way that cannot be followed"),
    "examples": (lambda x: ops.flip(x, axis=0), "flip (Flip): it moves the channels in a way"),
    "everything": (lambda x: ops.flip(x), "flip (Flip): it moves the channels in a way"),
    "stacked_examples": (lambda x: ops.max(ops.stack([x, x], axis=0), axis=0), "stack: it stacks examples"),
    "matmul": (lambda x: x @ np.ones((8, 4), "float32"), "matmul (Matmul): channels that a product of tensors sums"),
    "einsum": (lambda x: ops.einsum("bhwc,bhvd->bhwv", x, x), "einsum (Einsum): channels that a product of"),
    "cumsum": (lambda x: ops.cumsum(x, axis=-1), "cumsum (Cumsum): tfgates has no rule for this layer"),
    "softmax": (lambda x: ops.softmax(x, axis=-1), "softmax: softmax runs over the channels"),
    "log": (lambda x: ops.log(x), "log: what a closed channel becomes is no finite number"),
    "reciprocal": (lambda x: 1.0 / x, "true_divide: what a closed channel becomes is no finite number"),
    "sort": (lambda x: ops.sort(x, axis=-1), "sort (Sort): tfgates has no rule for this layer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operators_that_are_not_followed(name):
    apply, reason = REFUSED[name]
    model = network(apply)
    report = dict(tfgates.gate_model(model).report.skipped)
    assert reason in report["conv"], report
    randomise(model, 0)
    tfgates.prune(model, min_units=1)


def test_steps_that_are_left_open():
    inputs = keras.Input((None, 4))
    x = K.Dense(8, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, K.Dense(3)(K.Concatenate()([ops.mean(x, axis=1), ops.max(x, axis=1), ops.sum(x, 1)])))
    gated = tfgates.gate_model(model)
    (gate,) = gated.gates
    close(gate, np.random.default_rng(0), 0.5)
    small = tfgates.prune(gated)
    assert small.get_layer("first").units < 8
    for steps in (1, 4):
        x = np.random.default_rng(steps).normal(size=(2, steps, 4)).astype("float32")
        np.testing.assert_allclose(np.array(small(x)), np.array(gated(x)), atol=1e-5)
