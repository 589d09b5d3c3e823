"""The list of methods, and what every gate promises."""

import keras
import numpy as np
import pytest
from keras import ops

import tfgates
from tfgates import gates, testing
from tfgates.testing import METHODS, check_gate


@pytest.mark.parametrize("name", [name for name in gates.NAMES if name not in testing.ALIASES])
def test_every_gate_does_what_it_promises(name):
    check_gate(name)


def test_every_name_is_a_method_and_every_method_trains():
    assert {method.gate for method in METHODS.values()} == set(gates.NAMES) - set(testing.ALIASES)
    for name, other in testing.ALIASES.items():
        configs = [{**gates.get(each).get_config(), "name": None} for each in (name, other)]
        assert configs[0] == configs[1]
    assert METHODS["forward"].arguments == {"gate": "hard_concrete", "generator": "forward"}
    assert [name for name, method in METHODS.items() if method.callbacks()] == ["scaling"]


def test_a_new_name_is_a_method_at_once(monkeypatch):
    monkeypatch.setitem(gates.NAMES, "mine", lambda **arguments: gates.HardConcreteGate(temperature=0.5, **arguments))
    assert testing.methods()["mine"].arguments == {"gate": "mine"}
    check_gate("mine")


class Wrong(gates.HardConcreteGate):
    """A gate that is as it should be but for what a subclass does."""


def registered(kind):
    return keras.saving.register_keras_serializable(package="tests")(kind)


@registered
class WithoutConfig(Wrong):
    def __init__(self, sharpness=1.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def get_config(self):
        # Another object each time: what is made from the config is not what the config was of.
        return {**super().get_config(), "seed": self.sharpness if self.sharpness != 1.0 else None, "sharpness": 2.0}


@registered
class OtherStart(Wrong):
    def initial_value(self):
        return 1.0


@registered
class Unseeded(Wrong):
    count = 0

    def sample_from(self, value, noise):
        Unseeded.count += 1
        return super().sample_from(value, noise) * 0.0 + Unseeded.count


@registered
class NeverClosed(Wrong):
    def test_gates_from(self, value):
        return ops.ones_like(value)


@registered
class MoreThanCertain(Wrong):
    def probability_from(self, value):
        return super().probability_from(value) + (0.0 if isinstance(value, float) else ops.cast(value > 5.0, "float32"))

    def build(self, shape):
        super().build(shape)
        if self.seed is None and self.initial_open_probability == 0.95:
            self.logits.assign(np.full(6, 6.0))


@registered
class Untrained(Wrong):
    def probability_from(self, value):
        return super().probability_from(ops.stop_gradient(value) + 0.0 * value)

    def sample_from(self, value, noise):
        return super().sample_from(ops.stop_gradient(value) + 0.0 * value, noise)


class Unregistered(Wrong):
    pass


@pytest.mark.parametrize(
    "kind, message",
    [
        (WithoutConfig, "its config makes another gate"),
        (OtherStart, "with initial_open_probability=0.3 it starts at"),
        (Unseeded, "the same seed must give the same draw"),
        (NeverClosed, "its units are not closed at any of the values"),
        (MoreThanCertain, r"open probabilities must lie in \[0, 1\]"),
        (Untrained, "a training step under a penalty must change its variable"),
        (Unregistered, "its class must be registered"),
    ],
)
def test_what_does_not_hold_is_told(kind, message):
    with pytest.raises(ValueError, match=f"{kind.__name__} does not pass: {message}.*Received: gate="):
        check_gate(kind())


def test_a_gate_that_is_built_is_refused():
    gate = tfgates.gates.HardConcreteGate()
    gate.build((None, 3))
    with pytest.raises(ValueError, match="`gate` must not be built yet. Received: gate="):
        check_gate(gate)
