"""Multiply-accumulates of networks at their published sizes."""

import pytest

import tfgates

hub = pytest.importorskip("keras_hub")

pytestmark = pytest.mark.slow


def test_bert_base():
    """22.5 G FLOPs for 128 tokens, two for each multiply-accumulate."""
    model = hub.models.BertBackbone(
        vocabulary_size=30_522, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072
    )
    cost = tfgates.cost(model, length=128)
    assert cost.params == model.count_params() == 109_482_240
    assert cost.macs == pytest.approx(22.5e9 / 2, rel=0.01)


def test_vit_b_16():
    """17.56 G at 224 x 224 in the table of torchvision, its head included."""
    model = hub.models.ViTBackbone(
        image_shape=(224, 224, 3), patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072
    )
    cost = tfgates.cost(model)
    assert cost.params == model.count_params()
    assert cost.macs + 768 * 1000 == pytest.approx(17.56e9, rel=0.01)
