"""Blocks that are alike are compared in full once; what makes them differ is seen."""

import functools

import keras
import numpy as np
import pytest

import tfgates
from tfgates.graph import opened, shared
from tfgates.graph.likeness import likeness
from tfgates.graph.network import Network
from tfgates.graph.unrolling import Unrolled

K = keras.layers


class Block(K.Layer):
    """A residual block; `factor` and `function` are in no config."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.back = K.Dense(units, activation="relu"), K.Dense(4)
        self.dropout = K.Dropout(0.1)
        self.factor, self.function = 1.0, None

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.back.build((*input_shape[:-1], self.hidden.units))

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, x, training=False):
        y = self.back(self.dropout(self.hidden(x)))
        if not isinstance(x, keras.KerasTensor) and float(keras.ops.convert_to_numpy(self.back.bias)[0]) > 5.0:
            y = y + 1.0
        if training:
            y = self.factor * y
        return x + (y if self.function is None else self.function(y))


def chain(*blocks):
    inputs = x = keras.Input((4,))
    for block in blocks:
        x = block(x)
    return keras.Model(inputs, x)


def whole(model):
    return [node.whole for node in Network(model).nodes if node.whole is not None]


@pytest.fixture
def trials(monkeypatch):
    """The trials that were made, a list that grows."""
    made, original = [], opened.Comparison.differs

    def counted(self, unrolled, trial):
        made.append((self.layer.name, trial.training, trial.others))
        return original(self, unrolled, trial)

    monkeypatch.setattr(opened.Comparison, "differs", counted)
    return made


def test_equal_blocks_are_compared_in_full_once(trials):
    network = Network(chain(*(Block(name=f"block_{i}") for i in range(3))))
    assert [trial for trial in trials if trial[0] == "block_0"] == [
        ("block_0", False, False),
        ("block_0", False, False),
        ("block_0", True, True),
        ("block_0", False, True),
    ]
    assert trials[4:] == [("block_1", False, False), ("block_2", False, False)]
    assert sum(isinstance(node.op, K.Dense) for node in network.nodes) == 6


def test_an_attribute_that_is_in_no_config_makes_a_block_another(trials):
    first, second = Block(), Block()
    second.factor = 2.0
    assert "in training" in str(whole(chain(first, second)))
    assert len(trials) > 5


@pytest.mark.parametrize("kind", ["lambda", "partial", "closure"])
def test_functions_are_alike_where_all_that_is_in_them_is(kind, trials):
    def made(number):
        if kind == "lambda":
            return lambda y, by=number: y * by
        if kind == "partial":
            return functools.partial(keras.ops.multiply, number)
        return lambda y: y * number

    blocks = [Block(), Block(), Block()]
    for block, number in zip(blocks, (2.0, 2.0, 3.0), strict=True):
        block.function = made(number)
    assert not whole(chain(*blocks))
    full = [len([trial for trial in trials if trial[0] == block.name]) for block in blocks]
    assert full == [4, 1, 4]


def test_the_values_of_a_blocks_own_variables_are_tried():
    first, second = Block(), Block()
    model = chain(first, second)
    second.back.bias.assign(np.full(4, 6.0))
    assert len(whole(model)) == 1


def test_a_block_that_stays_whole_says_so_for_all_like_it(trials):
    blocks = [Block(), Block()]
    for block in blocks:
        block.factor = 2.0
    reasons = whole(chain(*blocks))
    assert len(reasons) == 2 and len(set(reasons)) == 1
    assert {trial[0] for trial in trials} == {blocks[0].name}


def test_other_shapes_sizes_and_masks_make_a_call_another():
    def of(layer, *shape, masks=True):
        x = keras.KerasTensor(shape)
        return likeness(layer, (x,), {}, Unrolled([x], [], [x]), masks)

    assert of(Block(), None, 4) == of(Block(), None, 4) is not None
    assert of(Block(), None, 4) != of(Block(), None, 3, 4)
    assert of(Block(4), None, 4) != of(Block(5), None, 4)
    assert of(Block(), None, 4) != of(Block(), None, 4, masks=False)
    assert of(K.Dropout(0.1), None, 4) != of(K.Dropout(0.2), None, 4)


def test_constants_and_what_is_set_on_a_variable_count():
    def of(value, regularizer=None):
        block, x = Block(), keras.KerasTensor((None, 4))
        block.build((None, 4))
        block.table = keras.ops.convert_to_tensor([value, 2.0])
        block.back.kernel.regularizer = regularizer
        return likeness(block, (x,), {}, Unrolled([x], [], [x]), True)

    assert of(1.0) == of(1.0) is not None and of(1.0) != of(3.0)
    assert of(1.0) != of(1.0, keras.regularizers.L2(0.1)) == of(1.0, keras.regularizers.L2(0.1))


def test_what_cannot_be_described_is_like_nothing():
    block, x = Block(), keras.KerasTensor((None, 4))
    block.thing = object()
    assert likeness(block, (x,), {}, Unrolled([x], [], [x]), True) is None


def test_a_call_of_tfgates_opens_a_model_once(monkeypatch):
    made, original = [], Network.__init__

    def counted(self, model, example=None):
        made.append(model)
        original(self, model, example)

    model = chain(Block(), K.Dense(4))
    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.8))
    monkeypatch.setattr(Network, "__init__", counted)
    tfgates.cost(model)
    tfgates.prune(gated)
    tfgates.prune_by(model, tfgates.Budget(macs=0.8))
    assert len(made) == 4 and made[:3] == [model, gated, model]
    assert shared.network_of(model) is not shared.network_of(model)
