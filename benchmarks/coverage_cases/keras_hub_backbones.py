"""The backbones of KerasHub at small sizes, with random weights."""

SOURCE = "KerasHub"
TEXT = {"vocabulary_size": 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
LONG = TEXT | {"max_sequence_length": 32}
GROUPED = {
    "vocabulary_size": 40,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
}
IMAGE = (32, 32, 3)
VIT = {"image_shape": IMAGE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
SMOL = {
    "vocabulary_size": 40,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "num_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention"] * 2,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 64,
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
}
RESNET = {
    "input_conv_filters": [8],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64],
    "stackwise_num_blocks": [2, 1, 1],
    "stackwise_num_strides": [1, 2, 2],
    "image_shape": (64, 64, 3),
}
SIMPLE = {
    "AlbertBackbone": LONG | {"num_groups": 1, "num_inner_repetitions": 1, "embedding_dim": 8},
    "BartBackbone": LONG,
    "BertBackbone": LONG,
    "BloomBackbone": TEXT,
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2],
        "stackwise_strides": [2, 2],
        "stem_padding": "same",
        "stackwise_num_filters": [16, 16],
        "image_shape": IMAGE,
        "block_type": "dark_block",
        "stage_type": "csp",
        "output_strides": 4,
    },
    "DINOV2Backbone": {
        "patch_size": 8,
        "num_layers": 2,
        "hidden_dim": 16,
        "num_heads": 2,
        "intermediate_dim": 32,
        "image_shape": IMAGE,
        "position_embedding_shape": IMAGE,
    },
    "DINOV3Backbone": {
        "patch_size": 8,
        "num_layers": 2,
        "hidden_dim": 16,
        "num_heads": 2,
        "intermediate_dim": 32,
        "image_shape": IMAGE,
    },
    "DebertaV3Backbone": LONG | {"bucket_size": 8},
    "DeiTBackbone": VIT | {"intermediate_dim": 32},
    "DenseNetBackbone": {"stackwise_num_repeats": [2, 2, 2], "image_shape": (64, 64, 3), "growth_rate": 8},
    "DistilBertBackbone": LONG,
    "ESM2Backbone": LONG,
    "ESMBackbone": LONG | {"position_embedding_type": "absolute"},
    "EdRecBackbone": {
        "vocab_size": 40,
        "num_layers_enc": 1,
        "num_layers_dec": 1,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "num_heads": 2,
    },
    "EfficientNetBackbone": {
        "stackwise_width_coefficients": [1.0] * 4,
        "stackwise_depth_coefficients": [1.0] * 4,
        "stackwise_kernel_sizes": [3, 3, 5, 3],
        "stackwise_num_repeats": [1, 2, 1, 1],
        "stackwise_input_filters": [16, 8, 16, 24],
        "stackwise_output_filters": [8, 16, 24, 24],
        "stackwise_expansion_ratios": [1, 4, 4, 4],
        "stackwise_squeeze_and_excite_ratios": [0.25] * 4,
        "stackwise_strides": [1, 2, 2, 1],
        "stackwise_block_types": ["v1", "v1", "fused", "unfused"],
        "stackwise_force_input_filters": [0] * 4,
        "stackwise_nores_option": [False] * 4,
        "input_shape": IMAGE,
        "num_features": 64,
    },
    "ElectraBackbone": {
        "vocab_size": 40,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "embedding_dim": 16,
        "intermediate_dim": 32,
        "max_sequence_length": 32,
    },
    "FNetBackbone": {
        "vocabulary_size": 40,
        "num_layers": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "max_sequence_length": 32,
    },
    "FalconBackbone": {
        "vocabulary_size": 40,
        "num_layers": 2,
        "num_attention_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 64,
    },
    "FluxBackbone": {
        "input_channels": 16,
        "hidden_size": 48,
        "mlp_ratio": 2.0,
        "num_heads": 4,
        "depth": 1,
        "depth_single_blocks": 1,
        "axes_dim": [4, 4, 4],
        "theta": 1e4,
        "use_bias": True,
        "image_shape": (16, 16),
        "text_shape": (8, 16),
        "image_ids_shape": (16, 3),
        "text_ids_shape": (8, 3),
        "y_shape": (16,),
    },
    "GPT2Backbone": LONG,
    "GPTNeoXBackbone": LONG,
    "Gemma3Backbone": GROUPED | {"image_size": 16, "head_dim": 8},
    "Gemma4Backbone": GROUPED | {"image_size": 16, "head_dim": 8},
    "GemmaBackbone": GROUPED | {"head_dim": 8},
    "GptOssBackbone": GROUPED | {"num_experts": 3},
    "HGNetV2Backbone": {
        "depths": [1, 1],
        "embedding_size": 8,
        "hidden_sizes": [16, 24],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, True],
        "stackwise_stage_filters": [[8, 8, 16, 1, 2, 3], [16, 12, 24, 1, 2, 5]],
        "image_shape": (64, 64, 3),
    },
    "Llama3Backbone": GROUPED,
    "LlamaBackbone": GROUPED,
    "MiTBackbone": {
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "image_shape": IMAGE,
        "hidden_dims": [16, 32],
    },
    "MistralBackbone": GROUPED,
    "MixtralBackbone": GROUPED | {"num_experts": 3},
    "MobileNetBackbone": {
        "stackwise_expansion": [[40, 56], [64, 144, 144], [72, 72]],
        "stackwise_num_blocks": [2, 3, 2],
        "stackwise_num_filters": [[16, 16], [24, 24, 24], [24, 24]],
        "stackwise_kernel_size": [[3, 3], [5, 5, 5], [5, 5]],
        "stackwise_num_strides": [[2, 1], [2, 1, 1], [1, 1]],
        "stackwise_se_ratio": [[None, None], [0.25, 0.25, 0.25], [0.3, 0.3]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish"] * 3, ["hard_swish"] * 2],
        "stackwise_padding": [[1, 1], [2, 2, 2], [2, 2]],
        "output_num_filters": 48,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": True,
        "last_layer_filter": 48,
        "image_shape": (64, 64, 3),
        "input_num_filters": 8,
    },
    "MoonshineBackbone": {
        "vocabulary_size": 40,
        "filter_dim": 16,
        "encoder_num_layers": 1,
        "decoder_num_layers": 1,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "encoder_num_heads": 2,
        "decoder_num_heads": 2,
    },
    "OPTBackbone": LONG,
    "PaliGemmaBackbone": {
        "vocabulary_size": 40,
        "image_size": 16,
        "num_layers": 1,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "head_dim": 8,
        "vit_patch_size": 8,
        "vit_num_heads": 2,
        "vit_hidden_dim": 16,
        "vit_num_layers": 1,
        "vit_intermediate_dim": 32,
    },
    "Phi3Backbone": GROUPED,
    "Qwen3Backbone": GROUPED | {"head_dim": 8},
    "Qwen3MoeBackbone": GROUPED | {"moe_intermediate_dim": 16, "num_experts": 3, "head_dim": 8, "top_k": 2},
    "Qwen3_5Backbone": GROUPED
    | {
        "head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "QwenBackbone": GROUPED,
    "QwenMoeBackbone": GROUPED
    | {
        "moe_intermediate_dim": 16,
        "shared_expert_intermediate_dim": 16,
        "num_experts": 3,
        "top_k": 2,
    },
    "RWKV7Backbone": {
        "hidden_size": 16,
        "head_size": 8,
        "num_layers": 2,
        "vocabulary_size": 40,
        "intermediate_dim": 32,
        "gate_lora": 8,
        "mv_lora": 8,
        "aaa_lora": 8,
        "decay_lora": 8,
    },
    "ResNetBackbone": RESNET | {"block_type": "bottleneck_block"},
    "RobertaBackbone": LONG,
    "RoformerV2Backbone": TEXT | {"head_size": 8},
    "SmolLM3Backbone": SMOL,
    "SwinTransformerBackbone": {
        "image_shape": (32, 32, 3),
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
        "patch_size": 2,
    },
    "T5Backbone": TEXT,
    "VGGBackbone": {"stackwise_num_repeats": [2, 2], "stackwise_num_filters": [8, 16], "image_shape": IMAGE},
    "ViTBackbone": VIT | {"mlp_dim": 32},
    "ViTDetBackbone": {
        "hidden_size": 16,
        "num_layers": 2,
        "intermediate_dim": 32,
        "num_heads": 2,
        "global_attention_layer_indices": [1],
        "image_shape": IMAGE,
        "patch_size": 8,
        "num_output_channels": 16,
        "window_size": 2,
    },
    "VideoPrismBackbone": {
        "num_frames": 2,
        "patch_size": 8,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "num_heads": 2,
        "num_spatial_layers": 1,
        "num_temporal_layers": 1,
        "num_auxiliary_layers": 0,
        "image_shape": IMAGE,
    },
    "WhisperBackbone": TEXT | {"num_mels": 8, "max_encoder_sequence_length": 32, "max_decoder_sequence_length": 16},
    "XLMRobertaBackbone": LONG,
    "XLNetBackbone": TEXT,
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [16, 16]],
        "stackwise_pooling": [True, False],
        "image_shape": (64, 64, 3),
    },
}


