"""The optimizers of the two trainings of compress: rates, schedules, loss scales, and who may set what."""

import functools

import keras
import numpy as np
import pytest

import tfgates
from tfgates.compression.phase_optimizers import PhaseOptimizers, RateOfSteps, cosine

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :2] * 0.5
SCHEDULE = keras.optimizers.schedules.PiecewiseConstantDecay([4, 10], [0.5, 0.25, 0.125])


def optimizers(optimizer=None, rate=1e-3, decay=0.1, fine_tuning=None, callbacks=None, steps=(8, 8)):
    return PhaseOptimizers(optimizer, rate, decay, fine_tuning, callbacks, steps)


def rate_of(optimizer):
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


class Rates(keras.callbacks.Callback):
    """The rate of each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(rate_of(self.model.optimizer))


def train(both, *callbacks, epochs=2):
    """The rates of the steps of fine-tuning: 4 in each epoch."""
    inputs, rates = keras.Input((4,)), Rates()
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile(both.second, "mse")
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=[*both.callbacks, *callbacks, rates])
    return rates.seen


def test_by_default_the_rate_falls_by_a_cosine_and_is_put_back():
    both = optimizers(rate=0.1)
    assert isinstance(both.first, keras.optimizers.AdamW) and rate_of(both.first) == pytest.approx(0.1)
    expected = keras.optimizers.schedules.CosineDecay(0.1, 8)
    np.testing.assert_allclose(train(both), [expected(step) for step in range(8)], rtol=1e-5)
    assert rate_of(both.second) == pytest.approx(0.1)
    assert both.second.weight_decay == both.first.weight_decay == 0.1


@pytest.mark.parametrize("when", ["on_epoch_begin", "on_epoch_end", "on_train_batch_begin"])
def test_whoever_sets_the_rate_has_it_from_there(when):
    """A callback of somebody's own, which no name gives away."""

    class Own(keras.callbacks.Callback):
        pass

    def set_rate(self, number, logs=None):
        self.model.optimizer.learning_rate = 0.03

    setattr(Own, when, set_rate)
    both = optimizers(rate=0.1)
    seen = train(both, Own())
    own = 4 if when == "on_epoch_end" else 0
    np.testing.assert_allclose(seen[:own], [cosine(0.1, 8, step) for step in range(own)], rtol=1e-5)
    np.testing.assert_allclose(seen[own:], 0.03, rtol=1e-6)
    assert rate_of(both.second) == pytest.approx(0.03)


@pytest.mark.parametrize("kind", [keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler])
def test_callbacks_that_set_it_find_a_constant_rate(kind):
    callback = kind() if kind is keras.callbacks.ReduceLROnPlateau else kind(lambda epoch, rate: rate)
    assert optimizers(rate=0.1, callbacks=[callback]).callbacks == []


def test_a_schedule_goes_on_after_pruning():
    both = optimizers(rate=SCHEDULE)
    assert both.first.get_config()["learning_rate"]["class_name"] == "PiecewiseConstantDecay"
    assert train(both) == [SCHEDULE(8 + step) for step in range(8)]
    assert train(optimizers(keras.optimizers.SGD(SCHEDULE))) == [SCHEDULE(8 + step) for step in range(8)]


def test_a_function_without_arguments_serves_both_trainings():
    both = optimizers(keras.optimizers.SGD(lambda: 0.25))
    assert both.callbacks == [] and float(both.first.learning_rate) == 0.25
    assert train(both) == [0.25] * 8
    with pytest.raises(
        ValueError,
        match="must not hold a ReduceLROnPlateau where the learning rate that `optimizer` gives is a schedule",
    ):
        optimizers(keras.optimizers.SGD(lambda: 0.25), callbacks=keras.callbacks.ReduceLROnPlateau())


def test_the_rate_of_fine_tuning_can_be_given():
    assert train(optimizers(fine_tuning=0.25)) == [0.25] * 8
    by_steps = train(optimizers(fine_tuning=SCHEDULE))
    # Read after a step, a schedule says what the next one has.
    assert by_steps == [SCHEDULE(step + 1) for step in range(8)]
    given = keras.optimizers.SGD(0.5, momentum=0.9)
    both = optimizers(fine_tuning=given)
    assert train(both) == [0.5] * 8
    assert isinstance(both.second, keras.optimizers.SGD) and both.second is not given and both.second.momentum == 0.9


def test_an_optimizer_serves_both_trainings_anew():
    given = keras.optimizers.SGD(0.5, momentum=0.9, use_ema=True)
    both = optimizers(given)
    for ours in (both.first, both.second):
        assert ours is not given
        assert {**ours.get_config(), "name": ""} == {**given.get_config(), "name": ""}
    assert isinstance(optimizers("adam").second, keras.optimizers.Adam)


def test_a_loss_scale_is_kept_and_scaled_steps_have_the_rate():
    given = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=8.0)
    both = optimizers(given)
    assert both.first.initial_scale == both.second.initial_scale == 8.0
    np.testing.assert_allclose(train(both), [cosine(0.5, 8, step) for step in range(8)], rtol=1e-5, atol=1e-9)
    assert rate_of(optimizers(given, fine_tuning=0.25).second) == 0.25


def test_an_optimizer_with_an_entry_for_gates_fine_tunes_by_that_of_the_weights():
    given = tfgates.optimizers.with_gate_optimizer(keras.optimizers.SGD(0.5), keras.optimizers.Adam(0.1))
    both = optimizers(given)
    assert isinstance(both.first, tfgates.optimizers.GatedOptimizer)
    assert isinstance(both.second, keras.optimizers.SGD) and rate_of(both.second) == 0.5


