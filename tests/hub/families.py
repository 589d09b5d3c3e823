"""Tiny backbones of KerasHub with random weights, one for each family."""

import inspect

import numpy as np

TEXT = {"vocabulary_size": 30, "num_layers": 2}
WIDTHS = {"hidden_dim": 16, "intermediate_dim": 24}
HEADS = TEXT | WIDTHS | {"num_heads": 4}
QUERIES = TEXT | WIDTHS | {"num_query_heads": 4, "num_key_value_heads": 2}
IMAGES = {"image_shape": (16, 16, 3), "patch_size": 4, "num_layers": 2, "num_heads": 4, "hidden_dim": 16}
SHORT = {"max_sequence_length": 12}

# By the name of the class: its arguments.
FAMILIES = {
    "AlbertBackbone": HEADS | SHORT | {"embedding_dim": 8},
    "BartBackbone": HEADS | SHORT,
    "BertBackbone": HEADS | SHORT,
    "BloomBackbone": HEADS,
    # Relative places in few buckets.
    "DebertaV3Backbone": HEADS | SHORT | {"bucket_size": 4},
    "DeiTBackbone": IMAGES | {"intermediate_dim": 24},
    "DistilBertBackbone": HEADS | SHORT,
    "ElectraBackbone": HEADS | SHORT | {"vocab_size": 30, "embedding_dim": 16},
    "FalconBackbone": TEXT | WIDTHS | {"num_attention_heads": 4},
    # Its MLPs are half as wide as it says.
    "GemmaBackbone": QUERIES | {"head_dim": 4},
    "GPT2Backbone": HEADS | SHORT,
    # A quarter of the width of a head is rotated.
    "GPTNeoXBackbone": HEADS | SHORT | {"hidden_dim": 32},
    "LlamaBackbone": QUERIES,
    "MistralBackbone": QUERIES,
    "OPTBackbone": HEADS | SHORT,
    "Phi3Backbone": QUERIES,
    "QwenBackbone": QUERIES,
    "Qwen3Backbone": QUERIES | {"head_dim": 4},
    "RobertaBackbone": HEADS | SHORT,
    "T5Backbone": HEADS | {"key_value_dim": 4},
    "ViTBackbone": IMAGES | {"mlp_dim": 24},
    "WhisperBackbone": HEADS | {"num_mels": 8, "max_encoder_sequence_length": 20, "max_decoder_sequence_length": 12},
    "XLMRobertaBackbone": HEADS | SHORT,
}


def backbone(hub, name):
    """A backbone with weights as training may leave them."""
    kind = getattr(hub.models, name)
    taken = inspect.signature(kind).parameters
    model = kind(**{key: value for key, value in FAMILIES[name].items() if key in taken})
    generator = np.random.default_rng(1)
    for variable in model.variables:
        if "float" in str(variable.dtype):
            variable.assign(generator.normal(size=variable.shape) * 0.3)
    return model


def data(model, steps, batch=3):
    """Inputs by name, some steps of which are padding."""
    generator, found = np.random.default_rng(steps), {}
    for tensor in model.inputs:
        shape = (batch, *(size or steps for size in tensor.shape[1:]))
        if "mask" in tensor.name:
            value = np.ones(shape, "int32")
            value[0, steps // 2 :] = 0
        elif "int" in tensor.dtype:
            value = generator.integers(0, 2 if "segment" in tensor.name else 30, shape).astype("int32")
        else:
            value = generator.normal(size=shape).astype("float32")
        found[tensor.name] = value
    return found if len(found) > 1 else next(iter(found.values()))