def simple(name):
    """Builds a backbone of its arguments."""

    def build():
        import keras_hub

        return getattr(keras_hub.models, name)(**SIMPLE[name])

    return build


def resnet():
    import keras_hub

    return keras_hub.models.ResNetBackbone(block_type="basic_block", **RESNET)


def of_images():
    """Those that are made of another backbone."""

    def retinanet():
        import keras_hub

        return keras_hub.models.RetinaNetBackbone(
            image_encoder=resnet(), min_level=3, max_level=4, use_p5=False, image_shape=(64, 64, 3)
        )

    def deeplab():
        import keras_hub

        return keras_hub.models.DeepLabV3Backbone(
            image_encoder=resnet(),
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P4",
            upsampling_size=4,
            dilation_rates=[6, 12],
            projection_filters=8,
            image_shape=(64, 64, 3),
        )

    def segformer():
        import keras_hub

        encoder = keras_hub.models.MiTBackbone(
            layerwise_depths=[1, 1, 1, 1],
            num_layers=4,
            layerwise_num_heads=[1, 2, 2, 4],
            layerwise_sr_ratios=[4, 2, 2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3, 3, 3],
            layerwise_strides=[4, 2, 2, 2],
            image_shape=(64, 64, 3),
            hidden_dims=[8, 16, 16, 32],
        )
        return keras_hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=16)

    def basnet():
        import keras_hub

        encoder = keras_hub.models.ResNetBackbone(
            input_conv_filters=[8],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 64, 64, 64],
            stackwise_num_blocks=[1, 1, 1, 1],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block",
            image_shape=(64, 64, 3),
        )
        return keras_hub.models.BASNetBackbone(
            image_encoder=encoder, num_classes=1, projection_filters=8, image_shape=(64, 64, 3)
        )

    def clip():
        import keras_hub
        from keras_hub.src.models.clip.clip_text_encoder import CLIPTextEncoder
        from keras_hub.src.models.clip.clip_vision_encoder import CLIPVisionEncoder

        vision = CLIPVisionEncoder(
            patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, intermediate_dim=32, image_shape=IMAGE
        )
        words = CLIPTextEncoder(
            vocabulary_size=40,
            embedding_dim=16,
            hidden_dim=16,
            num_layers=1,
            num_heads=2,
            intermediate_dim=32,
            max_sequence_length=8,
        )
        return keras_hub.models.CLIPBackbone(vision_encoder=vision, text_encoder=words, projection_dim=16)

    def siglip():
        import keras_hub
        from keras_hub.src.models.siglip.siglip_text_encoder import SigLIPTextEncoder
        from keras_hub.src.models.siglip.siglip_vision_encoder import SigLIPVisionEncoder

        vision = SigLIPVisionEncoder(
            patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, intermediate_dim=32, image_shape=IMAGE
        )
        words = SigLIPTextEncoder(
            vocabulary_size=40,
            embedding_dim=16,
            hidden_dim=16,
            num_layers=1,
            num_heads=2,
            intermediate_dim=32,
            max_sequence_length=8,
        )
        return keras_hub.models.SigLIPBackbone(vision_encoder=vision, text_encoder=words)

    def depth_anything():
        import keras_hub

        encoder = keras_hub.models.DINOV2Backbone(
            patch_size=4,
            num_layers=4,
            hidden_dim=16,
            num_heads=2,
            intermediate_dim=32,
            image_shape=(16, 16, 3),
            position_embedding_shape=(16, 16, 3),
            apply_layernorm=True,
        )
        return keras_hub.models.DepthAnythingBackbone(
            image_encoder=encoder,
            reassemble_factors=[4, 2, 1, 0.5],
            neck_hidden_dims=[16, 16, 16, 16],
            fusion_hidden_dim=8,
            head_hidden_dim=8,
            head_in_index=-1,
            feature_keys=["stage1", "stage2", "stage3", "stage4"],
        )

    def vae():
        from keras_hub.src.models.vae.vae_backbone import VAEBackbone

        return VAEBackbone([32] * 3, [1] * 3, [32] * 3, [1] * 3, image_shape=IMAGE)

    return {
        "RetinaNetBackbone": retinanet,
        "DeepLabV3Backbone": deeplab,
        "SegFormerBackbone": segformer,
        "BASNetBackbone": basnet,
        "CLIPBackbone": clip,
        "SigLIPBackbone": siglip,
        "DepthAnythingBackbone": depth_anything,
        "VAEBackbone": vae,
        "ResNetBackbone (basic)": resnet,
    }


NETWORKS = {name: simple(name) for name in SIMPLE} | of_images()