def test_after_an_interruption_it_goes_on_along_the_cosine(tmp_path):
    whole = train(optimizers(rate=0.1))
    part = train(optimizers(rate=0.1), tfgates.callbacks.Resume(tmp_path), epochs=1)
    rest = train(optimizers(rate=0.1), tfgates.callbacks.Resume(tmp_path))
    np.testing.assert_allclose([*part, *rest], whole, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"optimizer": "sgd", "rate": 0.1}, "are those of the AdamW .*Received: learning_rate=0.1.*optimizer=SGD"),
        ({"rate": 0.0}, "`learning_rate` must be a positive number .*Received: learning_rate=0.0"),
        ({"rate": True}, "`learning_rate` must be a positive number .*Received: learning_rate=True"),
        ({"fine_tuning": -1}, "`fine_tuning_learning_rate` must be .*an optimizer.*fine_tuning_learning_rate=-1"),
        ({"optimizer": tfgates.optimizers.APG()}, "`optimizer` must be .*Received: optimizer=APG"),
        ({"fine_tuning": tfgates.optimizers.APG()}, "`fine_tuning_learning_rate` must be .*Received: .*=APG"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizers(**arguments)


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """As people write them, without a `get_config`."""

    def __call__(self, step):
        return 0.5 / (1.0 + keras.ops.cast(step, "float32"))


def test_a_schedule_without_a_config_goes_on():
    both = optimizers(keras.optimizers.SGD(Falling()))
    assert rate_of(both.first) == 0.5
    np.testing.assert_allclose(train(both), [0.5 / (1 + step) for step in range(8, 16)], rtol=1e-6)


class Scaled(keras.optimizers.SGD):
    """Without the `get_config` that its argument needs."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize("argument", ["optimizer", "fine_tuning"])
def test_an_optimizer_that_cannot_be_made_again_is_refused(argument):
    name = {"fine_tuning": "fine_tuning_learning_rate"}.get(argument, argument)
    message = f"`{name}` must be an optimizer that can be made again .* Received: Scaled, TypeError: .*'scale'"
    with pytest.raises(ValueError, match=message):
        optimizers(**{argument: Scaled(2.0)})


def test_a_schedule_without_a_config_goes_on_inside_of_other_optimizers():
    scaled = optimizers(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(Falling()), initial_scale=8.0))
    assert rate_of(scaled.first) == 0.5 and scaled.first.initial_scale == 8.0
    routed = tfgates.optimizers.with_gate_optimizer(keras.optimizers.SGD(Falling()), keras.optimizers.Adam(0.1))
    both = optimizers(routed)
    assert isinstance(both.first, tfgates.optimizers.GatedOptimizer) and rate_of(both.first) == 0.5
    assert both.first.gate_optimizer is not routed.gate_optimizer and rate_of(
        both.first.gate_optimizer
    ) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["ReduceLROnPlateau", "LearningRateScheduler"])
@pytest.mark.parametrize("which", ["rate", "fine_tuning", "optimizer", "scaled", "whole"])
def test_a_rate_by_schedule_beside_a_callback_that_sets_it_is_refused(kind, which):
    callback = keras.callbacks.ReduceLROnPlateau() if kind == "ReduceLROnPlateau" else (
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    )  # fmt: skip
    by_schedule = keras.optimizers.SGD(SCHEDULE)
    arguments = {
        "rate": {"rate": SCHEDULE},
        "fine_tuning": {"fine_tuning": SCHEDULE},
        "optimizer": {"optimizer": by_schedule},
        "scaled": {"optimizer": keras.optimizers.LossScaleOptimizer(by_schedule)},
        "whole": {"fine_tuning": by_schedule},
    }[which]
    with pytest.raises(
        ValueError, match=f"`callbacks` must not hold a {kind} where .* is a schedule.*Received: {kind}"
    ):
        optimizers(callbacks=[callback], **arguments)


def test_fit_refuses_them_before_the_first_step_too():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    model = tfgates.gate_model(keras.Model(inputs, keras.layers.Dense(2)(x)), budget=tfgates.Budget(macs=0.5))
    model.compile(keras.optimizers.SGD(SCHEDULE), "mse")
    fit = functools.partial(model.fit, X, Y, verbose=0)
    match = "must not hold a ReduceLROnPlateau where the learning rate that `learning_rate` gives is a"
    with pytest.raises(ValueError, match=match):
        fit(callbacks=[keras.callbacks.ReduceLROnPlateau("loss")])
    with pytest.raises(ValueError, match=r"keras.optimizers.SGD\(..., use_ema=True\). Received: SwapEMAWeights"):
        fit(callbacks=keras.callbacks.SwapEMAWeights())
    assert int(model.optimizer.iterations) == 0


def test_set_again_at_each_training():
    """One callback can follow several, as it is made for each call of compress."""
    callback = RateOfSteps(lambda step: 0.5 / (1 + step))
    both = optimizers(keras.optimizers.SGD(0.5))
    both.callbacks = [callback]
    assert train(both, epochs=1) == pytest.approx([0.5, 0.25, 0.5 / 3, 0.125])


@pytest.mark.parametrize("name", ["optimizer", "fine_tuning_learning_rate"])
def test_variables_without_weight_decay_are_refused(name):
    """They are the user's network's, and the two trainings are of others."""
    given = keras.optimizers.AdamW(0.1)
    given.exclude_from_weight_decay(var_list=[keras.Variable(0.0)])
    where = {"optimizer": given} if name == "optimizer" else {"fine_tuning": given}
    with pytest.raises(ValueError, match=f"`{name}` must say by `exclude_from_weight_decay.var_names"):
        optimizers(**where)
