"""The one test that every gate and layer passes."""

import contextlib
import json
import tempfile

import keras
import numpy as np

from tests.reload import predict_in_fresh_process

BATCH = 6


def arrays_like(input_shape, seed=0):
    """Random inputs without the batch axis in `input_shape`, a shape or a list of shapes."""
    generator = np.random.default_rng(seed)
    if isinstance(input_shape, list):
        return [generator.normal(size=(BATCH, *shape)).astype("float32") for shape in input_shape]
    return generator.normal(size=(BATCH, *input_shape)).astype("float32")


def run_layer_test(
    layer_class,
    arguments,
    input_shape,
    expected_output_shape=None,
    expected_trainable_variables=None,
    model_class=keras.Model,
    learns=True,
    random=True,
    mixed_precision=True,
):
    """Tests of a layer that hold for every layer; returns the layer as built by its model.

    Config round trip, build, symbolic and eager call, a fit step, the `.keras` file reloaded in
    a fresh process, both mixed precisions, and the same draw from the same seed.

    Args:
        layer_class: the class.
        arguments: dict of its arguments.
        input_shape: shape without the batch axis, or a list of shapes for a list of inputs.
        expected_output_shape: shape without the batch axis. Defaults to `input_shape`.
        expected_trainable_variables: int, or None to leave it untested.
        model_class: what is made from `(inputs, outputs)` for the fit step.
        learns: whether a fit step must change a trainable variable.
        random: whether two calls with `training=True` must differ.
        mixed_precision: whether to test the mixed policies.
    """
    layer = layer_class(**arguments)
    config = _config_round_trip(layer_class, layer)
    if expected_output_shape is None:
        expected_output_shape = input_shape
    x = arrays_like(input_shape)

    def make(policy=None):
        keras.utils.set_random_seed(7)
        with _policy(policy):
            made = layer_class.from_config(config if policy is None else {**config, "dtype": policy})
            symbolic = _symbolic(input_shape)
            return made, symbolic, made(symbolic)

    made, symbolic, output = make()
    assert made.built
    assert output.shape[1:] == tuple(expected_output_shape)
    eager = made(x)
    assert tuple(eager.shape) == (BATCH, *expected_output_shape)
    assert keras.backend.standardize_dtype(eager.dtype) == output.dtype
    if expected_trainable_variables is not None:
        assert len(made.trainable_variables) == expected_trainable_variables
    _same_seed_same_draw(make, x, random)

    model = model_class(symbolic, output)
    _fit_step(model, x, learns)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/layer.keras"
        model.save(path)
        (reloaded,) = predict_in_fresh_process(path, x, folder)
    np.testing.assert_allclose(reloaded, _numpy(model(x, training=False)), atol=1e-6)

    if mixed_precision:
        for policy in ("mixed_float16", "mixed_bfloat16"):
            _mixed_precision(*make(policy), policy, x, _numpy(eager))
    return made


def _config_round_trip(layer_class, layer):
    config = layer.get_config()
    again = layer_class.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    serialised = keras.saving.serialize_keras_object(layer)
    assert serialised["registered_name"].startswith("tfgates>")
    assert keras.saving.deserialize_keras_object(serialised).get_config() == config
    return config


def _same_seed_same_draw(make, x, random):
    first, second = make()[0], make()[0]
    draws = [_numpy(layer(x, training=True)) for layer in (first, second)]
    np.testing.assert_array_equal(*draws)
    if random:
        later = [_numpy(first(x, training=True)) for _ in range(5)]
        assert any(np.any(draw != draws[0]) for draw in later)


def _fit_step(model, x, learns):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    y = np.zeros_like(_numpy(model(x)))
    before = [_numpy(v) for v in model.trainable_variables]
    history = model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    after = [_numpy(v) for v in model.trainable_variables]
    assert all(np.all(np.isfinite(v)) for v in after)
    for _ in range(5):
        # A draw of few gates may be at the ends of its range, where it has no gradient.
        if not learns or any(np.any(a != b) for a, b in zip(after, before, strict=True)):
            break
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
        after = [_numpy(v) for v in model.trainable_variables]
    if learns:
        assert any(np.any(a != b) for a, b in zip(after, before, strict=True))


def _mixed_precision(layer, symbolic, output, policy, x, expected):
    half = policy.removeprefix("mixed_")
    assert output.dtype == half
    eager = layer(x)
    assert keras.backend.standardize_dtype(eager.dtype) == half
    assert all(v.dtype == "float32" for v in layer.trainable_variables)
    tolerance = 2e-2 if half == "float16" else 1e-1
    np.testing.assert_allclose(_numpy(eager), expected, atol=tolerance, rtol=tolerance)
    drawn = _numpy(layer(x, training=True))
    assert np.all(np.isfinite(drawn))


def _symbolic(input_shape):
    if isinstance(input_shape, list):
        return [keras.Input(shape) for shape in input_shape]
    return keras.Input(input_shape)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


@contextlib.contextmanager
def _policy(policy):
    before = keras.config.dtype_policy()
    if policy is not None:
        keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
