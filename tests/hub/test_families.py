"""Backbones of KerasHub: gated ones compute what they did, and pruned ones what the gated ones do."""

import contextlib
import re

import keras
import numpy as np
import pytest

import tfgates
from tests.hub import families

hub = pytest.importorskip("keras_hub")

# Of these the tests are quick enough for every run.
OFTEN = ("BertBackbone", "GPT2Backbone", "LlamaBackbone", "MistralBackbone")

# The branches of the first layer by the names of their gates.
FIRST = re.compile("layer_0_|decoder_block_0_|deit_encoder_add_gate|deit_encoder_transformer_block_1_")

# What is left of these is of their class again, with a layer less; of the first with fewer heads too.
WITH_HEAD_WIDTH = ("MistralBackbone", "Qwen3Backbone")
DECODERS = (
    *WITH_HEAD_WIDTH,
    "BloomBackbone",
    "FalconBackbone",
    "GemmaBackbone",
    "GPT2Backbone",
    "LlamaBackbone",
    "OPTBackbone",
    "Phi3Backbone",
    "QwenBackbone",
)
# With its cache GPT-NeoX of KerasHub generates something else than without, also as it was before.
ENCODERS = (
    "BertBackbone",
    "DebertaV3Backbone",
    "DistilBertBackbone",
    "GPTNeoXBackbone",
    "RobertaBackbone",
    "XLMRobertaBackbone",
)
PRESETS = (*DECODERS, *ENCODERS)


def marked(names):
    """The names, those that are not for every run among the slow ones."""
    return [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in names]


def outputs(model, x):
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in keras.tree.flatten(model(x))]


def assert_alike(first, second, x):
    for a, b in zip(outputs(first, x), outputs(second, x), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * max(np.abs(a).max(), 1.0)


def close(gated):
    """Closes half of the heads and units, and both branches of the first layer."""
    for gate in gated.gates:
        if gate.axis is None:
            logits = np.full(gate.units, -4.6 if FIRST.search(gate.name) else 4.6)
        else:
            logits = np.where(np.arange(gate.units) % 2, 4.6, -4.6)
            # One that is neither open nor closed.
            logits[-1] = 0.2
        gate.logits.assign(logits.reshape(gate.unit_shape))


# Keras warns of layers of T5 that hand no mask on.
@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("name", marked(families.FAMILIES))
def test_half_of_the_heads_and_units_and_a_layer_go(name, tmp_path):
    model = families.backbone(hub, name)
    gated = tfgates.gate_model(model, residual=("inner", "layer"), length=9)
    kinds = [what for _, what in gated.report.gated]
    assert all(any(word in what for what in kinds) for word in ("heads", "units", "the whole"))
    with contextlib.ExitStack() as stack:
        for gate in gated.gates:
            stack.enter_context(gate.held(np.ones(gate.unit_shape)))
        assert_alike(model, gated, families.data(model, 9))
    close(gated)
    plan = tfgates.plan_pruning(gated)
    small = tfgates.prune(gated, plan=plan)
    assert small.count_params() == plan.params < model.count_params()
    for steps in (9, 6):
        assert_alike(gated, small, families.data(model, steps))
    if name in PRESETS:
        check_preset(name, model, gated, tmp_path)


def check_preset(name, model, gated, folder):
    """What is left is a backbone again, also out of its files, and generates what the gated network does."""
    small = tfgates.prune(gated, preset=True)
    assert type(small) is type(model)
    before, after = model.get_config(), small.get_config()
    assert after["intermediate_dim"] == 12
    assert after["num_layers"] == 1
    assert after.get("head_dim") == (4 if name in WITH_HEAD_WIDTH else before.get("head_dim"))
    small.save_to_preset(folder)
    loaded = hub.models.Backbone.from_preset(str(folder))
    for steps in (9, 6):
        assert_alike(gated, loaded, families.data(model, steps))
    if name not in DECODERS:
        return
    task = getattr(hub.models, name.replace("Backbone", "CausalLM"))(backbone=loaded, preprocessor=None)
    task.compile(sampler="greedy")
    tokens = np.zeros((2, 10), "int32")
    tokens[:, :3] = [[3, 4, 5], [6, 7, 8]]
    made = task.generate({"token_ids": tokens, "padding_mask": tokens > 0}, stop_token_ids=None)["token_ids"]
    for step in range(3, 10):
        hidden = gated({"token_ids": tokens, "padding_mask": np.tile(np.arange(10) < step, (2, 1))})
        logits = loaded.token_embedding(hidden, reverse=True)
        tokens[:, step] = np.argmax(keras.ops.convert_to_numpy(logits)[:, step - 1], axis=-1)
    np.testing.assert_array_equal(made, tokens)
